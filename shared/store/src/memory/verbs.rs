//! [`Store`] on the tables: what each verb reads or writes.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::account::AccountRecord;
use domain::alert::Notice;
use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::overview::{LateOutcome, Overview, RunTally, WaitingJob};
use domain::runner::Node;
use domain::sanitize::{Repair, Rules};
use domain::work_item::{ItemChange, WorkItem};
use domain::{Account, Epoch, Incarnation, Job, JobId, JobState, NodeId, Outcome, Run, RunId, Timestamp};

use super::MemoryStore;
use super::tables::Tables;
use crate::intake::{Item, ItemAnswer};
use crate::{
    Applied, Audit, Backlog, Briefing, Change, ClaimRequest, Claimed, CommitObserver, Enqueued, Error,
    Gauges, Generation, ItemFilter, JobFilter, Renewals, Schema, Store, StoreStats, Violation,
};

/// There is one form of the tables.
const SCHEMA: Schema = Schema { found: 1, needed: 1 };

#[async_trait]
impl Store for MemoryStore {
    async fn schema(&self) -> Result<Schema, Error> {
        self.read(|_| SCHEMA)
    }

    async fn accept(&self, delivery: NewDelivery) -> Result<Accepted, Error> {
        match self.write("accept", |tables| tables.accept(&Item::Delivery(&delivery)))? {
            ItemAnswer::Delivery(accepted) => Ok(accepted),
            answer @ ItemAnswer::Job(_) => Err(mismatch(&answer)),
        }
    }

    async fn enqueue(&self, job: NewJob, now: Timestamp) -> Result<Enqueued, Error> {
        match self.write("enqueue", |tables| tables.accept(&Item::Job(&job, now)))? {
            ItemAnswer::Job(enqueued) => Ok(enqueued),
            answer @ ItemAnswer::Delivery(_) => Err(mismatch(&answer)),
        }
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, Error> {
        self.write("claim", |tables| tables.claim(&request))
    }

    async fn apply(&self, change: Change) -> Result<Applied, Error> {
        self.write("apply", |tables| tables.apply(&change))
    }

    async fn decide(&self, change: ItemChange, audit: Audit) -> Result<Applied, Error> {
        self.write("decide", |tables| tables.decide(&change, &audit))
    }

    async fn record_late_outcome(&self, run: RunId, outcome: Outcome, now: Timestamp) -> Result<(), Error> {
        self.write("record_late_outcome", |tables| {
            tables.late_outcomes.entry(run).or_insert((outcome, now));
            Ok(())
        })
    }

    async fn save_node(&self, node: Node) -> Result<(), Error> {
        self.write("save_node", |tables| {
            tables.accounts.entry(&node.account);
            if tables.nodes.get(&node.id).is_none_or(|known| known.incarnation <= node.incarnation) {
                tables.nodes.insert(node.id.clone(), node);
            }
            Ok(())
        })
    }

    async fn declare_lost(&self, node: NodeId, incarnation: Incarnation, _: Timestamp) -> Result<(), Error> {
        self.write("declare_lost", |tables| {
            let declared = tables.lost.entry(node).or_insert(incarnation);
            *declared = incarnation.max(*declared);
            Ok(())
        })
    }

    async fn note_generation(&self, generation: i64) -> Result<(), Error> {
        self.write("note_generation", |tables| {
            if generation == tables.generation().current {
                tables.noted_generation = Some(generation);
            }
            Ok(())
        })
    }

    async fn note_tick(&self, now: Timestamp, reaped: u32) -> Result<(), Error> {
        self.write("note_tick", |tables| {
            tables.reaper.last_tick_at = tables.reaper.last_tick_at.max(Some(now));
            tables.reaper.reaped_total += u64::from(reaped);
            let live: BTreeSet<RunId> = tables.live().map(|run| run.id).collect();
            tables.renewals.retain(|run, _| live.contains(run));
            Ok(())
        })
    }

    async fn sanitize(&self, rules: Rules) -> Result<Vec<Repair>, Error> {
        if self.read(|tables| tables.suspects().is_empty())? {
            return Ok(Vec::new());
        }
        self.write("sanitize", |tables| tables.sanitize(&rules))
    }

    async fn note_config(&self, error: Option<String>) -> Result<(), Error> {
        self.write("note_config", |tables| {
            tables.config_error = error;
            Ok(())
        })
    }

    async fn set_paused(&self, paused: bool, _: Timestamp) -> Result<(), Error> {
        self.write("set_paused", |tables| {
            tables.paused = paused;
            Ok(())
        })
    }

    async fn resume_account(&self, account: Account, now: Timestamp) -> Result<bool, Error> {
        self.write("resume_account", |tables| {
            let alert = tables.accounts.get_mut(&account).and_then(|account| account.resume(now));
            let was_held = alert.is_some();
            tables.outbox.push(alert.map(|alert| Notice::new(alert, now)))?;
            Ok(was_held)
        })
    }

    async fn reset_breaker(&self, account: Account, now: Timestamp) -> Result<bool, Error> {
        self.write("reset_breaker", |tables| {
            let Some(account) = tables.accounts.get_mut(&account) else { return Ok(false) };
            let alert = account.reset_breaker();
            tables.outbox.push(alert.map(|alert| Notice::new(alert, now)))?;
            Ok(true)
        })
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        self.read(|tables| Some(tables.job(id)?.job.clone()))
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, Error> {
        self.read(|tables| Some(Payload::clone(&tables.job(id)?.payload)))
    }

    async fn briefing(&self, id: JobId) -> Result<Option<Briefing>, Error> {
        self.read(|tables| tables.briefing(id))
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        self.read(|tables| tables.run(id).cloned())
    }

    async fn runs_of(&self, job: JobId) -> Result<Vec<Run>, Error> {
        self.read(|tables| tables.runs_of(job).cloned().collect())
    }

    async fn tally(&self, since: Timestamp) -> Result<Vec<RunTally>, Error> {
        self.read(|tables| tables.tally(since))
    }

    async fn late_outcomes_of(&self, job: JobId) -> Result<Vec<LateOutcome>, Error> {
        self.read(|tables| tables.late_outcomes_of(job))
    }

    async fn work_items(&self, filter: ItemFilter) -> Result<Vec<WorkItem>, Error> {
        self.read(|tables| tables.read_work_items(&filter))
    }

    async fn live_runs(&self) -> Result<Vec<Run>, Error> {
        self.read(|tables| tables.live().cloned().collect())
    }

    async fn live_jobs(&self) -> Result<Vec<Job>, Error> {
        self.read(|tables| {
            let owned = |run: &Run| tables.job(run.job).filter(|row| row.job.state.run() == Some(run.id));
            tables.live().filter_map(owned).map(|row| row.job.clone()).collect()
        })
    }

    async fn cancel_requests(&self) -> Result<Vec<RunId>, Error> {
        self.read(|tables| {
            let asked =
                |job: &&Job| matches!(job.state, JobState::Running { cancel_requested_at: Some(_), .. });
            let jobs = tables.live().filter_map(|run| tables.job(run.job)).map(|row| &row.job);
            jobs.filter(asked).filter_map(|job| job.state.run()).collect()
        })
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
        self.read(|tables| tables.read_jobs(filter))
    }

    async fn next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.read(|tables| tables.next_due_at(now))
    }

    async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.read(|tables| tables.nodes.values().cloned().collect())
    }

    async fn busy_nodes(&self) -> Result<Vec<(Node, u32)>, Error> {
        self.read(Tables::busy_nodes)
    }

    async fn accounts(&self) -> Result<Vec<AccountRecord>, Error> {
        self.read(|tables| tables.accounts.records().cloned().collect())
    }

    async fn generation(&self) -> Result<Generation, Error> {
        self.read(super::tables::Tables::generation)
    }

    async fn run_secret(&self) -> Result<String, Error> {
        // The same seed, the same trace.
        Ok("7".repeat(64))
    }

    async fn declared_lost(&self) -> Result<Vec<(NodeId, Incarnation)>, Error> {
        self.read(|tables| tables.lost.iter().map(|(node, newest)| (node.clone(), *newest)).collect())
    }

    async fn overview(&self, now: Timestamp) -> Result<Overview, Error> {
        self.read(|tables| tables.overview(now))
    }

    async fn violations(&self) -> Result<Vec<Violation>, Error> {
        self.read(super::tables::Tables::violations)
    }

    async fn stats(&self) -> Result<StoreStats, Error> {
        self.read(|_| StoreStats::default())
    }

    async fn close(&self) {
        let mut disk = self.disk.state();
        if disk.open.get(&self.process) == Some(&self.handle) {
            disk.open.remove(&self.process);
        }
    }
}

/// An item is answered with the answer of its kind, or there is a defect.
fn mismatch(answer: &ItemAnswer) -> Error {
    Error::Corrupt(format!("the intake answered another question: {answer:?}"))
}

#[async_trait]
impl Gauges for MemoryStore {
    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Error> {
        self.read(|tables| tables.backlog(now))
    }

    /// Nothing is told: a commit here takes no time.
    fn observe_commits(&self, _observer: CommitObserver) {}
}

#[async_trait]
impl Renewals for MemoryStore {
    async fn renew(&self, node: NodeId, held: Vec<(RunId, Epoch)>) -> Result<BTreeSet<RunId>, Error> {
        self.write("renew", |tables| {
            let ours = |(run, epoch): &(RunId, Epoch)| {
                let row = tables.run(*run)?;
                (row.ended_at.is_none() && row.epoch == *epoch && row.node == node).then_some(*run)
            };
            let live: BTreeSet<RunId> = held.iter().filter_map(ours).collect();
            for run in &live {
                *tables.renewals.entry(*run).or_insert(0) += 1;
            }
            Ok(live)
        })
    }

    async fn renewals(&self) -> Result<BTreeMap<RunId, u64>, Error> {
        self.read(|tables| {
            let of = |run: &Run| Some((run.id, *tables.renewals.get(&run.id)?));
            tables.live().filter_map(of).collect()
        })
    }
}
