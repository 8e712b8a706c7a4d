//! What people look at beyond the queue, and the audit, on the tables.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::admission::Part;
use domain::overview::{HourTally, StageRecord};
use domain::work_item::ItemState;
use domain::{Job, JobId, JobState, RunId, Timestamp};

use super::MemoryStore;
use super::tables::Tables;
use crate::views::Views;
use crate::{Act, ActFilter, Error, GivenUp};

const HOUR_MS: i64 = 3_600_000;

pub(super) fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_ms(at.as_ms() - at.as_ms().rem_euclid(HOUR_MS))
}

impl Tables {
    pub(super) fn note_act(&mut self, act: Act) {
        self.newest_act += 1;
        self.audit.push(Act { id: self.newest_act, ..act });
    }

    fn stage_records(&self) -> Vec<StageRecord> {
        let mut records: BTreeMap<(String, String), StageRecord> = BTreeMap::new();
        for row in self.jobs() {
            let record = records.entry((row.job.project.clone(), row.job.stage.clone())).or_default();
            *record.counts.of(row.job.state.status()) += 1;
            if matches!(row.job.state, JobState::Queued { .. }) {
                let oldest = record.oldest_queued_at.get_or_insert(row.job.created_at);
                *oldest = row.job.created_at.min(*oldest);
            }
        }
        for ((project, stage, status), jobs) in &self.forgotten {
            *records.entry((project.clone(), stage.clone())).or_default().counts.of(*status) += jobs;
        }
        let open = |state: &ItemState| !matches!(state, ItemState::Done | ItemState::Cancelled);
        for item in self.items.values().filter(|item| open(&item.state)) {
            for (stage, times) in &item.bounces {
                records.entry((item.project.clone(), stage.clone())).or_default().bounces +=
                    u64::from(*times);
            }
        }
        let named = |((project, stage), record)| StageRecord { project, stage, ..record };
        records.into_iter().map(named).collect()
    }

    fn ended_since(&self, since: Timestamp) -> Vec<HourTally> {
        let mut tallies = self.ended.clone();
        tallies.retain(|(hour, ..), _| *hour >= hour_of(since));
        for run in self.runs_from(RunId::lowest_at(Timestamp::from_ms(0))) {
            let Some(hour) = run.ended_at.map(hour_of).filter(|hour| *hour >= hour_of(since)) else {
                continue;
            };
            let (class, reason) =
                (run.class.clone().unwrap_or_default(), run.reason.clone().unwrap_or_default());
            let (runs, cost_usd) = tallies.entry((hour, class, reason)).or_default();
            *runs += 1;
            *cost_usd += run.usage.cost_usd.unwrap_or(0.0);
        }
        let tally =
            |((hour, class, reason), (runs, cost_usd))| HourTally { hour, class, reason, runs, cost_usd };
        tallies.into_iter().map(tally).collect()
    }

    fn given_up(&self, filter: &GivenUp) -> Vec<JobId> {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let said = |job: &Job| match (&filter.reason, &job.state) {
            (None, _) => true,
            (Some(wanted), JobState::Failed { reason, .. }) => {
                reason.to_lowercase().contains(&wanted.to_lowercase())
            }
            (Some(wanted), _) => wanted.is_empty(),
        };
        let ended = |job: &Job| match &job.state {
            JobState::Failed { finished_at, .. } | JobState::Cancelled { finished_at } => Some(*finished_at),
            JobState::Queued { .. } | JobState::Running { .. } | JobState::Done { .. } => None,
        };
        let wanted = |job: &&Job| {
            job.state.status() == filter.status
                && ended(job).is_some_and(|at| at >= filter.since)
                && is(&filter.project, &job.project)
                && is(&filter.stage, &job.stage)
                && said(job)
        };
        let jobs = self.jobs().rev().map(|row| &row.job);
        jobs.filter(wanted).map(|job| job.id).take(filter.limit as usize).collect()
    }
}

#[async_trait]
impl Views for MemoryStore {
    async fn stage_records(&self) -> Result<Vec<StageRecord>, Error> {
        self.read(Tables::stage_records)
    }

    async fn ended_since(&self, since: Timestamp) -> Result<Vec<HourTally>, Error> {
        self.read(|tables| tables.ended_since(since))
    }

    async fn follow_ups(&self, job: JobId, limit: u32) -> Result<Vec<Job>, Error> {
        self.read(|tables| {
            let jobs = tables.jobs().map(|row| &row.job);
            let jobs = jobs.filter(|other| other.origin.parent == Some(job));
            jobs.take(limit as usize).cloned().collect()
        })
    }

    async fn given_up(&self, filter: GivenUp) -> Result<Vec<JobId>, Error> {
        self.read(|tables| tables.given_up(&filter))
    }

    async fn set_part_paused(&self, part: Part, paused: bool, _: Timestamp) -> Result<bool, Error> {
        self.write("set_part_paused", |tables| {
            Ok(if paused { tables.paused_parts.insert(part) } else { tables.paused_parts.remove(&part) })
        })
    }

    async fn paused_parts(&self) -> Result<BTreeSet<Part>, Error> {
        self.read(|tables| tables.paused_parts.clone())
    }

    async fn note_act(&self, act: Act) -> Result<(), Error> {
        self.write("note_act", |tables| {
            tables.note_act(act);
            Ok(())
        })
    }

    async fn acts(&self, filter: ActFilter) -> Result<Vec<Act>, Error> {
        self.read(|tables| {
            let below = |act: &&Act| filter.before.is_none_or(|before| act.id < before);
            let of = |act: &&Act| filter.subject.as_ref().is_none_or(|subject| act.subject == *subject);
            let acts = tables.audit.iter().rev().filter(below).filter(of);
            acts.take(filter.limit as usize).cloned().collect()
        })
    }
}
