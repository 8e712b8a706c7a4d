//! What the simulated database keeps of the outside, and how it forgets: nothing of it is simulated, so it is handed on.

use async_trait::async_trait;
use domain::reconcile::Cursor;
use domain::retention::{Kept, Kind, Step};
use domain::sighting::{Seen, Sighting, Teller};
use domain::work_item::WorkItem;
use domain::{Job, Timestamp};
use store::{Error, Forgotten, Outside, Retention};

use crate::database::Database;

#[async_trait]
impl Outside for Database {
    async fn note_sightings(
        &self,
        project: String,
        sightings: Vec<Sighting>,
        teller: Teller,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.inner.note_sightings(project, sightings, teller, now).await
    }

    async fn sightings(&self, project: &str, subjects: &[String]) -> Result<Vec<Seen>, Error> {
        self.inner.sightings(project, subjects).await
    }

    async fn cursor(&self, listing: &str, project: &str) -> Result<Option<Cursor>, Error> {
        self.inner.cursor(listing, project).await
    }

    async fn save_cursor(&self, listing: String, project: String, cursor: Cursor) -> Result<(), Error> {
        self.inner.save_cursor(listing, project, cursor).await
    }

    async fn prune_outside(
        &self,
        projects: Vec<String>,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error> {
        self.inner.prune_outside(projects, before, limit).await
    }

    async fn items_waiting_outside(&self, limit: u32) -> Result<Vec<WorkItem>, Error> {
        self.inner.items_waiting_outside(limit).await
    }

    async fn open_items(&self, project: &str, after: &str, limit: u32) -> Result<Vec<WorkItem>, Error> {
        self.inner.open_items(project, after, limit).await
    }

    async fn names_of(&self, project: &str, key: &str) -> Result<Vec<String>, Error> {
        self.inner.names_of(project, key).await
    }

    async fn unfinished_jobs_of(&self, project: &str, key: &str) -> Result<Vec<Job>, Error> {
        self.inner.unfinished_jobs_of(project, key).await
    }
}

#[async_trait]
impl Retention for Database {
    async fn kept(&self, deliveries: u64) -> Result<Kept, Error> {
        self.inner.kept(deliveries).await
    }

    async fn forget_jobs(&self, step: Step) -> Result<Forgotten, Error> {
        self.inner.forget_jobs(step).await
    }

    async fn forget(&self, kind: Kind, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.inner.forget(kind, before, limit).await
    }
}
