//! Files with Git LFS and submodules: a file is its content or a refusal, and nothing is fetched from where a commit says.

use domain::workspace::WorkspaceFault;

use super::super::lfs;
use super::*;

const CONTENT: &str = "not a pointer\n";

/// A repository with a file that is kept with Git LFS; its content is on the forge.
fn large(place: &Place) {
    for (key, value) in [
        ("filter.lfs.clean", "git-lfs clean -- %f"),
        ("filter.lfs.process", "git-lfs filter-process"),
        ("filter.lfs.required", "true"),
        // Git LFS puts hooks of its own there, which would push to a path as to a host.
        ("core.hooksPath", "/dev/null"),
    ] {
        place.git("person", &["config", key, value]);
    }
    place.commit(
        "main",
        &[(".gitattributes", "*.bin filter=lfs -text\n"), ("a.bin", CONTENT), ("b.txt", "b\n")],
    );
    place.git("person", &["lfs", "push", &format!("file://{}", place.url()), "HEAD"]);
}

#[tokio::test]
async fn a_file_with_lfs_is_its_content_and_what_an_agent_makes_of_it_reaches_the_forge() {
    let place = Place::new();
    large(&place);
    let made = place.prepare("SHOP-1", &place.spec("SHOP-1")).await.unwrap();
    assert_eq!(read(&made, "a.bin").as_deref(), Some(CONTENT));
    assert_eq!(git(&made.path, &["status", "--porcelain"]), "");
    write(&made, "new.bin", "made by an agent\n");
    let commit = commit_all(&made);
    let pointer = git(&made.path, &["cat-file", "blob", &format!("{commit}:new.bin")]);
    assert!(pointer.starts_with("version https://git-lfs"), "{pointer}");
    lfs::push(&place.workspaces.git, &made, &commit).await.unwrap();
    place.git(
        "",
        &[
            "--git-dir",
            made.transport.to_str().unwrap(),
            "push",
            "--quiet",
            &place.url(),
            &format!("{commit}:refs/heads/orch/SHOP-1"),
        ],
    );

    // Another host's worktree of it has both, and work that is not committed stays what it is.
    let other = Place {
        workspaces: Workspaces::new(
            place.file("other"),
            place.file("state"),
            place.workspaces.git.clone(),
            Clock::system(),
        ),
        ..place
    };
    let there = other.prepare("SHOP-1", &other.spec("SHOP-1")).await.unwrap();
    assert_eq!(read(&there, "new.bin").as_deref(), Some("made by an agent\n"));
    write(&there, "a.bin", "changed\n");
    std::fs::remove_file(there.path.join("new.bin")).unwrap();
    let again = other.prepare_for("SHOP-1", &other.spec("SHOP-1"), run(2), 1, false).await.unwrap();
    assert_eq!((read(&again, "a.bin").as_deref(), read(&again, "new.bin")), (Some("changed\n"), None));
}

#[tokio::test]
async fn without_git_lfs_such_a_repository_is_refused_and_no_pointer_is_given() {
    let mut place = Place::new();
    place.workspaces.git.has_lfs = false;
    place.prepare("SHOP-1", &place.spec("SHOP-1")).await.unwrap();
    large(&place);
    let refused = place.prepare("SHOP-2", &place.spec("SHOP-2")).await.unwrap_err();
    assert_eq!(refused.fault, WorkspaceFault::Missing);
    assert!(refused.error.contains("a.bin, and this host has no git-lfs: install it"), "{}", refused.error);
    // With it, what the forge has no content of is refused, too.
    place.workspaces.git.has_lfs = true;
    std::fs::remove_dir_all(place.file("forge.git/lfs")).unwrap();
    let refused = place.prepare("SHOP-3", &place.spec("SHOP-3")).await.unwrap_err();
    assert!(
        refused.error.contains("could not fetch the content of 1 files with Git LFS, such as a.bin"),
        "{}",
        refused.error
    );
}

/// A commit names what is fetched for a submodule, and a commit is somebody else's: nothing is.
#[tokio::test]
async fn no_submodule_is_fetched_from_where_a_commit_says() {
    let place = Place::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/evil.git", listener.local_addr().unwrap());
    let gitmodules = format!("[submodule \"evil\"]\n\tpath = evil\n\turl = {url}\n\tupdate = checkout\n");
    let head = place.commit("main", &[(".gitmodules", &gitmodules)]);
    place.git("person", &["update-index", "--add", "--cacheinfo", &format!("160000,{head},evil")]);
    place.git("person", &["commit", "--quiet", "--message", "a submodule"]);
    place.git("person", &["push", "--quiet", &place.url(), "main"]);
    let spec = place.spec("SHOP-1");
    let made = tokio::select! {
        made = place.prepare("SHOP-1", &spec) => made.unwrap(),
        asked = listener.accept() => panic!("{asked:?} was asked"),
    };
    assert_eq!(std::fs::read_dir(made.path.join("evil")).unwrap().count(), 0);
    assert_eq!(git(&made.path, &["status", "--porcelain"]), "");
    // Nor when its work is saved, or the next run goes on.
    write(&made, "work.txt", "x\n");
    commit_all(&made);
    let again = tokio::select! {
        made = place.prepare_for("SHOP-1", &spec, run(2), 2, false) => made.unwrap(),
        asked = listener.accept() => panic!("{asked:?} was asked"),
    };
    assert_eq!(read(&again, "work.txt").as_deref(), Some("x\n"));
}
