//! The rows, their indexes, and the journal of the transaction under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::account::AccountRecord;
use domain::admission::{Part, Waiting};
use domain::budget::{Purse, Spending};
use domain::delivery::Payload;
use domain::overview::{LateOutcome, ReaperRecord};
use domain::reconcile::Cursor;
use domain::runner::Node;
use domain::term::Term;
use domain::transition::After;
use domain::work_item::WorkItem;
use domain::{
    Account, Epoch, Incarnation, Job, JobId, JobState, NodeId, Outcome, Run, RunId, Status, Timestamp,
};

use super::outbox::OutboxTables;
use super::{Moved, Snapshot};
use crate::intake::{ItemKey, Seen, SightingKey};
use crate::{Act, Error, Generation, Speaking};

/// Source, event and body hash of a delivery.
type BodyKey = (String, String, String);

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// By source and delivery id.
    pub(super) deliveries: BTreeMap<(String, String), Seen>,
    /// The jobs of deliveries that made some, by source, event and body hash.
    pub(super) bodies: BTreeMap<BodyKey, Vec<JobId>>,
    pub(super) keys: BTreeMap<String, JobId>,
    /// When deliveries came, by source and delivery id, and where their jobs are looked up by body.
    pub(super) received: BTreeMap<(String, String), (Timestamp, Option<BodyKey>)>,
    /// When the jobs ended whose keys are known although they are forgotten.
    pub(super) spent: BTreeMap<String, Timestamp>,
    /// How many jobs are forgotten, by project, stage and status.
    pub(super) forgotten: BTreeMap<(String, String, Status), u64>,
    /// How the runs of forgotten jobs ended, by hour, class and reason: how many, and what they cost.
    pub(super) ended: BTreeMap<(Timestamp, String, String), (u64, f64)>,
    /// When something was last added to a purse.
    pub(super) touched: BTreeMap<Purse, Timestamp>,
    /// The highest job id ever given, and that of an act.
    pub(super) newest_job: i64,
    pub(super) newest_act: i64,
    pub(super) aliases: BTreeMap<ItemKey, String>,
    pub(super) sightings: BTreeMap<SightingKey, domain::sighting::Seen>,
    /// By listing and project.
    pub(super) cursors: BTreeMap<(String, String), Cursor>,
    pub(super) audit: Vec<Act>,
    pub(super) late_outcomes: BTreeMap<RunId, (Outcome, Timestamp)>,
    /// How often runs were renewed.
    pub(super) renewals: BTreeMap<RunId, u64>,
    pub(super) sessions: BTreeMap<NodeId, Speaking>,
    pub(super) term: Term,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) lost: BTreeMap<NodeId, Incarnation>,
    pub(super) accounts: Accounts,
    pub(super) reaper: ReaperRecord,
    pub(super) paused: bool,
    pub(super) paused_parts: BTreeSet<Part>,
    pub(super) config_error: Option<String>,
    /// What any further job waits for, as the last claim found it.
    pub(super) fleet_waits: Option<Waiting>,
    pub(super) outbox: OutboxTables,
    /// The generation noted last; that of the disk is 1.
    pub(super) noted_generation: Option<i64>,
    pub(super) items: BTreeMap<ItemKey, WorkItem>,
    pub(super) spendings: BTreeMap<Purse, Spending>,
    spendings_before: BTreeMap<Purse, Option<Spending>>,
    jobs: BTreeMap<JobId, JobRow>,
    runs: BTreeMap<RunId, Run>,
    queued: BTreeSet<JobId>,
    epochs: BTreeMap<(JobId, Epoch), RunId>,
    live: BTreeMap<JobId, RunId>,
    /// The rows that the transaction under way wrote, as they were before it.
    jobs_before: BTreeMap<JobId, Option<JobRow>>,
    items_before: BTreeMap<ItemKey, Option<WorkItem>>,
    runs_before: BTreeMap<RunId, Option<Run>>,
}

/// The accounts by name; the one of runners that name none is there from the start.
#[derive(Debug)]
pub(super) struct Accounts(BTreeMap<Account, AccountRecord>);

impl Default for Accounts {
    fn default() -> Self {
        let default = AccountRecord::new(Account("default".to_owned()));
        Self(BTreeMap::from([(default.account.clone(), default)]))
    }
}

impl Accounts {
    /// An account, known from now on.
    pub(super) fn entry(&mut self, account: &Account) -> &mut AccountRecord {
        self.0.entry(account.clone()).or_insert_with(|| AccountRecord::new(account.clone()))
    }

    pub(super) fn get_mut(&mut self, account: &Account) -> Option<&mut AccountRecord> {
        self.0.get_mut(account)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &AccountRecord> {
        self.0.values()
    }
}

/// A job with what stands beside it.
#[derive(Clone, Debug)]
pub(super) struct JobRow {
    pub(super) job: Job,
    pub(super) payload: Arc<Payload>,
    pub(super) semantic_key: Option<String>,
    /// Whether a queued job may be claimed; set at a write, else by a claim's promotion.
    pub(super) due: bool,
    /// Why it was not started, at the last look.
    pub(super) decision: Option<Waiting>,
}

impl JobRow {
    /// Writes the row as it is after a transition or a repair.
    pub(super) fn move_to(&mut self, after: &After, now: Timestamp) {
        self.due = matches!(after.state, JobState::Queued { available_at } if available_at <= now);
        self.job.state = after.state.clone();
        self.job.budgets = after.budgets;
        self.job.epoch = after.epoch;
        self.job.revision += 1;
        self.job.updated_at = now;
    }
}

impl Tables {
    pub(super) fn job(&self, id: JobId) -> Option<&JobRow> {
        self.jobs.get(&id)
    }

    pub(super) fn jobs(&self) -> impl DoubleEndedIterator<Item = &JobRow> {
        self.jobs.values()
    }

    pub(super) fn jobs_below(&self, id: JobId) -> impl Iterator<Item = &JobRow> {
        self.jobs.range(..id).rev().map(|(_, row)| row)
    }

    /// Queued jobs, by id.
    pub(super) fn queued(&self) -> impl Iterator<Item = &JobRow> {
        self.queued.iter().filter_map(|id| self.jobs.get(id))
    }

    pub(super) fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// The runs whose ids are `lowest` or above.
    pub(super) fn runs_from(&self, lowest: RunId) -> impl Iterator<Item = &Run> {
        self.runs.range(lowest..).map(|(_, run)| run)
    }

    /// A job's runs, by epoch.
    pub(super) fn runs_of(&self, job: JobId) -> impl DoubleEndedIterator<Item = &Run> {
        let epochs = self.epochs.range((job, Epoch(i64::MIN))..=(job, Epoch(i64::MAX)));
        epochs.filter_map(|(_, id)| self.runs.get(id))
    }

    /// The runs that have not ended, by job.
    pub(super) fn live(&self) -> impl Iterator<Item = &Run> {
        self.live.values().filter_map(|id| self.runs.get(id))
    }

    pub(super) fn live_of(&self, job: JobId) -> Option<&Run> {
        self.live.get(&job).and_then(|id| self.runs.get(id))
    }

    /// The newest epoch of a job and of all its runs.
    pub(super) fn epoch_seen(&self, job: &Job) -> Epoch {
        self.runs_of(job.id).next_back().map_or(job.epoch, |run| run.epoch.max(job.epoch))
    }

    pub(super) const fn generation(&self) -> Generation {
        Generation { current: 1, noted: self.noted_generation }
    }

    /// Inserts or replaces a job.
    pub(super) fn put_job(&mut self, row: JobRow) {
        let id = row.job.id;
        let before = self.set_job(id, Some(row));
        self.jobs_before.entry(id).or_insert(before);
    }

    /// Forgets a job and its runs; gives them.
    pub(super) fn drop_job(&mut self, id: JobId) -> Vec<RunId> {
        let runs: Vec<RunId> = self.runs_of(id).map(|run| run.id).collect();
        for run in &runs {
            let before = self.set_run(*run, None);
            self.runs_before.entry(*run).or_insert(before);
        }
        let before = self.set_job(id, None);
        self.jobs_before.entry(id).or_insert(before);
        runs
    }

    /// Inserts or replaces a work item; its revision is one more than the one before.
    pub(super) fn put_item(&mut self, name: ItemKey, item: WorkItem) {
        let before = self.items.get(&name).cloned();
        let revision = before.as_ref().map_or(0, |before| before.revision + 1);
        self.items.insert(name.clone(), WorkItem { revision, ..item });
        self.items_before.entry(name).or_insert(before);
    }

    /// Inserts or replaces a run.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the job has another live run, or another of this epoch: what SQLite's indexes refuse.
    pub(super) fn put_run(&mut self, run: Run) -> Result<(), Error> {
        let other = |id: Option<&RunId>| id.is_some_and(|id| *id != run.id);
        if run.ended_at.is_none() && other(self.live.get(&run.job)) {
            return Err(Error::Corrupt(format!("job {} has another live run than {}", run.job, run.id)));
        }
        let probes = |live: &&Run| live.probe && live.account == run.account && live.opening == run.opening;
        if run.probe && run.ended_at.is_none() && self.live().filter(probes).any(|live| live.id != run.id) {
            return Err(Error::Corrupt(format!("account {} has another probe than {}", run.account, run.id)));
        }
        if other(self.epochs.get(&(run.job, run.epoch))) {
            return Err(Error::Corrupt(format!("job {} has another run of epoch {}", run.job, run.epoch)));
        }
        let id = run.id;
        let before = self.set_run(id, Some(run));
        self.runs_before.entry(id).or_insert(before);
        Ok(())
    }

    /// Changes what is kept of a purse.
    pub(super) fn put_spending(&mut self, purse: Purse, change: impl FnOnce(&mut Spending)) {
        let before = self.spendings.get(&purse).copied();
        change(self.spendings.entry(purse.clone()).or_default());
        self.spendings_before.entry(purse).or_insert(before);
    }

    /// Ends the transaction; says what it changed.
    pub(super) fn commit(&mut self) -> (Vec<Moved<Job>>, Vec<Moved<Run>>) {
        self.items_before.clear();
        self.spendings_before.clear();
        let before = std::mem::take(&mut self.jobs_before);
        let moved = before.into_iter().filter_map(|(id, before)| {
            Some(Moved { before: before.map(|row| row.job), after: self.jobs.get(&id)?.job.clone() })
        });
        let jobs = moved.filter(|moved| moved.before.as_ref() != Some(&moved.after)).collect();
        let before = std::mem::take(&mut self.runs_before);
        let moved = before
            .into_iter()
            .filter_map(|(id, before)| Some(Moved { before, after: self.runs.get(&id)?.clone() }));
        let runs = moved.filter(|moved| moved.before.as_ref() != Some(&moved.after)).collect();
        (jobs, runs)
    }

    /// Ends the transaction and undoes what it did to work items, jobs and runs.
    pub(super) fn roll_back(&mut self) {
        for (name, before) in std::mem::take(&mut self.items_before) {
            match before {
                Some(item) => self.items.insert(name, item),
                None => self.items.remove(&name),
            };
        }
        for (purse, before) in std::mem::take(&mut self.spendings_before) {
            match before {
                Some(spending) => self.spendings.insert(purse, spending),
                None => self.spendings.remove(&purse),
            };
        }
        for (id, before) in std::mem::take(&mut self.jobs_before) {
            self.set_job(id, before);
        }
        for (id, before) in std::mem::take(&mut self.runs_before) {
            self.set_run(id, before);
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            jobs: self.jobs.values().map(|row| row.job.clone()).collect(),
            runs: self.runs.values().cloned().collect(),
            late_outcomes: self.late_outcomes.keys().filter_map(|run| self.late_outcome(*run)).collect(),
        }
    }

    pub(super) fn late_outcome(&self, run: RunId) -> Option<LateOutcome> {
        let (outcome, received_at) = self.late_outcomes.get(&run)?;
        Some(LateOutcome { run, outcome: outcome.clone(), received_at: *received_at })
    }

    fn set_job(&mut self, id: JobId, row: Option<JobRow>) -> Option<JobRow> {
        let is_queued = row.as_ref().is_some_and(|row| matches!(row.job.state, JobState::Queued { .. }));
        if is_queued {
            self.queued.insert(id);
        } else {
            self.queued.remove(&id);
        }
        match row {
            Some(row) => self.jobs.insert(id, row),
            None => self.jobs.remove(&id),
        }
    }

    fn set_run(&mut self, id: RunId, run: Option<Run>) -> Option<Run> {
        let before = self.runs.remove(&id);
        if let Some(before) = &before {
            self.epochs.remove(&(before.job, before.epoch));
            if self.live.get(&before.job) == Some(&id) {
                self.live.remove(&before.job);
            }
        }
        if let Some(run) = run {
            self.epochs.insert((run.job, run.epoch), id);
            if run.ended_at.is_none() {
                self.live.insert(run.job, id);
            }
            self.runs.insert(id, run);
        }
        before
    }
}
