//! Removes what work items left on this host that are over, on the scheduler's word alone: worktrees, once their work is saved, plain
//! folders, the HOMEs of their agents, references to saved work. Each kind is kept for a while; while all of it together takes more
//! than its quota, whatever was over first goes first.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::Timestamp;

use super::Unprepared;
use super::kept::{Kept, Saved};
use super::prepare::Workspaces;
use super::record::Record;
use super::repository::Repository;
use super::worktree::remove_all;

/// How long the worktree of an item that is over is kept where there is room: a person may want to look.
const WORKTREE_KEPT: Duration = Duration::from_hours(24);
/// How long its HOMEs and its plain folder are, of which no other copy is.
const FOLDERS_KEPT: Duration = Duration::from_hours(7 * 24);
/// How long its saved work can be asked for.
const SAVED_KEPT: Duration = Duration::from_hours(30 * 24);
/// How many items that are over keep folders or a worktree, whatever room there is: the newest.
const ITEMS_KEPT: usize = 500;
/// How much saved work is kept of items that are over: the newest.
const SAVED_MAX: usize = 2000;
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
    /// Worktrees, and items whose folders went.
    pub(crate) removed: usize,
    /// References to saved work.
    pub(crate) forgotten: usize,
    /// What worktrees, folders and clones take afterwards.
    pub(crate) bytes: u64,
}

/// Something that an item left.
#[derive(Clone, Debug)]
enum Left {
    Worktree(Record),
    /// Everything of it that is a folder and no worktree.
    Folders(Kept),
}

impl Left {
    fn item(&self) -> (&str, &str) {
        match self {
            Self::Worktree(record) => (&record.project, &record.work_item),
            Self::Folders(kept) => (&kept.project, &kept.work_item),
        }
    }

    const fn kept_for(&self) -> Duration {
        match self {
            Self::Worktree(_) => WORKTREE_KEPT,
            Self::Folders(_) => FOLDERS_KEPT,
        }
    }
}

impl Workspaces {
    /// Every work item that has anything here: its project and key.
    pub(crate) async fn items(&self) -> Vec<(String, String)> {
        let records = self.records.clone();
        let items = service::blocking(move || {
            let worktrees = records.all().into_iter().map(|record| (record.project, record.work_item));
            let kept = records.all_kept().into_iter().map(|kept| (kept.project, kept.work_item));
            let mut items: Vec<(String, String)> = worktrees.chain(kept).collect();
            items.sort();
            items.dedup();
            Ok(items)
        });
        items.await.unwrap_or_default()
    }

    /// Removes what is due of the items that are over.
    pub(crate) async fn clean(&self, over: &[Over], quota_bytes: u64, now: Timestamp) -> Cleaned {
        let this = self.clone();
        let Ok((left, clones_bytes)) = service::blocking(move || Ok(this.measure())).await else {
            return Cleaned::default();
        };
        let bytes = left.iter().map(|(_, bytes)| bytes).sum::<u64>() + clones_bytes;
        let mut cleaned = Cleaned { bytes, ..Cleaned::default() };
        let since: BTreeMap<(&str, &str), Timestamp> =
            over.iter().map(|over| ((over.project.as_str(), over.work_item.as_str()), over.since)).collect();
        let mut finished: Vec<(Timestamp, &Left, u64)> =
            left.iter().filter_map(|(left, bytes)| Some((*since.get(&left.item())?, left, *bytes))).collect();
        finished.sort_by_key(|(since, left, _)| (*since, left.item()));
        let mut items: Vec<(&str, &str)> = finished.iter().map(|(_, left, _)| left.item()).collect();
        items.dedup();
        let too_many = &items[..items.len().saturating_sub(ITEMS_KEPT)];
        for (since, left, bytes) in finished {
            let is_due = cleaned.bytes > quota_bytes
                || now.since(since) > left.kept_for()
                || too_many.contains(&left.item());
            if !is_due {
                continue;
            }
            let (project, work_item) = left.item();
            match self.remove(left).await {
                Ok(true) => {
                    cleaned.removed += 1;
                    cleaned.bytes = cleaned.bytes.saturating_sub(bytes);
                    tracing::info!(project, work_item, bytes, "removed what an item that is over left");
                }
                Ok(false) => {}
                Err(Unprepared { error, .. }) => {
                    tracing::warn!(
                        project,
                        work_item,
                        error,
                        "could not remove what an item that is over left"
                    );
                }
            }
        }
        cleaned.forgotten = self.forget_saved(&since, now).await;
        self.pack().await;
        cleaned
    }

    /// What items have here and what it takes, and what the clones take.
    fn measure(&self) -> (Vec<(Left, u64)>, u64) {
        let worktrees = self.records.all().into_iter().map(|record| {
            let bytes = bytes(&record.path);
            (Left::Worktree(record), bytes)
        });
        let folders = self.records.all_kept().into_iter().filter_map(|kept| {
            let folders = self.folders_of(&kept);
            let bytes = folders.iter().map(|folder| bytes(folder)).sum();
            (!folders.is_empty()).then_some((Left::Folders(kept), bytes))
        });
        (worktrees.chain(folders).collect(), bytes(&self.root.join(".repositories")))
    }

    /// Removes something that an item left; false when somebody wants it after all.
    async fn remove(&self, left: &Left) -> Result<bool, Unprepared> {
        let (project, work_item) = left.item();
        let Some(_item) = self.records.lock(project, work_item, WAIT).await? else { return Ok(false) };
        match left {
            Left::Worktree(record) => {
                let now = self.records.read(project, work_item)?;
                if now.as_ref() != Some(record) || record.is_lived_in() {
                    return Ok(false);
                }
                let repository = Repository::at(&self.git, &record.clone).await?;
                self.save_and_remove(&repository, record).await?;
                self.records.remove(record)?;
            }
            Left::Folders(_) => {
                // A save may have added to it since it was measured; what counts is who lives there now.
                let Some(mut kept) = self.records.kept(project, work_item)? else { return Ok(false) };
                if kept.is_lived_in() {
                    return Ok(false);
                }
                let folders = self.folders_of(&kept);
                service::blocking(move || folders.iter().try_for_each(|folder| remove_all(folder))).await?;
                kept.accounts.clear();
                kept.runs.clear();
                self.records.write_kept(&kept)?;
            }
        }
        Ok(true)
    }

    /// Removes references to the saved work of items that are over for long, and of those that were over first where there are too many.
    async fn forget_saved(&self, since: &BTreeMap<(&str, &str), Timestamp>, now: Timestamp) -> usize {
        let all = self.records.all_kept();
        let with_since = |kept: &Kept| since.get(&(kept.project.as_str(), kept.work_item.as_str())).copied();
        let mut finished: Vec<(Timestamp, &Kept)> =
            all.iter().filter_map(|kept| Some((with_since(kept)?, kept))).collect();
        finished.sort_by_key(|(since, _)| *since);
        let mut count: usize = finished.iter().map(|(_, kept)| kept.saved.len()).sum();
        let mut forgotten = 0;
        for (since, kept) in finished {
            // Work that was saved late, such as by a runner that was away, is kept as long as any.
            let newest = kept.saved.iter().map(|saved| saved.at).max();
            let is_old = newest.is_some_and(|newest| now.since(newest.max(since)) > SAVED_KEPT);
            if kept.saved.is_empty() || (count <= SAVED_MAX && !is_old) {
                continue;
            }
            match self.forget_saved_of(kept).await {
                Ok(references) => {
                    forgotten += references;
                    count -= references.min(count);
                }
                Err(Unprepared { error, .. }) => {
                    tracing::warn!(
                        project = kept.project,
                        work_item = kept.work_item,
                        error,
                        "could not forget saved work"
                    );
                }
            }
        }
        forgotten
    }

    async fn forget_saved_of(&self, kept: &Kept) -> Result<usize, Unprepared> {
        let Some(_item) = self.records.lock(&kept.project, &kept.work_item, WAIT).await? else {
            return Ok(0);
        };
        let Some(mut kept) = self.records.kept(&kept.project, &kept.work_item)? else { return Ok(0) };
        if kept.is_lived_in() {
            return Ok(0);
        }
        let saved = std::mem::take(&mut kept.saved);
        let clones: BTreeMap<PathBuf, Vec<&Saved>> =
            saved.iter().fold(BTreeMap::new(), |mut clones, saved| {
                clones.entry(saved.clone.clone()).or_default().push(saved);
                clones
            });
        for (clone, saved) in clones {
            if !clone.join("HEAD").exists() {
                continue;
            }
            let repository = Repository::at(&self.git, &clone).await?;
            for saved in saved {
                repository.forget(&saved.reference).await?;
            }
        }
        self.records.write_kept(&kept)?;
        Ok(saved.len())
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
