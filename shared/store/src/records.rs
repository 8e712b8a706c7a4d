//! The arguments and answers of [`crate::Store`] that are not domain types.

use std::time::Duration;

use domain::admission::{Facts, Waiting};
use domain::alert::Notice;
use domain::budget::stop::Running;
use domain::budget::{Amount, Exceeded, Payer};
use domain::delivery::Payload;
use domain::outcome::RateLimit;
use domain::report::Post;
use domain::run::RunUsage;
use domain::work_item::{ItemChange, Standing};
use domain::{Account, Job, JobId, Outcome, Policy, Run, RunId, Status, Timestamp, Transition};

/// The schema found and the one needed, as migration numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The newest applied migration; 0: none.
    pub found: i64,
    /// The newest this program has.
    pub needed: i64,
}

/// A job that no webhook asked for, committed or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The job.
    pub job: JobId,
    /// Whether it is new; false: its key was there already.
    pub fresh: bool,
}

/// What a claim may use.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// The instant of the claim.
    pub now: Timestamp,
    /// Limits, projects, stages and nodes. `live`, `accounts` and `paused` are filled in by the store, in the
    /// transaction.
    pub facts: Facts,
    /// Fresh run ids; at most this many jobs start.
    pub run_ids: Vec<RunId>,
    /// Budgets, handed to `domain::next`.
    pub policy: Policy,
}

/// What a claim did.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The jobs that start, in order.
    pub starts: Vec<Start>,
    /// The due jobs looked at that wait, and why; kept as each job's last decision.
    pub waits: Vec<(JobId, Waiting)>,
    /// When the accounts let something else start, as far as that is known.
    pub accounts_change_at: Option<Timestamp>,
}

/// A claimed job with its offered run.
#[derive(Clone, Debug)]
pub struct Start {
    /// The job, after the claim.
    pub job: Job,
    /// The run.
    pub run: Run,
    /// How long the job had been due.
    pub waited: Duration,
}

/// A transition to write, with the facts that led to it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The transition.
    pub transition: Transition,
    /// The instant to write as the row's change time.
    pub now: Timestamp,
    /// The outcome, when a run ended with one: usage, exit, tail and log length go into the run's row.
    pub outcome: Option<Outcome>,
    /// The field or line that decided the run's class.
    pub evidence: Option<String>,
    /// What the job's end does to its work item, written with it or not at all.
    pub item: Option<ItemChange>,
    /// How often its run may have been renewed for this to be written ([`crate::Renewals`]).
    pub renewals: Option<u64>,
    /// What the tracker and the forge are told of it.
    pub posts: Vec<Post>,
}

impl Change {
    /// A transition alone.
    pub const fn new(transition: Transition, now: Timestamp) -> Self {
        Self { transition, now, outcome: None, evidence: None, item: None, renewals: None, posts: Vec::new() }
    }
}

/// Who acts, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// A name.
    pub by: String,
    /// Through which door: `console`, `cli`, `grpc`, or `orch` for what Orch decides by what it sees outside.
    pub via: String,
    /// The address he came from.
    pub origin: Option<String>,
}

impl From<&str> for Actor {
    /// Orch itself, in this part of it.
    fn from(part: &str) -> Self {
        Self { by: part.to_owned(), via: "orch".to_owned(), origin: None }
    }
}

/// An entry of the audit: what was done by somebody's word, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Its number, by age; 0 where it is not written yet.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What: `approve`, `cancel`, …
    pub verb: String,
    /// What it was done to: a job's id, an item's key, a runner, …
    pub subject: String,
    /// The project, where it is about one.
    pub project: Option<String>,
    /// The work item, where it is about one.
    pub work_item: Option<String>,
    /// What was said beside it.
    pub note: Option<String>,
    /// [`Act::DONE`], or why it was refused.
    pub result: String,
}

impl Act {
    /// The result of what was done.
    pub const DONE: &str = "done";
}

/// Which entries of the audit to read.
#[derive(Clone, Debug, Default)]
pub struct ActFilter {
    /// Only with numbers below this, for the next page.
    pub before: Option<i64>,
    /// Only of this subject.
    pub subject: Option<String>,
    /// At most this many.
    pub limit: u32,
}

/// Which jobs that were given up to look for.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// Failed or cancelled.
    pub status: Status,
    /// Only of this project.
    pub project: Option<String>,
    /// Only of this stage.
    pub stage: Option<String>,
    /// Only those in whose reason this stands, upper or lower case.
    pub reason: Option<String>,
    /// Only those that ended at this instant or later.
    pub since: Timestamp,
    /// At most this many.
    pub limit: u32,
}

/// A person's word, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// When it was said.
    pub at: Timestamp,
    /// Who said it, as far as is known.
    pub actor: Actor,
    /// What: `approve`, `reject`.
    pub verb: &'static str,
    /// What was said beside it.
    pub note: Option<String>,
    /// What the tracker and the forge are told of it.
    pub posts: Vec<Post>,
}

impl Audit {
    /// The entry that it makes, of what was done.
    pub(crate) fn act(&self, subject: &str, item: Option<(&str, &str)>) -> Act {
        Act {
            id: 0,
            at: self.at,
            actor: self.actor.clone(),
            verb: self.verb.to_owned(),
            subject: subject.to_owned(),
            project: item.map(|(project, _)| project.to_owned()),
            work_item: item.map(|(_, key)| key.to_owned()),
            note: self.note.clone(),
            result: Act::DONE.to_owned(),
        }
    }
}

/// What an agent is told of its job.
#[derive(Clone, Debug, PartialEq)]
pub struct Briefing {
    /// The job.
    pub job: Job,
    /// The inputs of its prompt.
    pub payload: Payload,
    /// Whose word its work item is; trusted where it has none.
    pub standing: Standing,
}

/// Which work items to read.
#[derive(Clone, Debug, Default)]
pub struct ItemFilter {
    /// Only of this project.
    pub project: Option<String>,
    /// Only of this key.
    pub key: Option<String>,
    /// Only of this state, by its word.
    pub state: Option<String>,
    /// At most this many.
    pub limit: u32,
}

impl Change {
    /// What people are told of it.
    pub(crate) fn notices(&self) -> impl Iterator<Item = Notice> {
        let of_item = self.item.iter().filter_map(|item| item.alert.as_ref());
        self.transition.alerts.iter().chain(of_item).map(|alert| Notice::new(alert.clone(), self.now))
    }
}

/// Whether a transition was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// It was, durably.
    Done,
    /// The row no longer said what was expected; nothing was written. Read again and decide again.
    Conflict,
}

/// A run that lives, with whose spending it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spender {
    /// The run.
    pub run: RunId,
    /// Its job.
    pub job: JobId,
    /// The job's project.
    pub project: String,
    /// The job's work item.
    pub work_item: String,
    /// The job's chain of causes.
    pub chain: String,
    /// The account its agent uses.
    pub account: Account,
    /// What was set aside for it.
    pub aside: Amount,
    /// What it has used, as far as its agent reported it.
    pub used: Amount,
    /// The budget for whose sake its end was ordered.
    pub stop: Option<Exceeded>,
}

impl Spender {
    /// Whose spending it is.
    pub fn payer(&self) -> Payer<'_> {
        Payer { job: self.job, project: &self.project, work_item: &self.work_item, chain: &self.chain }
    }

    /// As far as its spending goes.
    pub fn running(&self) -> Running<'_> {
        Running { run: self.run, payer: self.payer(), aside: self.aside, used: self.used }
    }
}

/// What an agent reported of itself while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageNote {
    /// The run.
    pub run: RunId,
    /// What it has used so far; its cost is an estimate until the agent says it.
    pub usage: RunUsage,
    /// The windows of its account's limits, as it saw them.
    pub windows: Vec<RateLimit>,
}

/// Which jobs to read.
#[derive(Clone, Copy, Debug)]
pub struct JobFilter {
    /// Only of this status.
    pub status: Option<Status>,
    /// Only with ids above this: what is new since.
    pub above: Option<JobId>,
    /// Only with ids below this, for the next page.
    pub before: Option<JobId>,
    /// At most this many, the newest.
    pub limit: u32,
}

impl JobFilter {
    /// The newest of all.
    #[must_use]
    pub const fn newest(limit: u32) -> Self {
        Self { status: None, above: None, before: None, limit }
    }
}

/// A row that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: `I1`, `I2`, …
    pub invariant: &'static str,
    /// The row and what is wrong with it.
    pub detail: String,
}

/// Which restore or move of the database this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// From 1; raised by a restore and by a move to another store.
    pub current: i64,
    /// The one that a scheduler last claimed under; `None`: none ever did.
    pub noted: Option<i64>,
}

/// Sizes worth watching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes of the database file.
    pub file_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
}
