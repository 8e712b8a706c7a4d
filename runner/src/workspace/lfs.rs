//! Files that a repository keeps with Git LFS: their content lies in the worktree before an agent begins, and is on the forge before a
//! commit that names it. Without `git-lfs` on the host such a repository is refused: an agent is never given a pointer for a file.
//!
//! The content is the clone's, beside its objects. Git LFS is told of no other server than the forge that the project names.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use domain::workspace::WorkspaceFault;

use super::git::{Call, Git, GitError, plain_url};
use super::repository::Repository;
use super::worktree::Worktree;
use super::{Unprepared, Workspace, broken};

/// What every pointer begins with.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// How many files are named in one call.
const FILES_PER_CALL: usize = 200;

/// The clone's configuration for whoever commits there: git calls the filters, and nothing is fetched by them.
pub(super) const FILTERS: &str = "[filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge --skip -- %f\n\
     \tprocess = git-lfs filter-process --skip\n\trequired = true\n[lfs]\n\tlocksverify = false\n";

/// The transport's: the content is the clone's.
pub(super) fn storage(clone: &Path) -> String {
    let path = clone.join("lfs").display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("[lfs]\n\tstorage = \"{path}\"\n\tlocksverify = false\n\tallowincompletepush = true\n")
}

/// Puts their content in the place of those files that lie in the worktree as pointers.
pub(super) async fn fill(repository: &Repository<'_>, worktree: &Worktree<'_>) -> Result<(), Unprepared> {
    let pointers = pointers(worktree).await?;
    let Some(first) = pointers.first() else { return Ok(()) };
    let shown = format!("{} files with Git LFS, such as {}", pointers.len(), first.to_string_lossy());
    if !repository.git.has_lfs {
        let error = format!(
            "the repository keeps {shown}, and this host has no git-lfs: install it and start the runner again"
        );
        return Err(Unprepared { fault: WorkspaceFault::Missing, error });
    }
    let commit = worktree.commit().await?;
    let fetched = remote(repository.git, &repository.transport, repository.clone_url)
        .holding(&repository.lock)
        .args(["lfs", "fetch", &url(repository.clone_url), &commit])
        .run()
        .await;
    if let Err(error) = fetched {
        let fault = error.remote_fault();
        return Err(Unprepared { fault, error: format!("could not fetch the content of {shown}: {error}") });
    }
    for some in pointers.chunks(FILES_PER_CALL) {
        let placed = worktree.call().args(["lfs", "checkout", "--"]).args(some).run().await;
        placed.map_err(|error| broken(format!("could not place the content of {shown}: {error}")))?;
    }
    match self::pointers(worktree).await?.first() {
        None => Ok(()),
        Some(left) => Err(Unprepared {
            fault: WorkspaceFault::Missing,
            error: format!(
                "the forge has no content of {}, a file with Git LFS: push it",
                left.to_string_lossy()
            ),
        }),
    }
}

/// Brings the content of what a commit names to the forge, where that lacks it. To be done before the commit is pushed.
pub(crate) async fn push(git: &Git, workspace: &Workspace, commit: &str) -> Result<(), GitError> {
    if !git.has_lfs || !workspace.clone.join("lfs/objects").exists() {
        return Ok(());
    }
    let pushing = remote(git, &workspace.transport, &workspace.clone_url);
    pushing.args(["lfs", "push", &url(&workspace.clone_url), commit]).run().await.map(|_| ())
}

/// A call in the transport's folder rather than with its name: Git LFS would hand that on to the repository at the other end.
fn remote<'a>(git: &'a Git, transport: &Path, clone_url: &str) -> Call<'a> {
    let call = git.remote(transport, clone_url).inside(transport);
    // Over ssh the forge says where its server is.
    if is_ssh(clone_url) { call } else { call.config("lfs.url", &server(clone_url)) }
}

fn is_ssh(clone_url: &str) -> bool {
    clone_url.starts_with("ssh://") || !(clone_url.contains("://") || clone_url.starts_with('/'))
}

fn url(clone_url: &str) -> String {
    let plain = plain_url(clone_url);
    if plain.starts_with('/') { format!("file://{plain}") } else { plain }
}

fn server(clone_url: &str) -> String {
    let url = url(clone_url);
    if url.starts_with("file://") {
        return url;
    }
    let url = url.trim_end_matches('/');
    format!("{}.git/info/lfs", url.strip_suffix(".git").unwrap_or(url))
}

/// The files that lie in the worktree as pointers, of those that are to be kept with Git LFS.
async fn pointers(worktree: &Worktree<'_>) -> Result<Vec<PathBuf>, Unprepared> {
    let listed = worktree.call().args(["ls-files", "-z", "--", ":(attr:filter=lfs)"]).run().await;
    let listed = listed.map_err(|error| broken(format!("could not list the files with Git LFS: {error}")))?;
    let (root, names) = (worktree.path.to_owned(), listed);
    let found = service::blocking(move || {
        let names = names.split_terminator('\0').map(PathBuf::from);
        Ok(names.filter(|name| is_pointer(&root.join(name))).collect())
    });
    Ok(found.await?)
}

fn is_pointer(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let mut start = [0; POINTER.len()];
    is_file && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == POINTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_forge_that_the_project_names() {
        for (clone_url, told) in [
            ("https://bot@git.example/acme/shop.git", "https://git.example/acme/shop.git/info/lfs"),
            ("https://git.example/acme/shop", "https://git.example/acme/shop.git/info/lfs"),
            ("/srv/shop.git", "file:///srv/shop.git"),
            ("file:///srv/shop.git", "file:///srv/shop.git"),
        ] {
            assert_eq!((server(clone_url).as_str(), is_ssh(clone_url)), (told, false));
        }
        assert!(is_ssh("git@git.example:acme/shop.git") && is_ssh("ssh://git@git.example/acme/shop.git"));
    }
}
