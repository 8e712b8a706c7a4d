//! What is known of each git workspace of this host, one small file for each: whose it is, which clone it belongs to, and
//! which run had it last. Outside of the workspaces, whose files are their agents' to change.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{JobId, RunId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::folder::encode;
use super::kept::Kept;
use crate::files;
use crate::run_dir::RunDir;

/// The ending of the files of [`Kept`].
const KEPT: &str = "kept";
/// How many pushed commits are remembered of an item.
const PUSHED_MAX: usize = 32;

/// How often a lock is tried for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A work item's git workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) project: String,
    pub(super) work_item: String,
    pub(super) path: PathBuf,
    /// The bare clone it belongs to.
    pub(super) clone: PathBuf,
    /// The worktree's own git folder; none before git made it.
    pub(super) git_dir: Option<PathBuf>,
    pub(super) branch: String,
    /// The run that had it last, and its folder.
    pub(super) run: RunId,
    pub(super) run_dir: PathBuf,
    pub(super) job: JobId,
    /// Whether the hook `after_create` has succeeded.
    pub(super) created: bool,
    /// The commits that runs for the item pushed, or were about to, at most [`PUSHED_MAX`]: the newest.
    #[serde(default)]
    pub(super) pushed: Vec<String>,
}

impl Record {
    /// Remembers that a commit is about to be pushed.
    pub(super) fn pushes(&mut self, commit: &str) {
        self.pushed.retain(|known| known != commit);
        self.pushed.push(commit.to_owned());
        self.pushed.drain(..self.pushed.len().saturating_sub(PUSHED_MAX));
    }

    /// Whether the run that had it last may still have an agent.
    pub(super) fn is_lived_in(&self) -> bool {
        let dir = RunDir::at(self.run_dir.clone());
        dir.path().exists() && !matches!(dir.try_lock(), Ok(Some(_)))
    }
}

/// The records of a workspace folder.
#[derive(Clone, Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(super) fn new(root: &Path) -> Self {
        // No encoded project begins with a dot.
        Self { folder: root.join(".records") }
    }

    pub(super) fn read(&self, project: &str, work_item: &str) -> io::Result<Option<Record>> {
        files::read_json(&self.file(project, work_item, "json"))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        write(&self.file(&record.project, &record.work_item, "json"), record)
    }

    pub(super) fn remove(&self, record: &Record) -> io::Result<()> {
        fs::remove_file(self.file(&record.project, &record.work_item, "json"))
    }

    /// What an item has beside a worktree; none: nothing.
    pub(super) fn kept(&self, project: &str, work_item: &str) -> io::Result<Option<Kept>> {
        files::read_json(&self.file(project, work_item, KEPT))
    }

    /// Notes what an item has, or that it has nothing more.
    pub(super) fn write_kept(&self, kept: &Kept) -> io::Result<()> {
        let file = self.file(&kept.project, &kept.work_item, KEPT);
        if kept.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        write(&file, kept)
    }

    /// All worktrees; what cannot be read is passed over with a word.
    pub(super) fn all(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.every("json");
        records.sort_by_key(|record| record.run);
        records
    }

    /// What all items have beside those.
    pub(super) fn all_kept(&self) -> Vec<Kept> {
        let mut all: Vec<Kept> = self.every(KEPT);
        all.sort_by(|one, other| (&one.project, &one.work_item).cmp(&(&other.project, &other.work_item)));
        all
    }

    fn every<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let files = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(|project| fs::read_dir(project.path()).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == kind));
        files
            .filter_map(|path| match files::read_json(&path) {
                Ok(record) => record,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "could not read the record of a workspace");
                    None
                }
            })
            .collect()
    }

    /// Takes the lock of one item's workspace: whoever has it may change it.
    pub(super) async fn lock(
        &self,
        project: &str,
        work_item: &str,
        wait: Duration,
    ) -> io::Result<Option<File>> {
        lock(&self.file(project, work_item, "lock"), wait).await
    }

    fn file(&self, project: &str, work_item: &str, extension: &str) -> PathBuf {
        self.folder.join(encode(project)).join(format!("{}.{extension}", encode(work_item)))
    }
}

fn write(file: &Path, record: &impl Serialize) -> io::Result<()> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    files::create_private_dir(folder)?;
    files::write_durable(folder, name, &serde_json::to_vec(record)?)
}

/// Takes an advisory lock on a file, which is made if need be; none when somebody else has it for longer than `wait`.
pub(super) async fn lock(path: &Path, wait: Duration) -> io::Result<Option<File>> {
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    let file = files::private_file(path)?;
    let give_up = tokio::time::Instant::now() + wait;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() >= give_up => return Ok(None),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK_EVERY).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
