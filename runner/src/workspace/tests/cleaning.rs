//! Which worktrees go, in which order, and what is never lost with them.

use domain::Timestamp;

use super::super::clean::{Cleaned, Over};
use super::*;
use crate::run_dir::RunDir;

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);
const NO_QUOTA: u64 = u64::MAX;

fn over(key: &str, hours_ago: u64) -> Over {
    let since = Timestamp::from_ms(NOW.as_ms() - i64::try_from(hours_ago * 3_600_000).unwrap());
    Over { project: "shop".to_owned(), work_item: key.to_owned(), since }
}

#[tokio::test]
async fn only_what_is_over_goes_the_oldest_first_and_its_work_is_saved() {
    let place = Place::new();
    let mut made = Vec::new();
    for (number, key) in ["A-1", "A-2", "A-3", "A-4"].into_iter().enumerate() {
        let number = number as u128 + 1;
        let workspace = place.prepare_for(key, &place.spec(key), run(number), 1, false).await.unwrap();
        write(&workspace, "big", &"x".repeat(2_000_000));
        made.push(workspace);
    }
    let there = || made.iter().map(|workspace| workspace.path.exists()).collect::<Vec<_>>();
    let workspaces = &place.workspaces;
    assert_eq!(workspaces.items().await.len(), 4);

    // Without a word from the scheduler nothing goes, however little room there is.
    assert_eq!(workspaces.clean(&[], 0, NOW).await.removed, 0);
    // With room, an item that is over is kept for a day.
    let finished = [over("A-3", 1), over("A-2", 3), over("A-1", 23)];
    assert_eq!(workspaces.clean(&finished, NO_QUOTA, NOW).await.removed, 0);
    // Without, the one that was over first goes first, and no more than must.
    let all = workspaces.clean(&[], NO_QUOTA, NOW).await.bytes;
    assert!(all > 8_000_000, "{all}");
    let Cleaned { removed, bytes } = workspaces.clean(&finished, all - 3_000_000, NOW).await;
    assert!(removed == 2 && bytes <= all - 3_000_000, "{removed} {bytes}");
    assert_eq!(there(), [false, false, true, true]);
    for number in [1, 2] {
        let kept = git(&made[0].clone, &["cat-file", "-s", &format!("refs/orch/wip/{}:big", run(number))]);
        assert_eq!(kept, "2000000");
    }
    // What never was over stays, also when that is too much.
    assert_eq!(workspaces.clean(&[over("A-3", 25)], 0, NOW).await.removed, 1);
    assert_eq!(there(), [false, false, false, true]);
    assert_eq!(workspaces.items().await, [("shop".to_owned(), "A-4".to_owned())]);
    // An item that comes back finds its branch.
    let back = place.prepare_for("A-1", &place.spec("A-1"), run(9), 9, false).await.unwrap();
    assert_eq!(git(&back.path, &["status", "--porcelain", "--branch"]), "## orch/A-1");
}

#[tokio::test]
async fn neither_a_live_run_nor_work_that_cannot_be_saved_is_removed() {
    let place = Place::new();
    let lived_in = place.prepare("A-1", &place.spec("A-1")).await.unwrap();
    let dir = RunDir::at(place.file(&format!("runs/{}", run(1))));
    std::fs::create_dir_all(dir.path()).unwrap();
    let lock = dir.try_lock().unwrap().unwrap();
    let stuck = place.prepare_for("A-2", &place.spec("A-2"), run(2), 2, false).await.unwrap();
    std::fs::create_dir(stuck.path.join("nested")).unwrap();
    git(&stuck.path.join("nested"), &["init", "--quiet"]);
    write(&stuck, "nested/work.txt", "precious\n");
    let finished = [over("A-1", 99), over("A-2", 99)];
    assert_eq!(place.workspaces.clean(&finished, 0, NOW).await.removed, 0);
    assert!(lived_in.path.exists() && read(&stuck, "nested/work.txt").is_some());
    drop(lock);
    assert_eq!(place.workspaces.clean(&finished, 0, NOW).await.removed, 1);
    assert!(!lived_in.path.exists());
}
