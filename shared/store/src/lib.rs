//! The only crate that names `sqlx`: one trait, stores on `SQLite` and on `PostgreSQL`, one in memory for
//! simulations, one contract suite.
//!
//! The store keeps and guards; it decides nothing. What may happen to a job is said by a [`domain::Transition`] of
//! `domain`, which [`Store::apply`] writes in one transaction or not at all.

mod accounts;
mod claim;
mod ending;
mod error;
mod fleet;
#[cfg(feature = "force")]
pub mod force;
mod gauges;
mod intake;
#[cfg(feature = "memory")]
pub mod memory;
mod moving;
mod open;
mod outbox;
mod outside;
mod postgres;
mod purses;
mod records;
mod renewals;
mod retention;
mod run_logs;
mod sql;
mod sqlite;
mod transfer;
mod views;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use domain::account::AccountRecord;
use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::overview::{LateOutcome, Overview, RunTally, WaitingJob};
use domain::runner::Node;
use domain::sanitize::{Repair, Rules};
use domain::work_item::{ItemChange, WorkItem};
use domain::{Account, Incarnation, Job, JobId, NodeId, Outcome, Run, RunId, Timestamp};

pub use error::Error;
pub use fleet::{Fleet, Heard, Session, Speaking};
pub use gauges::{Backlog, CommitObserver, Gauges};
pub use moving::{BackedUp, Restored, backup, predecessor, restore};
pub use open::{Access, is_postgres, open};
pub use outbox::Outbox;
pub use outside::Outside;
pub use purses::Purses;
pub use records::{
    Act, ActFilter, Actor, Applied, Audit, Briefing, Change, ClaimRequest, Claimed, Enqueued, Generation,
    GivenUp, ItemFilter, JobFilter, Schema, Spender, Start, StoreStats, UsageNote, Violation,
};
pub use renewals::Renewals;
pub use retention::{Forgotten, Retention};
pub use run_logs::{ForgottenLogs, RunLogs};
pub use transfer::{SavedLog, Transferred, transfer};
pub use views::Views;

/// What every process may ask of the database. Every write is durable (fsynced) when its future resolves.
#[async_trait]
pub trait Store:
    Fleet + Gauges + Outbox + Outside + Purses + Renewals + Retention + Views + Debug + Send + Sync + 'static
{
    /// Tells which schema the database has and which this program needs.
    async fn schema(&self) -> Result<Schema, Error>;

    // ── ingest ──

    /// Commits a delivery with its payloads and jobs, or finds the one it repeats.
    ///
    /// Dedupe, in order: the same source and delivery id (another body: [`Accepted::Conflict`]); the same source,
    /// event and body; the jobs' semantic keys; the sightings that are the jobs' causes (`domain::sighting`). A delivery that was
    /// ignored before is looked at again.
    async fn accept(&self, delivery: NewDelivery) -> Result<Accepted, Error>;

    /// Commits one job that no webhook asked for, or finds the one with its semantic key.
    async fn enqueue(&self, job: NewJob, now: Timestamp) -> Result<Enqueued, Error>;

    // ── scheduler ──

    /// Claims due jobs: reads candidates, live runs, pause and holds, asks `domain::admission`, and inserts the
    /// runs, all in one transaction. Work grows with what is due, never with rows that are delayed or finished.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, Error>;

    /// Writes a transition with what it does to its work item, and the job that follows, guarded by what it expects. [`Applied::Conflict`]: the row had moved; nothing was written.
    async fn apply(&self, change: Change) -> Result<Applied, Error>;

    /// Writes a person's word on a work item with the job that follows and its audit, guarded by the item's revision.
    /// [`Applied::Conflict`]: the item had moved; nothing was written. Read again and decide again.
    async fn decide(&self, change: ItemChange, audit: Audit) -> Result<Applied, Error>;

    /// Keeps the report of a run that no longer owns its job, for audit; changes nothing else. Idempotent.
    async fn record_late_outcome(&self, run: RunId, outcome: Outcome, now: Timestamp) -> Result<(), Error>;

    /// Inserts or replaces a runner's row.
    async fn save_node(&self, node: Node) -> Result<(), Error>;

    /// Keeps an operator's word that a runner is gone, up to and with this incarnation.
    async fn declare_lost(&self, node: NodeId, incarnation: Incarnation, now: Timestamp)
    -> Result<(), Error>;

    /// Keeps that claims are made under this generation.
    async fn note_generation(&self, generation: i64) -> Result<(), Error>;

    /// Keeps that the reaper looked at `now`, adds the runs it gave up since it last said so, and drops what
    /// [`Renewals`] keeps of runs that are over.
    async fn note_tick(&self, now: Timestamp, reaped: u32) -> Result<(), Error>;

    /// Finds rows that break I1 to I3, repairs them as `domain::sanitize` says, and counts them, in one transaction;
    /// says what was repaired. Takes no lock and reads no row that is delayed or finished when there is nothing.
    async fn sanitize(&self, rules: Rules) -> Result<Vec<Repair>, Error>;

    /// Keeps what is wrong with `orch.toml` as it is, while the scheduler goes on with an older one; none: nothing.
    async fn note_config(&self, error: Option<String>) -> Result<(), Error>;

    /// Pauses or resumes all starts.
    async fn set_paused(&self, paused: bool, now: Timestamp) -> Result<(), Error>;

    /// Lifts the hold of an account; false when it was not held.
    async fn resume_account(&self, account: Account, now: Timestamp) -> Result<bool, Error>;

    /// Closes the breaker of an account and forgets its count; false when there is no such account.
    async fn reset_breaker(&self, account: Account, now: Timestamp) -> Result<bool, Error>;

    // ── reads ──

    /// Reads a job.
    async fn job(&self, id: JobId) -> Result<Option<Job>, Error>;

    /// Reads the inputs of a job's prompt.
    async fn payload(&self, id: JobId) -> Result<Option<Payload>, Error>;

    /// Reads what an agent is told of its job, all of one moment.
    async fn briefing(&self, id: JobId) -> Result<Option<Briefing>, Error>;

    /// Reads a run.
    async fn run(&self, id: RunId) -> Result<Option<Run>, Error>;

    /// Reads a job's runs, the oldest first.
    async fn runs_of(&self, job: JobId) -> Result<Vec<Run>, Error>;

    /// Reads the reports of a job's runs that came after the run was given up, the oldest run's first.
    async fn late_outcomes_of(&self, job: JobId) -> Result<Vec<LateOutcome>, Error>;

    /// Reads work items, the newest change first.
    async fn work_items(&self, filter: ItemFilter) -> Result<Vec<WorkItem>, Error>;

    /// Reads every run that has not ended.
    async fn live_runs(&self) -> Result<Vec<Run>, Error>;

    /// Reads the jobs whose runs have not ended; one whose row contradicts itself is left out.
    async fn live_jobs(&self) -> Result<Vec<Job>, Error>;

    /// Reads which live runs were asked to end.
    async fn cancel_requests(&self) -> Result<Vec<RunId>, Error>;

    /// Counts the runs that were claimed at `since` or later by class and reason, the most frequent first.
    async fn tally(&self, since: Timestamp) -> Result<Vec<RunTally>, Error>;

    /// Reads jobs, the newest first.
    async fn jobs(&self, filter: JobFilter) -> Result<Vec<WaitingJob>, Error>;

    /// The earliest instant at which a queued job that is not due at `now` becomes due.
    async fn next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error>;

    /// Reads every runner's row, by id.
    async fn nodes(&self) -> Result<Vec<Node>, Error>;

    /// Reads every runner's row with the number of its live runs, by id. Its work grows with the runners and the live runs.
    async fn busy_nodes(&self) -> Result<Vec<(Node, u32)>, Error>;

    /// Reads the database's generation, and the one noted last.
    async fn generation(&self) -> Result<Generation, Error>;

    /// Reads what the tokens of runs are made of: 64 letters, drawn when the database was made.
    async fn run_secret(&self) -> Result<String, Error>;

    /// Reads the accounts, by name.
    async fn accounts(&self) -> Result<Vec<AccountRecord>, Error>;

    /// Reads which runners an operator declared lost, and up to which incarnation.
    async fn declared_lost(&self) -> Result<Vec<(NodeId, Incarnation)>, Error>;

    /// Reads what `GET /queue` shows.
    async fn overview(&self, now: Timestamp) -> Result<Overview, Error>;

    /// Looks for rows that break an invariant of DESIGN.md section 4 (`orch doctor`).
    async fn violations(&self) -> Result<Vec<Violation>, Error>;

    /// The logs of runs, where the database keeps them; `None`: they are files.
    fn run_logs(&self) -> Option<Arc<dyn RunLogs>> {
        None
    }

    /// Sizes worth watching.
    async fn stats(&self) -> Result<StoreStats, Error>;

    /// Waits for writes under way and closes the files.
    async fn close(&self);
}
