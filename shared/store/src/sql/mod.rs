//! The verbs of a store that SQL databases share: every decision is `domain`'s, every statement a file of one name.
//!
//! How a database is opened, who may write when, and what its failures mean is each database's own: see [`Database`],
//! `sqlite` and `postgres`. Rules that a row can show are CHECKs in the migrations.

mod accept;
mod apply;
pub(crate) mod argument;
pub(crate) mod batch;
mod claim;
pub(crate) mod connection;
mod doctor;
pub(crate) mod fault;
mod fleet;
mod gauges;
mod items;
mod leases;
pub(crate) mod outbox;
pub(crate) mod outside;
mod reads;
pub(crate) mod request;
pub(crate) mod retention;
pub(crate) mod rows;
mod sanitize;
pub(crate) mod schema;
mod spending;
pub(crate) mod views;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use domain::account::AccountRecord;
use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::overview::{LateOutcome, Overview, RunTally, WaitingJob};
use domain::runner::Node;
use domain::sanitize::{Repair, Rules};
use domain::work_item::{ItemChange, WorkItem};
use domain::{Account, Incarnation, Job, JobId, NodeId, Outcome, Run, RunId, Timestamp};
use tokio::time::Instant;

use self::connection::Reader;
use self::request::{Answer, Request};
use crate::gauges::Observed;
use crate::{
    Applied, Audit, Briefing, Change, ClaimRequest, Claimed, Enqueued, Error, Generation, Heard, ItemFilter,
    JobFilter, RunLogs, Schema, Store, StoreStats, Violation,
};

/// A database: how it is written and read.
#[async_trait]
pub(crate) trait Database: Debug + Send + Sync + 'static {
    /// Has something written, durably.
    async fn ask(&self, request: Request) -> Result<Answer, Error>;

    /// A connection that reads, whatever the schema.
    async fn reader(&self) -> Result<Reader, Error>;

    /// A connection on which all reads see one state.
    async fn snapshot(&self) -> Result<Reader, Error>;

    /// The logs of runs, where it keeps them.
    fn run_logs(&self) -> Option<Arc<dyn RunLogs>> {
        None
    }

    /// Folds what changed of the counts of jobs, where that is kept apart.
    async fn fold_counts(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Calls `heard` at announcements of work, where there are any.
    async fn listen(&self, _direct: Option<String>, _heard: Heard) {}

    /// Whether it takes writes, where it was opened for them.
    async fn check_writable(&self) -> Result<(), Error>;

    /// Sizes worth watching.
    async fn stats(&self) -> Result<StoreStats, Error>;

    /// Waits for writes under way.
    async fn close(&self);
}

/// A store on a SQL database, open for reading, or for both.
#[derive(Debug)]
pub(crate) struct SqlStore {
    database: Box<dyn Database>,
    /// Whether the schema was found to be this program's.
    fits: AtomicBool,
    /// Who is told of commits.
    observed: Observed,
}

impl SqlStore {
    pub(crate) fn new(database: impl Database) -> Self {
        Self { database: Box::new(database), fits: AtomicBool::new(false), observed: Observed::default() }
    }

    async fn ask(&self, request: Request) -> Result<Answer, Error> {
        let asked_at = Instant::now();
        let answer = self.database.ask(request).await?;
        self.observed.tell(asked_at.elapsed());
        Ok(answer)
    }
}

/// The writer answers a request with the answer of its name, or there is a defect.
fn mismatch(answer: &Answer) -> Error {
    Error::Corrupt(format!("the writer answered another question: {answer:?}"))
}

macro_rules! answer {
    ($answer:expr, $variant:ident) => {
        match $answer {
            Answer::$variant(value) => Ok(value),
            other => Err(mismatch(&other)),
        }
    };
}

#[async_trait]
impl Store for SqlStore {
    async fn schema(&self) -> Result<Schema, Error> {
        self.database.check_writable().await?;
        self.read_schema().await
    }

    async fn accept(&self, delivery: NewDelivery) -> Result<Accepted, Error> {
        answer!(self.ask(Request::Accept(delivery)).await?, Accepted)
    }

    async fn enqueue(&self, job: NewJob, now: Timestamp) -> Result<Enqueued, Error> {
        answer!(self.ask(Request::Enqueue(job, now)).await?, Enqueued)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, Error> {
        answer!(self.ask(Request::Claim(request)).await?, Claimed)
    }

    async fn apply(&self, change: Change) -> Result<Applied, Error> {
        answer!(self.ask(Request::Apply(change)).await?, Applied)
    }

    async fn decide(&self, change: ItemChange, audit: Audit) -> Result<Applied, Error> {
        answer!(self.ask(Request::Decide(Box::new(change), audit)).await?, Applied)
    }

    async fn record_late_outcome(&self, run: RunId, outcome: Outcome, now: Timestamp) -> Result<(), Error> {
        self.ask(Request::LateOutcome(run, outcome, now)).await.map(|_| ())
    }

    async fn save_node(&self, node: Node) -> Result<(), Error> {
        self.ask(Request::SaveNode(node)).await.map(|_| ())
    }

    async fn declare_lost(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.ask(Request::DeclareLost(node, incarnation, now)).await.map(|_| ())
    }

    async fn note_generation(&self, generation: i64) -> Result<(), Error> {
        self.ask(Request::NoteGeneration(generation)).await.map(|_| ())
    }

    async fn note_tick(&self, now: Timestamp, reaped: u32) -> Result<(), Error> {
        self.ask(Request::NoteTick(now, reaped)).await.map(|_| ())
    }

    async fn sanitize(&self, rules: Rules) -> Result<Vec<Repair>, Error> {
        if !self.has_suspects().await? {
            return Ok(Vec::new());
        }
        answer!(self.ask(Request::Sanitize(rules)).await?, Repaired)
    }

    async fn note_config(&self, error: Option<String>) -> Result<(), Error> {
        self.ask(Request::NoteConfig(error)).await.map(|_| ())
    }

    async fn set_paused(&self, paused: bool, now: Timestamp) -> Result<(), Error> {
        self.ask(Request::SetPaused(paused, now)).await.map(|_| ())
    }

    async fn resume_account(&self, account: Account, now: Timestamp) -> Result<bool, Error> {
        answer!(self.ask(Request::ResumeAccount(account, now)).await?, Found)
    }

    async fn reset_breaker(&self, account: Account, now: Timestamp) -> Result<bool, Error> {
        answer!(self.ask(Request::ResetBreaker(account, now)).await?, Found)
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        self.read_job(id).await
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, Error> {
        self.read_payload(id).await
    }

    async fn briefing(&self, id: JobId) -> Result<Option<Briefing>, Error> {
        self.read_briefing(id).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        self.read_run(id).await
    }

    async fn runs_of(&self, job: JobId) -> Result<Vec<Run>, Error> {
        self.read_runs_of(job).await
    }

    async fn tally(&self, since: Timestamp) -> Result<Vec<RunTally>, Error> {
        self.read_tally(since).await
    }

    async fn late_outcomes_of(&self, job: JobId) -> Result<Vec<LateOutcome>, Error> {
        self.read_late_outcomes_of(job).await
    }

    async fn work_items(&self, filter: ItemFilter) -> Result<Vec<WorkItem>, Error> {
        self.read_work_items(&filter).await
    }

    async fn live_runs(&self) -> Result<Vec<Run>, Error> {
        self.read_live_runs().await
    }

    async fn live_jobs(&self) -> Result<Vec<Job>, Error> {
        self.read_live_jobs().await
    }

    async fn cancel_requests(&self) -> Result<Vec<RunId>, Error> {
        self.read_cancel_requests().await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
        self.read_jobs(filter).await
    }

    async fn next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.read_next_due_at(now).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.read_nodes().await
    }

    async fn busy_nodes(&self) -> Result<Vec<(Node, u32)>, Error> {
        self.read_busy_nodes().await
    }

    async fn accounts(&self) -> Result<Vec<AccountRecord>, Error> {
        self.read_accounts().await
    }

    async fn generation(&self) -> Result<Generation, Error> {
        self.read_generation().await
    }

    async fn run_secret(&self) -> Result<String, Error> {
        self.read_run_secret().await
    }

    async fn declared_lost(&self) -> Result<Vec<(NodeId, Incarnation)>, Error> {
        self.read_declared_lost().await
    }

    async fn overview(&self, now: Timestamp) -> Result<Overview, Error> {
        self.read_overview(now).await
    }

    async fn violations(&self) -> Result<Vec<Violation>, Error> {
        self.read_violations().await
    }

    fn run_logs(&self) -> Option<Arc<dyn RunLogs>> {
        self.database.run_logs()
    }

    async fn stats(&self) -> Result<StoreStats, Error> {
        self.database.stats().await
    }

    async fn close(&self) {
        self.database.close().await;
    }
}
