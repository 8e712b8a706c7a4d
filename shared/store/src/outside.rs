//! What a store keeps of the outside: what was last seen there, and how far the reconciler looked; part of every
//! [`crate::Store`].

use async_trait::async_trait;
use domain::reconcile::Cursor;
use domain::sighting::{Seen, Sighting, Teller};
use domain::work_item::WorkItem;
use domain::{Job, Timestamp};

use crate::Error;

/// Sightings and cursors, and which work items they may move.
#[async_trait]
pub trait Outside {
    /// Keeps what was seen for a project and starts nothing. Sightings of deliveries are kept by [`crate::Store::accept`].
    async fn note_sightings(
        &self,
        project: String,
        sightings: Vec<Sighting>,
        teller: Teller,
        now: Timestamp,
    ) -> Result<(), Error>;

    /// Reads what was last seen of these subjects, named in lower case.
    async fn sightings(&self, project: &str, subjects: &[String]) -> Result<Vec<Seen>, Error>;

    /// Reads how far a listing was read; `None`: never.
    async fn cursor(&self, listing: &str, project: &str) -> Result<Option<Cursor>, Error>;

    /// Keeps how far a listing was read.
    async fn save_cursor(&self, listing: String, project: String, cursor: Cursor) -> Result<(), Error>;

    /// Forgets at most `limit` sightings that last changed before `before` and that nobody needs any more: of projects that
    /// are not among `projects`, of pull requests that are closed, of tests of a commit that is no open pull request's and no
    /// unfinished work item's, and of branches that are gone; and the cursors of projects of which no sighting is left.
    /// Gives how many sightings.
    async fn prune_outside(&self, projects: Vec<String>, before: Timestamp, limit: u32)
    -> Result<u64, Error>;

    /// Reads the work items that something outside may move, those that waited longest first: the ones that wait for the
    /// tests of their commit, for approval, or for a maintainer's label.
    async fn items_waiting_outside(&self, limit: u32) -> Result<Vec<WorkItem>, Error>;

    /// Reads the work items of a project that have not ended, by key, those after `after`.
    async fn open_items(&self, project: &str, after: &str, limit: u32) -> Result<Vec<WorkItem>, Error>;

    /// Reads the other names of a work item.
    async fn names_of(&self, project: &str, key: &str) -> Result<Vec<String>, Error>;

    /// Reads the jobs of a work item that are queued or running.
    async fn unfinished_jobs_of(&self, project: &str, key: &str) -> Result<Vec<Job>, Error>;
}
