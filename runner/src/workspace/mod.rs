//! Where an agent works: a plain folder per work item, or for a project with a repository a git worktree of it.
//!
//! What is told of a prepared worktree is a [`Workspace`], journaled in the run's folder before the agent is spawned, so that
//! whatever follows the agent, in this incarnation or the next, finds it there.

mod clean;
mod credential;
mod fault;
mod folder;
pub(crate) mod git;
pub(crate) mod hooks;
mod kept;
pub(crate) mod lfs;
mod plan;
mod prepare;
mod record;
mod repository;
mod settings;
mod worktree;

use std::path::PathBuf;

use domain::workspace::WorkspaceFault;
use serde::{Deserialize, Serialize};

pub(crate) use clean::Over;
pub(crate) use folder::{folder, home};
pub(crate) use git::Git;
pub(crate) use hooks::Surroundings;
pub(crate) use prepare::{Wanted, Workspaces};

/// A prepared git workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// The agent's folder: the root of the worktree.
    pub path: PathBuf,
    /// The worktree's own git folder. Commands of ours name it: the `.git` file in `path` is the agent's to change.
    pub git_dir: PathBuf,
    /// The bare clone that has every object, the local branches and `refs/orch/wip/*`.
    pub clone: PathBuf,
    /// The git folder that every command with the credential uses: it has the clone's objects, and refs and a configuration
    /// that no agent's command writes.
    pub transport: PathBuf,
    /// Where the repository is fetched from and pushed to.
    pub clone_url: String,
    /// The item's own branch, which the worktree is on; without `refs/heads/`.
    pub branch: String,
    /// The branch that work begins from; without `refs/heads/`.
    pub base: String,
    /// The newest commit of `base` when the workspace was prepared.
    pub base_commit: String,
    /// The commit the worktree showed when it was prepared.
    pub head: String,
    /// What the remote's `branch` was when it was fetched; none: it did not exist.
    pub remote_head: Option<String>,
}

/// Why there is no workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unprepared {
    pub(crate) fault: WorkspaceFault,
    /// What went wrong and what to do; fit to be shown.
    pub(crate) error: String,
}

const fn broken(error: String) -> Unprepared {
    Unprepared { fault: WorkspaceFault::Broken, error }
}

#[cfg(test)]
mod tests;
