//! [`Retention`] on the tables.

use async_trait::async_trait;
use domain::budget::Scope;
use domain::retention::{Kept, Kind, Step};
use domain::work_item::{ItemState, WorkItem};
use domain::{Job, JobId, JobState, Timestamp};

use super::MemoryStore;
use super::tables::Tables;
use super::views::hour_of;
use crate::Error;
use crate::retention::{Forgotten, Retention};

const DAY_MS: i64 = 86_400_000;

/// When a job ended, if it is over.
fn finished_at(job: &Job) -> Option<Timestamp> {
    match &job.state {
        JobState::Done { finished_at }
        | JobState::Failed { finished_at, .. }
        | JobState::Cancelled { finished_at } => Some(*finished_at),
        JobState::Queued { .. } | JobState::Running { .. } => None,
    }
}

impl Tables {
    fn kept(&self, deliveries: u64) -> Kept {
        let mut received: Vec<Timestamp> = self.received.values().map(|(at, _)| *at).collect();
        received.sort_unstable();
        let newer = usize::try_from(deliveries).unwrap_or(usize::MAX);
        let full = received.len().checked_sub(newer.saturating_add(1)).and_then(|at| received.get(at));
        let finished = || self.jobs().filter_map(|row| finished_at(&row.job));
        Kept {
            finished: finished().count() as u64,
            forgotten: self.forgotten.values().sum(),
            oldest_finished_at: finished().min(),
            deliveries_full_at: full.copied(),
            oldest_delivery_at: received.first().copied(),
        }
    }

    fn forget_jobs(&mut self, step: &Step) -> Forgotten {
        let old = |job: &Job| {
            let place = (finished_at(job)?, job.id);
            (place.0 < step.before && place > step.after).then_some(place)
        };
        let mut looked: Vec<(Timestamp, JobId)> = self.jobs().filter_map(|row| old(&row.job)).collect();
        looked.sort_unstable();
        looked.truncate(step.limit as usize);
        let next = looked.last().copied().filter(|_| looked.len() == step.limit as usize);
        let mut forgotten = Forgotten { next, ..Forgotten::default() };
        for (at, id) in looked {
            if !self.needs(id) {
                forgotten.jobs += 1;
                forgotten.runs.extend(self.forget_job(id, at));
            }
        }
        forgotten
    }

    /// Whether something that is not over goes on from a finished job.
    fn needs(&self, id: JobId) -> bool {
        let unfinished = |job: &Job| finished_at(job).is_none();
        let goes_on = |item: &WorkItem| match &item.state {
            ItemState::NeedsYou(needs) => needs.job == Some(id),
            ItemState::WaitsForCi(wait) => wait.job == id,
            ItemState::Active | ItemState::Done | ItemState::Cancelled => false,
        };
        self.live_of(id).is_some()
            || self.jobs().any(|row| row.job.origin.parent == Some(id) && unfinished(&row.job))
            || self.items.values().any(goes_on)
    }

    fn forget_job(&mut self, id: JobId, at: Timestamp) -> Vec<domain::RunId> {
        let Some(row) = self.job(id) else { return Vec::new() };
        let name = (row.job.project.clone(), row.job.stage.clone(), row.job.state.status());
        let purse = row.job.payer().purse(Scope::Job, "");
        let runs: Vec<_> = self.runs_of(id).cloned().collect();
        for run in runs {
            let Some(ended_at) = run.ended_at else { continue };
            let how = (hour_of(ended_at), run.class.unwrap_or_default(), run.reason.unwrap_or_default());
            let (count, cost_usd) = self.ended.entry(how).or_default();
            *count += 1;
            *cost_usd += run.usage.cost_usd.unwrap_or(0.0);
        }
        let keys = self.keys.iter().filter(|(_, job)| **job == id).map(|(key, _)| (key.clone(), at));
        self.spent.extend(keys);
        *self.forgotten.entry(name).or_default() += 1;
        self.spendings.remove(&purse);
        self.drop_job(id)
    }

    fn forget(&mut self, kind: Kind, before: Timestamp, limit: usize) -> u64 {
        match kind {
            Kind::Deliveries => {
                let old = self.received.iter().filter(|(_, (at, _))| *at < before);
                let old: Vec<_> =
                    old.map(|(name, (_, body))| (name.clone(), body.clone())).take(limit).collect();
                for (name, body) in &old {
                    self.received.remove(name);
                    self.deliveries.remove(name);
                    body.as_ref().map(|body| self.bodies.remove(body));
                }
                old.len() as u64
            }
            Kind::Keys => {
                let old = self.spent.iter().filter(|(_, at)| **at < before);
                let old: Vec<_> = old.map(|(key, _)| key.clone()).take(limit).collect();
                for key in &old {
                    self.spent.remove(key);
                    self.keys.remove(key);
                }
                old.len() as u64
            }
            Kind::LateOutcomes => {
                let old = self
                    .late_outcomes
                    .iter()
                    .filter(|(run, (_, at))| *at < before && self.run(**run).is_none());
                let old: Vec<_> = old.map(|(run, _)| *run).take(limit).collect();
                for run in &old {
                    self.late_outcomes.remove(run);
                }
                old.len() as u64
            }
            Kind::Chains => {
                let day = |at: Timestamp| at.as_ms().div_euclid(DAY_MS);
                let is_old = |at: Timestamp| day(at) < day(before);
                let old =
                    self.touched.iter().filter(|(purse, at)| purse.scope == Scope::Chain && is_old(**at));
                let old: Vec<_> = old.map(|(purse, _)| purse.clone()).take(limit).collect();
                for purse in &old {
                    self.touched.remove(purse);
                    self.spendings.remove(purse);
                }
                old.len() as u64
            }
            Kind::Acts => {
                let old = self.audit.iter().take(limit).take_while(|act| act.at < before).count();
                self.audit.drain(..old);
                old as u64
            }
            Kind::Items => self.forget_items(before, limit),
            Kind::Hours => {
                let count = self.ended.len();
                let mut left = limit;
                self.ended.retain(|(hour, ..), _| {
                    let goes = *hour < before && left > 0;
                    left -= usize::from(goes);
                    !goes
                });
                (count - self.ended.len()) as u64
            }
        }
    }

    fn forget_items(&mut self, before: Timestamp, limit: usize) -> u64 {
        let unfinished = |item: &WorkItem| {
            let of = |job: &Job| job.project == item.project && job.work_item == item.key;
            self.jobs().any(|row| of(&row.job) && finished_at(&row.job).is_none())
        };
        let old = self.items.iter().filter(|(_, item)| {
            matches!(item.state, ItemState::Done | ItemState::Cancelled)
                && item.updated_at < before
                && !unfinished(item)
        });
        let old: Vec<_> = old.map(|(name, item)| (name.clone(), item.purse())).take(limit).collect();
        for (name, purse) in &old {
            self.items.remove(name);
            self.spendings.remove(purse);
            self.aliases.retain(|(project, _), key| *project != name.0 || *key != name.1);
        }
        old.len() as u64
    }
}

#[async_trait]
impl Retention for MemoryStore {
    async fn kept(&self, deliveries: u64) -> Result<Kept, Error> {
        self.read(|tables| tables.kept(deliveries))
    }

    async fn forget_jobs(&self, step: Step) -> Result<Forgotten, Error> {
        self.write("forget_jobs", |tables| Ok(tables.forget_jobs(&step)))
    }

    async fn forget(&self, kind: Kind, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.write("forget", |tables| Ok(tables.forget(kind, before, limit as usize)))
    }
}
