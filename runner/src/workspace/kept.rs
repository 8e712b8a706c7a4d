//! What a work item has on this host beside its worktree: its plain folder, the HOMEs of its agents, and the references to work that
//! was saved. One small file for each item, from before anything of it exists until nothing of it is left; the folders follow from
//! the item's key, and none is taken from the file.

use std::path::{Path, PathBuf};

use domain::workspace::WorkspaceFault;
use domain::{Account, Timestamp};
use serde::{Deserialize, Serialize};

use super::prepare::{ITEM_WAIT, Workspaces};
use super::{Unprepared, folder, home};

/// The notes of one work item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) project: String,
    pub(super) work_item: String,
    /// The folders of runs that may not be over; one that is forgotten has none.
    pub(super) runs: Vec<PathBuf>,
    /// Whose agents have a HOME here.
    pub(super) accounts: Vec<String>,
    /// Work that was saved.
    pub(super) saved: Vec<Saved>,
}

/// A reference to saved work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    /// The bare clone that has it.
    pub(super) clone: PathBuf,
    pub(super) reference: String,
    /// When it was saved.
    pub(super) at: Timestamp,
}

impl Kept {
    pub(super) fn of(project: &str, work_item: &str) -> Self {
        Self {
            project: project.to_owned(),
            work_item: work_item.to_owned(),
            runs: Vec::new(),
            accounts: Vec::new(),
            saved: Vec::new(),
        }
    }

    /// Whether a run of the item is not over, as far as this host knows.
    pub(super) fn is_lived_in(&self) -> bool {
        self.runs.iter().any(|run| run.exists())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.saved.is_empty()
    }
}

impl Workspaces {
    /// Notes that a run is about to begin: from now on its item's folders are lived in. To be called before they are made.
    pub(crate) async fn moves_in(
        &self,
        project: &str,
        work_item: &str,
        account: &Account,
        run_dir: &Path,
    ) -> Result<(), Unprepared> {
        let Some(item) = self.records.lock(project, work_item, ITEM_WAIT).await? else {
            let error = "the item's folders are being removed by the clean-up".to_owned();
            return Err(Unprepared { fault: WorkspaceFault::Busy, error });
        };
        let (records, run_dir, account) = (self.records.clone(), run_dir.to_owned(), account.0.clone());
        let mut kept = Kept::of(project, work_item);
        let noted = service::blocking(move || {
            let _item = item;
            kept = records.kept(&kept.project, &kept.work_item)?.unwrap_or(kept);
            kept.runs.retain(|run| run.exists() && *run != run_dir);
            kept.runs.push(run_dir);
            if !kept.accounts.contains(&account) {
                kept.accounts.push(account);
            }
            records.write_kept(&kept)
        });
        Ok(noted.await?)
    }

    /// Notes a reference to work that is about to be saved. The item's lock must be held.
    pub(super) fn saves(&self, project: &str, work_item: &str, saved: Saved) -> Result<(), Unprepared> {
        let mut kept = self.records.kept(project, work_item)?.unwrap_or_else(|| Kept::of(project, work_item));
        kept.saved.retain(|known| known.reference != saved.reference);
        kept.saved.push(saved);
        Ok(self.records.write_kept(&kept)?)
    }

    /// Every folder of the item that is no worktree.
    pub(super) fn folders_of(&self, kept: &Kept) -> Vec<PathBuf> {
        let (project, work_item) = (&kept.project, &kept.work_item);
        let homes = kept.accounts.iter();
        let homes = homes.map(|account| home(&self.state, &Account(account.clone()), project, work_item));
        let is_worktree = !matches!(self.records.read(project, work_item), Ok(None));
        let plain = (!is_worktree).then(|| folder(&self.root, project, work_item));
        homes.chain(plain).filter(|folder| folder.exists()).collect()
    }
}
