//! Where a worktree begins, when it goes on, and that no work is lost on the way.

use std::time::Duration;

use domain::workspace::WorkspaceFault;

use super::*;
use crate::run_dir::RunDir;

/// What a saved commit has in a file.
fn saved(workspace: &Workspace, run: RunId, file: &str) -> String {
    git(&workspace.clone, &["show", &format!("refs/orch/wip/{run}:{file}")])
}

fn is_saved(workspace: &Workspace, run: RunId) -> bool {
    let refs = git(&workspace.clone, &["for-each-ref", "--format=%(refname)", "refs/orch/wip"]);
    refs.lines().any(|name| name.ends_with(&run.to_string()))
}

#[tokio::test]
async fn work_begins_at_the_base_and_goes_on_where_it_was() {
    let place = Place::new();
    let main = place.git("person", &["rev-parse", "main"]);
    let spec = place.spec("SHOP-12");
    let first = place.prepare("SHOP-12", &spec).await.unwrap();
    assert_eq!(first.path, place.file("workspaces/shop/SHOP-12"));
    let names = (first.base.as_str(), first.base_commit.as_str(), first.branch.as_str());
    assert_eq!(names, ("main", main.as_str(), "orch/SHOP-12"));
    assert_eq!((first.head.as_str(), &first.remote_head), (main.as_str(), &None));
    assert_eq!(git(&first.path, &["status", "--porcelain", "--branch"]), "## orch/SHOP-12");
    assert_eq!(read(&first, "README.md").as_deref(), Some("hello\n"));

    write(&first, "new.txt", "by the agent\n");
    let commit = commit_all(&first);
    write(&first, "half.txt", "not yet done\n");
    write(&first, "ignored/cache", "expensive\n");
    place.commit("main", &[("README.md", "newer\n")]);
    let second = place.prepare_for("SHOP-12", &spec, run(2), 2, false).await.unwrap();
    assert_eq!((&second.path, &second.head), (&first.path, &commit));
    assert_ne!(second.base_commit, first.base_commit);
    assert_eq!(read(&second, "half.txt").as_deref(), Some("not yet done\n"));
    assert!(!is_saved(&second, run(1)), "nothing was put away, so nothing had to be saved");
    assert_eq!(git(&second.path, &["log", "-1", "--format=%an <%ae>"]), "a <a@localhost>");
}

#[tokio::test]
async fn what_another_runner_pushed_is_gone_on_from() {
    let place = Place::new();
    let spec = place.spec("SHOP-1");
    let first = place.prepare("SHOP-1", &spec).await.unwrap();
    let pushed = place.commit("orch/SHOP-1", &[("other.txt", "from elsewhere\n")]);
    let second = place.prepare_for("SHOP-1", &spec, run(2), 2, false).await.unwrap();
    assert_eq!(
        (second.head.as_str(), second.remote_head.as_deref()),
        (pushed.as_str(), Some(pushed.as_str()))
    );
    assert_eq!(read(&first, "other.txt").as_deref(), Some("from elsewhere\n"));
    assert_eq!(git(&second.path, &["symbolic-ref", "--short", "HEAD"]), "orch/SHOP-1");
    // On a runner that never had it, too.
    let elsewhere = Place {
        workspaces: Workspaces::new(
            place.file("other"),
            place.file("state"),
            place.workspaces.git.clone(),
            Clock::system(),
        ),
        ..place
    };
    assert_eq!(elsewhere.prepare("SHOP-1", &spec).await.unwrap().head, pushed);
}

#[tokio::test]
async fn who_judges_sees_the_commit_alone_and_what_was_there_is_saved() {
    let place = Place::new();
    let dev = place.prepare("SHOP-2", &place.spec("SHOP-2")).await.unwrap();
    write(&dev, "done.txt", "done\n");
    let head = commit_all(&dev);
    git(&dev.path, &["push", "--quiet", &place.url(), "HEAD:refs/heads/orch/SHOP-2"]);
    write(&dev, "later.txt", "unpushed\n");
    commit_all(&dev);
    write(&dev, "done.txt", "half changed\n");
    write(&dev, "loose.txt", "loose\n");
    write(&dev, "ignored/cache", "expensive\n");

    let spec = Spec { head: Some(head.clone()), head_rule: HeadRule::Exactly, ..place.spec("SHOP-2") };
    let review = place.prepare_for("SHOP-2", &spec, run(2), 2, false).await.unwrap();
    assert_eq!(review.head, head);
    assert_eq!(git(&review.path, &["status", "--porcelain", "--branch"]), "## orch/SHOP-2");
    let seen = ["done.txt", "later.txt", "loose.txt", "ignored/cache"].map(|name| read(&review, name));
    assert_eq!(seen, [Some("done\n".to_owned()), None, None, Some("expensive\n".to_owned())]);
    let kept = ["done.txt", "later.txt", "loose.txt"].map(|name| saved(&review, run(1), name));
    assert_eq!(kept, ["half changed", "unpushed", "loose"]);

    // What the reviewer leaves is saved, too, beside what was: nothing replaces anything.
    write(&review, "notes.txt", "notes\n");
    place.prepare_for("SHOP-2", &spec, run(2), 2, true).await.unwrap();
    assert_eq!(read(&review, "notes.txt").as_deref(), Some("notes\n"), "its own conversation goes on");
    place.prepare_for("SHOP-2", &spec, run(3), 3, false).await.unwrap();
    assert_eq!(saved(&review, run(2), "notes.txt"), "notes");
    assert_eq!(saved(&review, run(1), "later.txt"), "unpushed");
}

#[tokio::test]
async fn work_that_cannot_be_saved_is_left_alone() {
    let place = Place::new();
    let dev = place.prepare("SHOP-3", &place.spec("SHOP-3")).await.unwrap();
    // A repository without a commit in it: git cannot add it.
    std::fs::create_dir(dev.path.join("nested")).unwrap();
    git(&dev.path.join("nested"), &["init", "--quiet"]);
    write(&dev, "nested/work.txt", "precious\n");
    let spec = Spec { head: Some(dev.head.clone()), head_rule: HeadRule::Exactly, ..place.spec("SHOP-3") };
    let refused = place.prepare_for("SHOP-3", &spec, run(2), 2, false).await.unwrap_err();
    assert_eq!(refused.fault, WorkspaceFault::Broken);
    assert!(refused.error.contains("could not be saved, so it was left alone"), "{}", refused.error);
    assert_eq!(read(&dev, "nested/work.txt").as_deref(), Some("precious\n"));
}

#[tokio::test]
async fn a_half_done_merge_and_stale_locks_hold_nobody_up() {
    let place = Place::new();
    let dev = place.prepare("SHOP-4", &place.spec("SHOP-4")).await.unwrap();
    write(&dev, "README.md", "ours\n");
    commit_all(&dev);
    place.commit("main", &[("README.md", "theirs\n")]);
    place.prepare_for("SHOP-4", &place.spec("SHOP-4"), run(1), 1, false).await.unwrap();
    let merge = Command::new("git").args(["merge", "origin/main"]).current_dir(&dev.path).output().unwrap();
    assert!(!merge.status.success());
    for lock in ["index.lock", "HEAD.lock"] {
        std::fs::write(dev.git_dir.join(lock), "").unwrap();
    }
    let head = place.git("person", &["rev-parse", "main"]);
    let spec = Spec { head: Some(head.clone()), head_rule: HeadRule::Exactly, ..place.spec("SHOP-4") };
    let judged = place.prepare_for("SHOP-4", &spec, run(2), 2, false).await.unwrap();
    assert_eq!(judged.head, head);
    assert!(saved(&judged, run(1), "README.md").contains("<<<<<<<"), "the conflict as it stood");
    assert_eq!(git(&judged.path, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_live_run_keeps_its_workspace() {
    let place = Place::new();
    let spec = place.spec("SHOP-5");
    place.prepare("SHOP-5", &spec).await.unwrap();
    let dir = RunDir::at(place.file(&format!("runs/{}", run(1))));
    std::fs::create_dir_all(dir.path()).unwrap();
    let lock = dir.try_lock().unwrap().unwrap();
    let refused = place.prepare_for("SHOP-5", &spec, run(2), 2, false).await.unwrap_err();
    assert_eq!(refused.fault, WorkspaceFault::Busy);
    assert!(place.prepare("SHOP-5", &spec).await.is_ok(), "its own preparation may be begun again");
    drop(lock);
    // A child that another test forks at this instant holds the lock until it is executed.
    let free = async {
        while place.prepare_for("SHOP-5", &spec, run(2), 2, false).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), free).await.unwrap();
}

#[tokio::test]
async fn another_repository_or_a_lost_folder_begins_anew_once_all_is_saved() {
    let place = Place::new();
    let spec = place.spec("SHOP-6");
    let first = place.prepare("SHOP-6", &spec).await.unwrap();
    write(&first, "loose.txt", "loose\n");
    place.git("", &["clone", "--quiet", "--bare", "forge.git", "moved.git"]);
    let moved = Spec { clone_url: place.file("moved.git").display().to_string(), ..spec.clone() };
    let second = place.prepare_for("SHOP-6", &moved, run(2), 2, false).await.unwrap();
    assert_ne!(second.clone, first.clone);
    assert_eq!(read(&second, "loose.txt"), None);
    assert_eq!(saved(&first, run(1), "loose.txt"), "loose");

    write(&second, "done.txt", "done\n");
    commit_all(&second);
    std::fs::remove_dir_all(&second.path).unwrap();
    let third = place.prepare_for("SHOP-6", &moved, run(3), 3, false).await.unwrap();
    assert_eq!(read(&third, "done.txt").as_deref(), Some("done\n"), "its branch is still there");
    assert_eq!(saved(&second, run(2), "done.txt"), "done");
}

#[tokio::test]
async fn a_folder_of_which_nothing_is_known_is_moved_aside() {
    let place = Place::new();
    let path = place.file("workspaces/shop/SHOP-7");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("from-before"), "plain\n").unwrap();
    let made = place.prepare("SHOP-7", &place.spec("SHOP-7")).await.unwrap();
    assert_eq!(read(&made, "from-before"), None);
    let kept = std::fs::read_to_string(place.file("workspaces/.kept/0/from-before"));
    assert_eq!(kept.unwrap(), "plain\n");
}

#[tokio::test]
async fn items_of_one_repository_are_prepared_side_by_side() {
    let place = Place::new();
    let keys = ["A-1", "A-2", "A-3", "A-4"];
    let specs = keys.map(|key| place.spec(key));
    let (a, b, c, d) = tokio::join!(
        place.prepare(keys[0], &specs[0]),
        place.prepare(keys[1], &specs[1]),
        place.prepare(keys[2], &specs[2]),
        place.prepare(keys[3], &specs[3]),
    );
    let branches: Vec<String> = [a, b, c, d].map(|made| made.unwrap().branch).into();
    assert_eq!(branches, ["orch/A-1", "orch/A-2", "orch/A-3", "orch/A-4"]);
}
