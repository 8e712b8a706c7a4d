//! What steers the agent's program comes from the base branch and never from the work: an outsider's pull request, or what an
//! agent wrote by an outsider's words, must not plant a hook, a permission or a server for the next agent.
//!
//! Such files are outside the worktree's sparse checkout: git never writes them there, whatever is checked out or merged, takes
//! none of them into a commit, and shows no change of them. So what lies there can be the base branch's, and no push ever
//! carries a difference. (Restoring them before a push instead would show the agent a change that is not its own, and
//! would fail open when a step is left out; `skip-worktree` alone lets a later checkout write them.)

use std::fs;
use std::path::Path;

use super::repository::Repository;
use super::{Unprepared, broken};
use crate::files;

/// The sparse checkout: everything but those, in whatever folder, and whether they are files, folders or links.
const SPARSE: &str = "/*\n!.claude\n!.mcp.json\n!CLAUDE.local.md\n";
/// The clone's `info/exclude`: what lies there is no new file either.
pub(super) const EXCLUDED: &str = ".claude\n.mcp.json\nCLAUDE.local.md\n";
/// The same as paths to be removed and taken.
const PATHS: [&str; 4] =
    [":(glob)**/.claude", ":(glob)**/.claude/**", ":(glob)**/.mcp.json", ":(glob)**/CLAUDE.local.md"];
/// The most of such files in a base branch.
const FILES_MAX: usize = 5000;
/// How many are named in one call.
const FILES_PER_CALL: usize = 200;

/// Keeps git from writing any of them into a worktree.
pub(super) fn keep_out(git_dir: &Path) -> std::io::Result<()> {
    let folder = git_dir.join("info");
    files::create_private_dir(&folder)?;
    files::write_durable(&folder, "sparse-checkout", SPARSE.as_bytes())
}

/// Puts those of `base` in place of whatever is there.
pub(super) async fn place(
    repository: &Repository<'_>,
    git_dir: &Path,
    path: &Path,
    base: &str,
) -> Result<(), Unprepared> {
    let index = git_dir.join("orch-settings-index");
    let _ = fs::remove_file(&index);
    let call = || {
        let call = repository.git.local(git_dir).work_tree(path).holding(&repository.lock);
        call.env("GIT_INDEX_FILE", &index).config("core.sparseCheckout", "false")
    };
    let failed =
        |error: super::git::GitError| broken(format!("could not place the base branch's settings: {error}"));
    // By an index that has no file every one of them is unknown to git, which so removes them and follows no link.
    call().args(["clean", "-ffdxq", "--"]).args(PATHS).run().await.map_err(failed)?;
    call().args(["read-tree", base]).run().await.map_err(failed)?;
    let listed = call().args(["ls-files", "-z", "--"]).args(PATHS).run().await.map_err(failed)?;
    let names: Vec<&str> = listed.split_terminator('\0').collect();
    if names.len() > FILES_MAX {
        return Err(broken(format!(
            "{} files of settings in the base branch, at most {FILES_MAX} are taken",
            names.len()
        )));
    }
    for some in names.chunks(FILES_PER_CALL) {
        call().args(["checkout-index", "--force", "--quiet", "--"]).args(some).run().await.map_err(failed)?;
    }
    let _ = fs::remove_file(&index);
    Ok(())
}
