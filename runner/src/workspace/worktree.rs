//! One work item's worktree: made, brought to a commit, saved from, removed. Nothing that is in no commit of the forge's is ever
//! written over or removed before it is in `refs/orch/wip/<run>`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::RunId;
use domain::outcome::Exit;

use super::git::{Call, GitError};
use super::plan::{Standing, Tip};
use super::record::Record;
use super::repository::Repository;
use super::{Unprepared, broken, settings};
use crate::files;

/// Where unsaved work is kept in the clone, by the run that left it.
const WIP: &str = "refs/orch/wip/";
/// What a command that was killed, or is half done, leaves in a worktree's git folder.
const HALF_DONE: [&str; 11] = [
    "index.lock",
    "HEAD.lock",
    "MERGE_HEAD",
    "MERGE_MODE",
    "MERGE_MSG",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
];

/// Where the unsaved work of a run is kept.
pub(super) fn wip(run: RunId) -> String {
    format!("{WIP}{run}")
}

/// A worktree of a repository whose lock is held.
pub(super) struct Worktree<'a> {
    pub(super) repository: &'a Repository<'a>,
    pub(super) path: &'a Path,
    /// Its own git folder.
    pub(super) git_dir: PathBuf,
    pub(super) branch: &'a str,
}

impl<'a> Worktree<'a> {
    /// The worktree of a record, if git and the disk still have it.
    pub(super) fn of(repository: &'a Repository<'a>, record: &'a Record) -> Option<Self> {
        let git_dir = record.git_dir.clone().filter(|git_dir| git_dir.join("HEAD").exists())?;
        drop_links(&git_dir, 0);
        Some(Self { repository, path: &record.path, git_dir, branch: &record.branch })
    }

    /// Makes one that shows `commit` on its branch.
    pub(super) async fn add(
        repository: &'a Repository<'a>,
        path: &'a Path,
        branch: &'a str,
        commit: &str,
    ) -> Result<Self, Unprepared> {
        let failed =
            |error: GitError| broken(format!("could not make the worktree {}: {error}", path.display()));
        if let Some(parent) = path.parent() {
            files::create_private_dir(parent).map_err(|error| broken(error.to_string()))?;
        }
        repository.local().args(["worktree", "prune", "--expire=now"]).run().await.map_err(failed)?;
        let add =
            repository.local().args(["worktree", "add", "--quiet", "--no-checkout", "-B", branch, "--"]);
        add.args([path.as_os_str(), commit.as_ref()]).run().await.map_err(failed)?;
        let git_dir = git_dir_of(path, &repository.clone).map_err(|error| {
            broken(format!("could not find the git folder of {}: {error}", path.display()))
        })?;
        let made = Self { repository, path, git_dir, branch };
        settings::keep_out(&made.git_dir).map_err(|error| broken(error.to_string()))?;
        made.call().args(["reset", "--quiet", "--hard"]).run().await.map_err(failed)?;
        Ok(made)
    }

    /// Where it stands.
    pub(super) async fn standing(
        &self,
        head: Option<&str>,
        remote: Option<&str>,
    ) -> Result<Standing, Unprepared> {
        let commit = self.commit().await?;
        let branch = self.repository.commit(&format!("refs/heads/{}", self.branch)).await?;
        let has_branch = match &branch {
            Some(tip) => self.repository.contains(&commit, tip).await?,
            None => true,
        };
        Ok(Standing {
            tip: tip(self.repository, commit, head, remote).await?,
            dirty: self.is_dirty().await?,
            has_branch,
        })
    }

    /// Puts the branch where the worktree stands, without touching a file.
    pub(super) async fn keep_on_branch(&self) -> Result<(), Unprepared> {
        let on = self.call().args(["symbolic-ref", "--quiet", "HEAD"]).run().await.unwrap_or_default();
        let name = format!("refs/heads/{}", self.branch);
        if on.trim() == name {
            return Ok(());
        }
        let commit = self.commit().await?;
        let failed =
            |error: GitError| broken(format!("could not bring the worktree back to its branch: {error}"));
        self.repository.local().args(["update-ref", &name, &commit]).run().await.map_err(failed)?;
        self.call().args(["symbolic-ref", "HEAD", &name]).run().await.map_err(failed)?;
        Ok(())
    }

    /// Shows `commit` on its branch and nothing else; what git ignores stays. Whatever was there must have been saved.
    pub(super) async fn begin_at(&self, commit: &str) -> Result<(), Unprepared> {
        let failed = |error: GitError| broken(format!("could not bring the worktree to {commit}: {error}"));
        self.forget_half_done().map_err(|error| broken(error.to_string()))?;
        settings::keep_out(&self.git_dir).map_err(|error| broken(error.to_string()))?;
        let checkout = self.call().args([
            "checkout",
            "--quiet",
            "--force",
            "--no-track",
            "-B",
            self.branch,
            commit,
            "--",
        ]);
        checkout.run().await.map_err(failed)?;
        self.call().args(["clean", "-fdq"]).run().await.map_err(failed)?;
        Ok(())
    }

    /// Saves what is in no commit, and commits that the forge does not have, as `refs/orch/wip/<run>`; says where, if there was
    /// anything. Work of the run that was saved before stays reachable from there.
    pub(super) async fn save(&self, run: RunId) -> Result<Option<String>, Unprepared> {
        self.try_save(run).await.map_err(|unprepared| {
            let Unprepared { fault, error } = unprepared;
            let error = format!(
                "unsaved work in {} could not be saved, so it was left alone: {error}",
                self.path.display()
            );
            Unprepared { fault, error }
        })
    }

    async fn try_save(&self, run: RunId) -> Result<Option<String>, Unprepared> {
        let failed = |error: GitError| broken(error.to_string());
        let name = wip(run);
        let (commit, before) = (self.commit().await?, self.repository.commit(&name).await?);
        let branch = self.repository.commit(&format!("refs/heads/{}", self.branch)).await?;
        let dirty = self.path.exists() && self.is_dirty().await?;
        let tips = [Some(commit.clone()), branch.clone()].into_iter().flatten();
        let unsaved = self
            .repository
            .local()
            .args(["rev-list", "--max-count=1"])
            .args(tips)
            .args(["--not", "--remotes=origin", "--glob=refs/pull/*", "--glob=refs/orch/wip/*"])
            .run()
            .await
            .map_err(failed)?;
        if !dirty && unsaved.trim().is_empty() {
            return Ok(None);
        }
        let tree = if dirty { self.tree().await? } else { format!("{commit}^{{tree}}") };
        let mut parents = vec![commit];
        for other in [branch, before].into_iter().flatten() {
            if !parents.contains(&other) {
                parents.push(other);
            }
        }
        let mut save = self.call().args(["commit-tree", "-m", &format!("unsaved work of run {run}")]);
        for parent in &parents {
            save = save.args(["-p", parent]);
        }
        let saved = save.args([&tree]).run().await.map_err(failed)?.trim().to_owned();
        self.repository.local().args(["update-ref", &name, &saved]).run().await.map_err(failed)?;
        tracing::info!(run.id = %run, path = %self.path.display(), reference = name, "saved unsaved work");
        Ok(Some(name))
    }

    /// Removes it; whatever was there must have been saved. Its branch goes with it where the forge has all of it.
    pub(super) async fn remove(self, trash: &Path) -> Result<(), Unprepared> {
        let failed = |error: GitError| {
            broken(format!("could not remove the worktree {}: {error}", self.path.display()))
        };
        let (path, trash) = (self.path.to_owned(), trash.to_owned());
        service::blocking(move || discard(&path, &trash)).await.map_err(|error| broken(error.to_string()))?;
        self.repository.local().args(["worktree", "prune", "--expire=now"]).run().await.map_err(failed)?;
        let name = format!("refs/heads/{}", self.branch);
        if let Some(tip) = self.repository.commit(&name).await? {
            let ahead = self.repository.local().args([
                "rev-list",
                "--max-count=1",
                &tip,
                "--not",
                "--remotes=origin",
            ]);
            if ahead.run().await.map_err(failed)?.trim().is_empty() {
                self.repository
                    .local()
                    .args(["update-ref", "-d", &name, &tip])
                    .run()
                    .await
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes what commands left half done. Nobody lives in the worktree, so nobody holds its locks.
    fn forget_half_done(&self) -> io::Result<()> {
        for name in HALF_DONE {
            let path = self.git_dir.join(name);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path)?,
                Ok(_) => fs::remove_file(&path)?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Removes the locks of commands that died with their agent.
    pub(super) fn unlock(&self) {
        for name in ["index.lock", "HEAD.lock"] {
            let _ = fs::remove_file(self.git_dir.join(name));
        }
    }

    pub(super) async fn commit(&self) -> Result<String, Unprepared> {
        let asked =
            self.call().args(["rev-parse", "--verify", "--end-of-options", "HEAD^{commit}"]).run().await;
        asked.map(|commit| commit.trim().to_owned()).map_err(|error| broken(error.to_string()))
    }

    async fn is_dirty(&self) -> Result<bool, Unprepared> {
        let status = self.call().args([
            "status",
            "--porcelain=v1",
            "--untracked-files=normal",
            "--ignore-submodules=all",
            "--no-renames",
        ]);
        match status.run().await {
            Ok(told) => Ok(!told.trim().is_empty()),
            // More than is read of it.
            Err(GitError::Failed { exit: Exit::Code(0), .. }) => Ok(true),
            Err(error) => Err(broken(error.to_string())),
        }
    }

    /// The tree of everything that lies there and is not ignored. The worktree's own index stays as it is.
    async fn tree(&self) -> Result<String, Unprepared> {
        let failed = |error: GitError| broken(error.to_string());
        let index = self.git_dir.join("orch-wip-index");
        match fs::copy(self.git_dir.join("index"), &index) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(broken(error.to_string())),
            // Without one, everything that lies there is added anew.
            Ok(_) | Err(_) => {}
        }
        let call = || self.call().env("GIT_INDEX_FILE", &index);
        call().args(["add", "--all", "--", "."]).run().await.map_err(failed)?;
        let tree = call().args(["write-tree"]).run().await.map_err(failed)?.trim().to_owned();
        let _ = fs::remove_file(&index);
        Ok(tree)
    }

    pub(super) fn call(&self) -> Call<'_> {
        let call = self.repository.git.local(&self.git_dir).holding(&self.repository.lock);
        if self.path.exists() { call.work_tree(self.path) } else { call }
    }
}

/// How a commit lies to the job's and to the forge's branch.
pub(super) async fn tip(
    repository: &Repository<'_>,
    commit: String,
    head: Option<&str>,
    remote: Option<&str>,
) -> Result<Tip, Unprepared> {
    let has_head = match head {
        Some(head) => repository.contains(&commit, head).await?,
        None => false,
    };
    let behind = match remote {
        Some(remote) => commit != remote && repository.contains(remote, &commit).await?,
        None => false,
    };
    Ok(Tip { commit, has_head, behind })
}

/// Takes a folder out of the way at once, then removes it piece by piece.
pub(super) fn discard(path: &Path, trash: &Path) -> io::Result<()> {
    files::create_private_dir(trash)?;
    let gone = tempfile_in(trash);
    match fs::rename(path, &gone) {
        Ok(()) => remove_all(&gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The most names that are tried in one folder.
const NAMES_MAX: u64 = 1_000_000;

/// A name in `folder` that nothing has.
pub(super) fn tempfile_in(folder: &Path) -> PathBuf {
    (0..NAMES_MAX)
        .map(|number| folder.join(number.to_string()))
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_default()
}

/// Removes a folder, also where an agent took the right to write from parts of it.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fn open_up(path: &Path) {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if is_folder {
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
            fs::read_dir(path).into_iter().flatten().flatten().for_each(|entry| open_up(&entry.path()));
        }
    }
    fs::remove_dir_all(path).or_else(|_| {
        open_up(path);
        fs::remove_dir_all(path)
    })
}

/// Removes links from a worktree's git folder. Git makes none; one of an agent's would lead what we write there to a file of its
/// choice.
fn drop_links(folder: &Path, depth: usize) {
    const DEPTH_MAX: usize = 64;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_symlink() => {
                tracing::warn!(path = %entry.path().display(), "removed a link from a worktree's git folder");
                let _ = fs::remove_file(entry.path());
            }
            Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => drop_links(&entry.path(), depth + 1),
            Ok(_) | Err(_) => {}
        }
    }
}

/// The git folder that a worktree which git just made names: one of the clone's.
fn git_dir_of(path: &Path, clone: &Path) -> io::Result<PathBuf> {
    let named = fs::read_to_string(path.join(".git"))?;
    let git_dir = named.strip_prefix("gitdir: ").map(|rest| PathBuf::from(rest.trim_end()));
    git_dir
        .filter(|git_dir| git_dir.parent() == Some(clone.join("worktrees").as_path()))
        .ok_or_else(|| io::Error::other("it names none of the clone's"))
}
