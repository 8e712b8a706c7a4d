//! Removes the worktrees of work items that are over, on the scheduler's word alone and only once their work is saved: those that
//! are over for long, and while all of them together take more than their quota, whichever was over first.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use domain::Timestamp;

use super::Unprepared;
use super::prepare::Workspaces;
use super::record::Record;
use super::repository::Repository;
use super::worktree::remove_all;

/// How long the workspace of an item that is over is kept where there is room: a person may want to look.
const KEPT: Duration = Duration::from_hours(24);
/// How long the clean-up waits for a workspace that is in somebody's hands.
const WAIT: Duration = Duration::from_secs(1);
/// What `stat` counts blocks in.
const BLOCK_BYTES: u64 = 512;

/// A work item that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) project: String,
    pub(crate) work_item: String,
    pub(crate) since: Timestamp,
}

/// What a clean-up came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) removed: usize,
    /// What worktrees and clones take afterwards.
    pub(crate) bytes: u64,
}

impl Workspaces {
    /// Every work item that has a worktree here: its project and key.
    pub(crate) async fn items(&self) -> Vec<(String, String)> {
        let records = self.records.clone();
        let all = service::blocking(move || Ok(records.all())).await.unwrap_or_default();
        all.into_iter().map(|record| (record.project, record.work_item)).collect()
    }

    /// Removes what is due of the items that are over.
    pub(crate) async fn clean(&self, over: &[Over], quota_bytes: u64, now: Timestamp) -> Cleaned {
        let (records, root) = (self.records.clone(), self.root.clone());
        let measured = service::blocking(move || {
            let all: Vec<(Record, u64)> = records
                .all()
                .into_iter()
                .map(|record| (bytes(&record.path), record))
                .map(|(bytes, record)| (record, bytes))
                .collect();
            Ok((all, bytes(&root.join(".repositories"))))
        });
        let Ok((all, clones)) = measured.await else { return Cleaned::default() };
        let mut cleaned =
            Cleaned { removed: 0, bytes: all.iter().map(|(_, bytes)| bytes).sum::<u64>() + clones };
        let mut finished: Vec<(Timestamp, Record, u64)> = all
            .into_iter()
            .filter_map(|(record, bytes)| {
                let is_of =
                    |over: &&Over| over.project == record.project && over.work_item == record.work_item;
                Some((over.iter().find(is_of)?.since, record, bytes))
            })
            .collect();
        finished.sort_by_key(|(since, record, _)| (*since, record.run));
        for (since, record, bytes) in finished {
            if !is_due(since, now, cleaned.bytes, quota_bytes) {
                continue;
            }
            match self.remove(&record).await {
                Ok(true) => {
                    cleaned.removed += 1;
                    cleaned.bytes = cleaned.bytes.saturating_sub(bytes);
                }
                Ok(false) => {}
                Err(Unprepared { error, .. }) => {
                    tracing::warn!(path = %record.path.display(), error, "could not remove the workspace of an item that is over");
                }
            }
        }
        self.pack().await;
        cleaned
    }

    /// Removes one worktree; false when somebody wants it after all.
    async fn remove(&self, record: &Record) -> Result<bool, Unprepared> {
        let Some(_item) = self.records.lock(&record.project, &record.work_item, WAIT).await? else {
            return Ok(false);
        };
        let now = self.records.read(&record.project, &record.work_item)?;
        if now.as_ref() != Some(record) || record.is_lived_in() {
            return Ok(false);
        }
        let repository = Repository::at(&self.git, &record.clone).await?;
        self.save_and_remove(&repository, record).await?;
        self.records.remove(record)?;
        tracing::info!(
            project = record.project,
            work_item = record.work_item,
            "removed the workspace of an item that is over"
        );
        Ok(true)
    }

    /// Has git pack what has gathered in the clones, and removes what an earlier removal left.
    async fn pack(&self) {
        let folders = fs::read_dir(self.root.join(".repositories")).into_iter().flatten().flatten();
        for folder in folders {
            let clone = folder.path().join("clone.git");
            if !clone.join("HEAD").exists() {
                continue;
            }
            let packed = async {
                let repository = Repository::at(&self.git, &clone).await?;
                let trash = repository.trash();
                service::blocking(move || if trash.exists() { remove_all(&trash) } else { Ok(()) }).await?;
                repository.pack().await
            };
            if let Err(Unprepared { error, .. }) = packed.await {
                tracing::warn!(clone = %clone.display(), error, "could not tidy a clone");
            }
        }
    }
}

fn is_due(since: Timestamp, now: Timestamp, bytes: u64, quota_bytes: u64) -> bool {
    bytes > quota_bytes || now.since(since) > KEPT
}

/// What lies below a path, without following a link.
fn bytes(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    let own = found.blocks() * BLOCK_BYTES;
    if !found.is_dir() {
        return own;
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| bytes(&entry.path()));
    own + below.sum::<u64>()
}
