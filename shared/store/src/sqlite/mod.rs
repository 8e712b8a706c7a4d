//! The SQLite store: one file in WAL mode, one writer task per process, a few readers.
//!
//! Everything that writes goes through [`writer`]; every statement is a file in `sql/`. Rules that a row can show
//! are CHECKs in the migrations, what may happen to a row is `domain`'s to say.

mod accept;
mod apply;
mod batch;
mod checkpoint;
mod claim;
mod doctor;
mod fault;
mod items;
mod leases;
mod migrate;
mod open;
mod outbox;
mod outside;
mod pragmas;
mod reads;
mod rows;
mod sanitize;
mod spending;
mod turnstile;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use domain::account::AccountRecord;
use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::overview::{LateOutcome, Overview, RunTally, WaitingJob};
use domain::runner::Node;
use domain::sanitize::{Repair, Rules};
use domain::work_item::{ItemChange, WorkItem};
use domain::{Account, Incarnation, Job, JobId, NodeId, Outcome, Run, RunId, Timestamp};
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use self::writer::{Answer, Door, Request};
use crate::{
    Applied, Audit, Change, ClaimRequest, Claimed, Enqueued, Error, Generation, ItemFilter, JobFilter,
    Schema, Store, StoreStats, Violation,
};

/// A SQLite database, open for reading, or for both.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    path: Box<Path>,
    readers: SqlitePool,
    /// Whether the schema was found to be this program's.
    fits: AtomicBool,
    /// To the writer; none of a store opened for reading.
    door: Option<Door>,
    /// The writer and the checkpointer.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteStore {
    async fn ask(&self, request: Request) -> Result<Answer, Error> {
        match &self.door {
            Some(door) => door.ask(request).await,
            None => Err(Error::Setup("this process opened the database for reading only".into())),
        }
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
impl Store for SqliteStore {
    async fn schema(&self) -> Result<Schema, Error> {
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

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
        self.read_jobs(filter).await
    }

    async fn next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.read_next_due_at(now).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.read_nodes().await
    }

    async fn accounts(&self) -> Result<Vec<AccountRecord>, Error> {
        self.read_accounts().await
    }

    async fn generation(&self) -> Result<Generation, Error> {
        self.read_generation().await
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

    async fn stats(&self) -> Result<StoreStats, Error> {
        Ok(self.read_stats())
    }

    async fn close(&self) {
        if let Some(door) = &self.door {
            door.close().await;
        }
        for task in self.tasks.lock().await.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the store failed");
            }
        }
        self.readers.close().await;
    }
}
