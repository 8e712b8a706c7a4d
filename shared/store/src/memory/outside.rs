//! [`Outside`] on the tables.

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::reconcile::Cursor;
use domain::sighting::{Aspect, CLOSED, Seen, Sighting, SightingName, Teller};
use domain::work_item::{ItemState, Why, WorkItem};
use domain::{Job, JobState, Timestamp};

use super::MemoryStore;
use super::tables::Tables;
use crate::intake::{Intake, Known, SightingKey};
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

    async fn prune_outside(
        &self,
        projects: Vec<String>,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error> {
        self.write("prune_outside", |tables| {
            let mut old: Vec<(Timestamp, SightingKey)> = tables
                .sightings
                .iter()
                .filter(|(_, seen)| seen.at < before && tables.is_forgettable(seen, &projects, before))
                .map(|(key, seen)| (seen.at, key.clone()))
                .collect();
            old.sort();
            old.truncate(limit as usize);
            for (_, key) in &old {
                tables.sightings.remove(key);
            }
            let left: BTreeSet<String> =
                tables.sightings.keys().map(|(project, _)| project.clone()).collect();
            tables.cursors.retain(|(_, project), _| projects.contains(project) || left.contains(project));
            Ok(old.len() as u64)
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

impl Tables {
    /// Whether nobody needs an old sighting any more.
    fn is_forgettable(&self, seen: &Seen, projects: &[String], before: Timestamp) -> bool {
        let name = &seen.sighting.name;
        if !projects.contains(&seen.project) {
            return true;
        }
        match &name.aspect {
            Aspect::Status(_) | Aspect::Run(_) => !self.needs_tests_of(&seen.project, &name.subject),
            Aspect::Branch(_) => seen.sighting.value.bytes().all(|letter| letter == b'0'),
            aspect @ (Aspect::Created
            | Aspect::State
            | Aspect::Labels
            | Aspect::Assignees
            | Aspect::Head
            | Aspect::Merged
            | Aspect::Open
            | Aspect::Review(_)) => {
                let of_subject = || {
                    let of = |other: &&Seen| {
                        other.project == seen.project && other.sighting.name.subject == name.subject
                    };
                    self.sightings.values().filter(of)
                };
                let is_last = *aspect != Aspect::Open
                    || of_subject().all(|other| other.sighting.name.aspect == Aspect::Open);
                self.is_closed(&seen.project, &name.subject)
                    && of_subject().all(|other| other.at < before)
                    && is_last
            }
        }
    }

    fn is_closed(&self, project: &str, subject: &str) -> bool {
        let name = SightingName { subject: subject.to_owned(), aspect: Aspect::Open };
        let open = self.sightings.get(&(project.to_owned(), name));
        open.is_some_and(|seen| seen.sighting.value == CLOSED)
    }

    /// Whether a commit, `acme/shop@…`, is that of an open pull request or of a work item that has not ended.
    fn needs_tests_of(&self, project: &str, subject: &str) -> bool {
        let Some((_, commit)) = subject.split_once('@') else { return true };
        let of_item = |item: &WorkItem| {
            let ended = matches!(item.state, ItemState::Done | ItemState::Cancelled);
            item.project == project && !ended && item.head.as_deref() == Some(commit)
        };
        let of_pull = |seen: &Seen| {
            let name = &seen.sighting.name;
            seen.project == project
                && name.aspect == Aspect::Head
                && seen.sighting.value == commit
                && !self.is_closed(project, &name.subject)
        };
        self.items.values().any(of_item) || self.sightings.values().any(of_pull)
    }
}

fn waits_outside(item: &WorkItem) -> bool {
    match &item.state {
        ItemState::WaitsForCi(_) => true,
        ItemState::NeedsYou(needs) => matches!(needs.why, Why::Approval | Why::Trust { .. }),
        ItemState::Active | ItemState::Done | ItemState::Cancelled => false,
    }
}
