//! Which worktrees go, in which order, and what is never lost with them.

use domain::Timestamp;

use domain::Account;

use super::super::clean::{Cleaned, Over};
use super::super::{folder, home};
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
    let Cleaned { removed, bytes, .. } = workspaces.clean(&finished, all - 3_000_000, NOW).await;
    assert!(removed == 2 && bytes <= all - 3_000_000, "{removed} {bytes}");
    assert_eq!(there(), [false, false, true, true]);
    for number in [1, 2] {
        let kept = git(&made[0].clone, &["cat-file", "-s", &format!("refs/orch/wip/{}:big", run(number))]);
        assert_eq!(kept, "2000000");
    }
    // What never was over stays, also when that is too much.
    assert_eq!(workspaces.clean(&[over("A-3", 25)], 0, NOW).await.removed, 1);
    assert_eq!(there(), [false, false, false, true]);
    // What was saved of the others is still asked for.
    let items: Vec<String> = workspaces.items().await.into_iter().map(|(_, key)| key).collect();
    assert_eq!(items, ["A-1", "A-2", "A-3", "A-4"]);
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

/// The folders of an item without a repository: what its agent works in, and its HOME.
struct Plain {
    work: PathBuf,
    home: PathBuf,
    run: PathBuf,
}

impl Place {
    async fn moves_in(&self, key: &str, number: u128) -> Plain {
        let account = Account("default".to_owned());
        let run = self.file(&format!("runs/{}", super::run(number)));
        std::fs::create_dir_all(&run).unwrap();
        self.workspaces.moves_in("shop", key, &account, &run).await.unwrap();
        let work = folder(&self.file("workspaces"), "shop", key);
        let home = home(&self.file("state"), &account, "shop", key);
        for folder in [&work, &home] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("big"), "x".repeat(1_000_000)).unwrap();
        }
        Plain { work, home, run }
    }
}

impl Plain {
    fn there(&self) -> bool {
        assert_eq!(self.work.exists(), self.home.exists());
        self.home.exists()
    }

    fn ends(&self) {
        std::fs::remove_dir_all(&self.run).unwrap();
    }
}

#[tokio::test]
async fn plain_folders_and_homes_go_with_their_item_and_never_under_a_run() {
    let place = Place::new();
    let workspaces = &place.workspaces;
    let [one, two, live] =
        [place.moves_in("A-1", 1).await, place.moves_in("a-1", 2).await, place.moves_in("A-3", 3).await];
    one.ends();
    two.ends();
    assert_eq!(workspaces.items().await.len(), 3);
    assert!(workspaces.clean(&[], 0, NOW).await.bytes > 6_000_000);
    // Kept for a week where there is room; the oldest first where there is none.
    let week = 7 * 24;
    assert_eq!(workspaces.clean(&[over("A-1", week), over("a-1", week - 1)], NO_QUOTA, NOW).await.removed, 0);
    let finished = [over("A-1", 2), over("a-1", 3), over("A-3", 9999)];
    assert_eq!(workspaces.clean(&finished, 4_500_000, NOW).await.removed, 1);
    assert_eq!([one.there(), two.there(), live.there()], [true, false, true]);
    assert_eq!(workspaces.clean(&[over("A-1", week + 1)], NO_QUOTA, NOW).await.removed, 1);
    assert_eq!([one.there(), two.there(), live.there()], [false, false, true]);
    // A run of an item that the scheduler thinks is over keeps what it has, and so does an item whose end nobody told of.
    assert_eq!(workspaces.clean(&finished, 0, NOW).await.removed, 0);
    live.ends();
    assert_eq!(workspaces.clean(&[], 0, NOW).await.removed, 0);
    assert!(live.there());
    assert_eq!(workspaces.clean(&finished, 0, NOW).await.removed, 1);
    assert!(!live.there() && workspaces.items().await.is_empty());
}

#[tokio::test]
async fn an_item_that_comes_back_while_it_is_removed_stays() {
    let place = Place::new();
    let first = place.moves_in("A-1", 1).await;
    first.ends();
    // Its next run moves in between the scheduler's word and the removal.
    let second = place.moves_in("A-1", 2).await;
    assert_eq!(place.workspaces.clean(&[over("A-1", 9999)], 0, NOW).await.removed, 0);
    assert!(second.there());
}

#[tokio::test]
async fn saved_work_is_kept_for_a_month_after_its_item() {
    let place = Place::new();
    let workspace = place.prepare("A-1", &place.spec("A-1")).await.unwrap();
    write(&workspace, "unsaved", "precious\n");
    let name = format!("refs/orch/wip/{}", run(1));
    let is_saved = || !git(&workspace.clone, &["for-each-ref", &name]).is_empty();
    let saved_at = Clock::system().now_ms();
    let in_days = |days: i64| Timestamp::from_ms(saved_at + days * 24 * 3_600_000);
    let over_at =
        |days: i64| Over { project: "shop".to_owned(), work_item: "A-1".to_owned(), since: in_days(days) };
    // A runner that was away saves what its item left long ago, and that is not gone at once.
    let cleaned = place.workspaces.clean(&[over_at(-99)], NO_QUOTA, in_days(0)).await;
    assert_eq!((cleaned.removed, cleaned.forgotten), (1, 0));
    assert!(is_saved());
    // Neither room nor an item that goes on again takes it, nor one that was over later.
    assert_eq!(place.workspaces.clean(&[over_at(-99)], 0, in_days(29)).await.forgotten, 0);
    assert_eq!(place.workspaces.clean(&[], 0, in_days(99)).await.forgotten, 0);
    assert_eq!(place.workspaces.clean(&[over_at(20)], 0, in_days(49)).await.forgotten, 0);
    assert!(is_saved());
    assert_eq!(place.workspaces.clean(&[over_at(20)], NO_QUOTA, in_days(51)).await.forgotten, 1);
    assert!(!is_saved() && place.workspaces.items().await.is_empty());
}
