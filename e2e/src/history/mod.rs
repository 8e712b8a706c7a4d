//! What happened to every job, as the outside and the database recorded it, and whether it is legal. [`check`] is
//! pure: it is fed illegal histories by its tests.

mod read;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

pub(crate) use read::rows;
pub use read::{Records, read, unfinished, utc_ms};
pub use rules::check;

/// Everything that was recorded. Instants without a further word are milliseconds of UTC.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What ingest answered with 2xx.
    pub acks: Vec<Ack>,
    /// Rows of jobs, by id.
    pub jobs: BTreeMap<i64, Job>,
    /// Rows of runs.
    pub runs: Vec<Run>,
    /// Runs whose report came late and was kept.
    pub late: Vec<String>,
    /// What the agents wrote into their ledger, in its order.
    pub agents: Vec<Agent>,
    /// What people asked for, and was granted, in its order.
    pub orders: Vec<Order>,
    /// What to add to boot time for UTC, in milliseconds.
    pub boot_to_utc_ms: i64,
}

/// An acknowledged delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// What was delivered; the same for each repetition.
    pub delivery: u64,
    /// The jobs the answer named.
    pub jobs: Vec<i64>,
    /// Whether its agents were told to fail.
    pub may_fail: bool,
}

/// A row of `jobs`.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: i64,
    /// Its status.
    pub status: String,
    /// Its epoch.
    pub epoch: i64,
    /// Spent on failures.
    pub attempts: usize,
    /// Spent on limits.
    pub transient_attempts: usize,
    /// Spent on lost runners.
    pub infra_attempts: usize,
}

/// A row of `runs`.
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Its job.
    pub job_id: i64,
    /// Its epoch.
    pub epoch: i64,
    /// Its node's id.
    pub node: String,
    /// When it was claimed.
    pub offered_at: i64,
    /// When its Start was committed.
    pub started_at: Option<i64>,
    /// When its end was committed.
    pub ended_at: Option<i64>,
    /// What its end was judged to be.
    pub class: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// An agent, by its own words. Instants are milliseconds of boot time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The run it was spawned for.
    pub run: String,
    /// The job it was spawned for.
    pub job: i64,
    /// Its process id.
    pub pid: i32,
    /// When it began.
    pub start_ms: i64,
    /// Its last sign of life.
    pub last_ms: i64,
    /// Whether it found another agent of its job alive.
    pub double: bool,
}

/// What a person asked for and was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// For which job.
    pub job: i64,
    /// What.
    pub wanted: Wanted,
    /// When the command was given.
    pub asked_at: i64,
    /// When it was granted.
    pub granted_at: i64,
}

/// A kind of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `orch cancel`
    Cancel,
    /// `orch retry`
    Retry,
}

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what their names say, and each variant says what it is")]
pub enum Violation {
    /// An acknowledged delivery names a job that does not exist, or none.
    Lost { delivery: u64, jobs: Vec<i64> },
    /// Two acknowledgements of one delivery name different jobs.
    TwoJobs { delivery: u64, first: Vec<i64>, then: Vec<i64> },
    /// Two deliveries share a job.
    Shared { delivery: u64, job: i64 },
    /// A job that nobody asked for.
    Unasked { job: i64 },
    /// A job that did not come to its end.
    Unended { job: i64, status: String },
    /// A job that failed though no agent of it was told to.
    Failed { job: i64 },
    /// A job whose status is not what its last run came to.
    Status { job: i64, status: String, last: Option<String> },
    /// More than one success was applied.
    Successes { job: i64, count: usize },
    /// A budget that is not what the runs spent.
    Budget { job: i64, budget: &'static str, is: usize, runs: usize },
    /// An outcome that was applied and kept as a late one too.
    AppliedAndLate { run: String },
    /// Epochs that do not rise with the claims, or not to the job's own.
    Epochs { job: i64, epochs: Vec<i64>, own: i64 },
    /// A run that was claimed before the one before it was over.
    Overlap { job: i64, run: String },
    /// A run that is live though its job is over.
    Live { run: String },
    /// A second agent began while one of the job's agents lived.
    TwoAgents { job: i64, first: String, second: String },
    /// A run that spawned more than once.
    SpawnedTwice { run: String },
    /// An agent whose run was never confirmed, or does not exist.
    Unconfirmed { run: String },
    /// An agent that began after its run was over.
    SpawnedLate { run: String, by_ms: i64 },
    /// An agent whose death by a signal, which was ours or its host's, was taken for its own doing.
    Crash { run: String },
    /// A cancelled job that was claimed again.
    RanAgain { job: i64, run: String },
    /// A job whose cancel was granted and that is neither cancelled nor done.
    NotCancelled { job: i64, status: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self:?}")
    }
}
