//! [`Outside`] on the tables.

use async_trait::async_trait;
use domain::reconcile::Cursor;
use domain::sighting::{Seen, Sighting, Teller};
use domain::work_item::{ItemState, Why, WorkItem};
use domain::{Job, JobState, Timestamp};

use super::MemoryStore;
use crate::intake::{Intake, Known};
use crate::{Error, Outside};

#[async_trait]
impl Outside for MemoryStore {
    async fn note_sightings(
        &self,
        project: String,
        sightings: Vec<Sighting>,
        teller: Teller,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.write("note_sightings", |tables| {
            let names = sightings.iter().map(|told| (project.clone(), told.name.clone()));
            let known = Known { sightings: tables.known_sightings(names), ..Known::default() };
            let mut intake = Intake::new(known);
            for told in &sightings {
                intake.note(&project, told, teller, now);
            }
            tables.sightings.extend(intake.sightings);
            Ok(())
        })
    }

    async fn sightings(&self, project: &str, subjects: &[String]) -> Result<Vec<Seen>, Error> {
        self.read(|tables| {
            let of_one =
                |seen: &&Seen| seen.project == project && subjects.contains(&seen.sighting.name.subject);
            tables.sightings.values().filter(of_one).cloned().collect()
        })
    }

    async fn cursor(&self, listing: &str, project: &str) -> Result<Option<Cursor>, Error> {
        self.read(|tables| tables.cursors.get(&(listing.to_owned(), project.to_owned())).cloned())
    }

    async fn save_cursor(&self, listing: String, project: String, cursor: Cursor) -> Result<(), Error> {
        self.write("save_cursor", |tables| {
            tables.cursors.insert((listing, project), cursor);
            Ok(())
        })
    }

    async fn items_waiting_outside(&self, limit: u32) -> Result<Vec<WorkItem>, Error> {
        self.read(|tables| {
            let mut items: Vec<&WorkItem> =
                tables.items.values().filter(|item| waits_outside(item)).collect();
            items.sort_by_key(|item| item.updated_at);
            items.into_iter().take(limit as usize).cloned().collect()
        })
    }

    async fn open_items(&self, project: &str, after: &str, limit: u32) -> Result<Vec<WorkItem>, Error> {
        self.read(|tables| {
            let open = |item: &&WorkItem| match item.state {
                ItemState::Active | ItemState::WaitsForCi(_) | ItemState::NeedsYou(_) => {
                    item.project == project && item.key.as_str() > after
                }
                ItemState::Done | ItemState::Cancelled => false,
            };
            tables.items.values().filter(open).take(limit as usize).cloned().collect()
        })
    }

    async fn names_of(&self, project: &str, key: &str) -> Result<Vec<String>, Error> {
        self.read(|tables| {
            let names =
                tables.aliases.iter().filter(|((of, _), canonical)| of == project && *canonical == key);
            names.map(|((_, alias), _)| alias.clone()).collect()
        })
    }

    async fn unfinished_jobs_of(&self, project: &str, key: &str) -> Result<Vec<Job>, Error> {
        self.read(|tables| {
            let jobs = tables
                .jobs()
                .map(|row| &row.job)
                .filter(|job| job.project == project && job.work_item == key);
            jobs.filter(|job| matches!(job.state, JobState::Queued { .. } | JobState::Running { .. }))
                .cloned()
                .collect()
        })
    }
}

fn waits_outside(item: &WorkItem) -> bool {
    match &item.state {
        ItemState::WaitsForCi(_) => true,
        ItemState::NeedsYou(needs) => matches!(needs.why, Why::Approval | Why::Trust { .. }),
        ItemState::Active | ItemState::Done | ItemState::Cancelled => false,
    }
}
