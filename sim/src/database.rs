//! The store as one process sees it: each verb may take its time before and after its commit, so that a crash, a cut
//! call or another process can come between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::account::AccountRecord;
use domain::admission::Part;
use domain::breaker::BreakerState;
use domain::budget::{Amount, Exceeded, Purse, Spending};
use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::outbox::{Message, Settlement, Sink, SinkRecord, Take};
use domain::overview::{HourTally, LateOutcome, Overview, RunTally, StageRecord, WaitingJob};
use domain::runner::Node;
use domain::sanitize::{Repair, Rules};
use domain::term::Term;
use domain::transition::RunChange;
use domain::work_item::{ItemChange, WorkItem};
use domain::{Account, Alert, Epoch, Incarnation, Job, JobId, NodeId, Outcome, Run, RunId, Timestamp};
use store::{
    Act, ActFilter, Applied, Audit, Backlog, Briefing, Change, ClaimRequest, Claimed, CommitObserver,
    Enqueued, Error, Fleet, Gauges, Generation, GivenUp, ItemFilter, JobFilter, Outbox, Purses, Renewals,
    Schema, Session, Speaking, Spender, Store, StoreStats, UsageNote, Views, Violation,
};

use crate::broken::Broken;
use crate::dice::Dice;
use crate::judge::Judge;

/// What all processes' databases share.
#[derive(Debug)]
pub(crate) struct Pace {
    dice: Mutex<Dice>,
    slow: AtomicBool,
    generation: AtomicI64,
    noted: AtomicI64,
}

impl Pace {
    pub(crate) fn new(dice: Dice) -> Arc<Self> {
        Arc::new(Self {
            dice: Mutex::new(dice),
            slow: AtomicBool::new(false),
            generation: AtomicI64::new(1),
            noted: AtomicI64::new(0),
        })
    }

    pub(crate) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::Relaxed);
    }

    /// The database says from now on that it was restored.
    pub(crate) fn restore(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    async fn take(&self) {
        let wait_ms = {
            let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
            if self.slow.load(Ordering::Relaxed) {
                dice.of_range(0..400)
            } else if dice.happens(100) {
                dice.of_range(1..30)
            } else {
                0
            }
        };
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
        }
    }
}

/// One process's way to the disk.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) judge: Judge,
    pub(crate) broken: Option<Broken>,
}

impl Database {
    async fn paced<T>(&self, verb: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.pace.take().await;
        let answer = verb.await;
        if answer.is_err() {
            self.judge.saw("write refused");
        }
        self.pace.take().await;
        answer
    }

    /// I8: nothing starts for an account whose breaker is open, one run for one that is half open.
    fn judge_accounts(&self, claimed: &Claimed, accounts: &[AccountRecord], now: Timestamp) {
        for record in accounts {
            let started = claimed.starts.iter().filter(|start| start.run.account == record.account).count();
            let most = match record.breaker.state(now) {
                BreakerState::Closed => usize::MAX,
                BreakerState::HalfOpen => 1,
                BreakerState::Open { .. } => {
                    self.judge.saw("breaker open");
                    0
                }
            };
            if started > most {
                let account = &record.account;
                self.judge
                    .state()
                    .violate(format!("I8: {started} runs start for {account}, at most {most} may"));
            }
        }
    }

    /// For a broken variant: expects whatever is there.
    async fn unguarded(&self, mut change: Change) -> Result<Change, Error> {
        if let Some(job) = self.inner.job(change.transition.job).await? {
            let expected = &mut change.transition.expected;
            (expected.status, expected.run, expected.revision) =
                (job.state.status(), job.state.run(), job.revision);
        }
        Ok(change)
    }
}

#[async_trait]
impl Store for Database {
    async fn schema(&self) -> Result<Schema, Error> {
        self.inner.schema().await
    }

    async fn accept(&self, delivery: NewDelivery) -> Result<Accepted, Error> {
        self.paced(self.inner.accept(delivery)).await
    }

    async fn enqueue(&self, job: NewJob, now: Timestamp) -> Result<Enqueued, Error> {
        self.paced(self.inner.enqueue(job, now)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, Error> {
        self.pace.take().await;
        // Nothing comes between the two: a verb of the store in memory runs to its end at once.
        let (now, accounts) = (request.now, self.inner.accounts().await?);
        let claimed = self.inner.claim(request).await;
        if let Ok(claimed) = &claimed {
            self.judge_accounts(claimed, &accounts, now);
        }
        self.pace.take().await;
        claimed
    }

    async fn apply(&self, change: Change) -> Result<Applied, Error> {
        let ends = matches!(change.transition.run, RunChange::End { .. });
        let change = match self.broken {
            Some(Broken::OutcomeNotFenced) => {
                self.pace.take().await;
                self.unguarded(change).await?
            }
            Some(_) | None => change,
        };
        if self.broken == Some(Broken::AckBeforeCommit) && ends {
            let (inner, wait) = (self.inner.clone(), Duration::from_millis(300));
            later(async move {
                tokio::time::sleep(wait).await;
                // Whoever waited for this was told long ago.
                let _ = inner.apply(change).await;
            });
            return Ok(Applied::Done);
        }
        let applied = self.paced(self.inner.apply(change)).await;
        if matches!(applied, Ok(Applied::Conflict)) {
            self.judge.saw("conflict");
        }
        applied
    }

    async fn decide(&self, change: ItemChange, audit: Audit) -> Result<Applied, Error> {
        self.paced(self.inner.decide(change, audit)).await
    }

    async fn record_late_outcome(&self, run: RunId, outcome: Outcome, now: Timestamp) -> Result<(), Error> {
        self.judge.saw("late outcome");
        self.paced(self.inner.record_late_outcome(run, outcome, now)).await
    }

    async fn save_node(&self, node: Node) -> Result<(), Error> {
        self.paced(self.inner.save_node(node)).await
    }

    async fn declare_lost(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.paced(self.inner.declare_lost(node, incarnation, now)).await
    }

    async fn note_generation(&self, generation: i64) -> Result<(), Error> {
        self.pace.take().await;
        self.pace.noted.store(generation, Ordering::Relaxed);
        Ok(())
    }

    async fn note_tick(&self, now: Timestamp, reaped: u32) -> Result<(), Error> {
        self.inner.note_tick(now, reaped).await
    }

    async fn sanitize(&self, rules: Rules) -> Result<Vec<Repair>, Error> {
        let repairs = self.inner.sanitize(rules).await?;
        if !repairs.is_empty() {
            self.judge.state().violate(format!("{} impossible rows were repaired", repairs.len()));
        }
        Ok(repairs)
    }

    async fn note_config(&self, error: Option<String>) -> Result<(), Error> {
        self.paced(self.inner.note_config(error)).await
    }

    async fn set_paused(&self, paused: bool, now: Timestamp) -> Result<(), Error> {
        self.paced(self.inner.set_paused(paused, now)).await
    }

    async fn resume_account(&self, account: Account, now: Timestamp) -> Result<bool, Error> {
        self.paced(self.inner.resume_account(account, now)).await
    }

    async fn reset_breaker(&self, account: Account, now: Timestamp) -> Result<bool, Error> {
        self.paced(self.inner.reset_breaker(account, now)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        self.inner.job(id).await
    }

    async fn payload(&self, id: JobId) -> Result<Option<Payload>, Error> {
        self.inner.payload(id).await
    }

    async fn briefing(&self, id: JobId) -> Result<Option<Briefing>, Error> {
        self.inner.briefing(id).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        self.inner.run(id).await
    }

    async fn runs_of(&self, job: JobId) -> Result<Vec<Run>, Error> {
        self.inner.runs_of(job).await
    }

    async fn late_outcomes_of(&self, job: JobId) -> Result<Vec<LateOutcome>, Error> {
        self.inner.late_outcomes_of(job).await
    }

    async fn work_items(&self, filter: ItemFilter) -> Result<Vec<WorkItem>, Error> {
        self.inner.work_items(filter).await
    }

    async fn live_runs(&self) -> Result<Vec<Run>, Error> {
        self.inner.live_runs().await
    }

    async fn live_jobs(&self) -> Result<Vec<Job>, Error> {
        self.inner.live_jobs().await
    }

    async fn cancel_requests(&self) -> Result<Vec<RunId>, Error> {
        self.inner.cancel_requests().await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
        self.inner.jobs(filter).await
    }

    async fn tally(&self, since: Timestamp) -> Result<Vec<RunTally>, Error> {
        self.inner.tally(since).await
    }

    async fn next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.inner.next_due_at(now).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.inner.nodes().await
    }

    async fn busy_nodes(&self) -> Result<Vec<(Node, u32)>, Error> {
        self.inner.busy_nodes().await
    }

    async fn generation(&self) -> Result<Generation, Error> {
        let current = self.pace.generation.load(Ordering::Relaxed);
        let noted = match self.broken {
            Some(Broken::ClaimsDoNotWait) => current,
            Some(_) | None => self.pace.noted.load(Ordering::Relaxed),
        };
        Ok(Generation { current, noted: (noted > 0).then_some(noted) })
    }

    async fn run_secret(&self) -> Result<String, Error> {
        self.inner.run_secret().await
    }

    async fn accounts(&self) -> Result<Vec<AccountRecord>, Error> {
        self.inner.accounts().await
    }

    async fn declared_lost(&self) -> Result<Vec<(NodeId, Incarnation)>, Error> {
        self.inner.declared_lost().await
    }

    async fn overview(&self, now: Timestamp) -> Result<Overview, Error> {
        self.inner.overview(now).await
    }

    async fn violations(&self) -> Result<Vec<Violation>, Error> {
        self.inner.violations().await
    }

    async fn stats(&self) -> Result<StoreStats, Error> {
        self.inner.stats().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Gauges for Database {
    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Error> {
        self.inner.backlog(now).await
    }

    fn observe_commits(&self, observer: CommitObserver) {
        self.inner.observe_commits(observer);
    }
}

#[async_trait]
impl Fleet for Database {
    async fn open_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error> {
        self.paced(self.inner.open_session(node, session)).await
    }

    async fn hear_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error> {
        self.paced(self.inner.hear_session(node, session)).await
    }

    async fn sessions(&self) -> Result<BTreeMap<NodeId, Speaking>, Error> {
        self.inner.sessions().await
    }

    async fn term(&self) -> Result<Term, Error> {
        self.inner.term().await
    }

    async fn write_term(&self, seen: Term, next: Term) -> Result<bool, Error> {
        let taken = seen.holder.is_some() && seen.holder != next.holder;
        let written = self.paced(self.inner.write_term(seen, next)).await;
        if taken && matches!(written, Ok(true)) {
            self.judge.saw("term taken over");
        }
        written
    }
}

#[async_trait]
impl Renewals for Database {
    async fn renew(&self, node: NodeId, held: Vec<(RunId, Epoch)>) -> Result<BTreeSet<RunId>, Error> {
        self.paced(self.inner.renew(node, held)).await
    }

    async fn renewals(&self) -> Result<BTreeMap<RunId, u64>, Error> {
        self.inner.renewals().await
    }
}

#[async_trait]
impl Outbox for Database {
    async fn push_alerts(&self, alerts: Vec<Alert>, now: Timestamp) -> Result<(), Error> {
        self.inner.push_alerts(alerts, now).await
    }

    async fn set_condition(
        &self,
        name: String,
        holds: bool,
        alert: Alert,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.inner.set_condition(name, holds, alert, now).await
    }

    async fn conditions(&self) -> Result<Vec<String>, Error> {
        self.inner.conditions().await
    }

    async fn address_alerts(&self, sinks: Vec<Sink>, now: Timestamp) -> Result<(), Error> {
        self.inner.address_alerts(sinks, now).await
    }

    async fn take_messages(&self, take: Take) -> Result<Vec<Message>, Error> {
        self.inner.take_messages(take).await
    }

    async fn settle_messages(&self, settlement: Settlement) -> Result<(), Error> {
        self.inner.settle_messages(settlement).await
    }

    async fn fold_alerts(&self, sink: Sink, over: u32, now: Timestamp) -> Result<bool, Error> {
        self.inner.fold_alerts(sink, over, now).await
    }

    async fn sinks(&self) -> Result<Vec<SinkRecord>, Error> {
        self.inner.sinks().await
    }

    async fn prune_messages(&self, before: Timestamp) -> Result<bool, Error> {
        self.inner.prune_messages(before).await
    }

    async fn move_destination(
        &self,
        sink: Sink,
        destination: String,
        moved_to: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.inner.move_destination(sink, destination, moved_to, now).await
    }

    async fn destination(&self, sink: Sink, configured: &str) -> Result<String, Error> {
        self.inner.destination(sink, configured).await
    }

    async fn sources(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        self.inner.sources().await
    }
}

#[async_trait]
impl Purses for Database {
    async fn note_usage(&self, notes: Vec<UsageNote>, now: Timestamp) -> Result<(), Error> {
        self.paced(self.inner.note_usage(notes, now)).await
    }

    async fn order_stop(&self, run: RunId, exceeded: Exceeded) -> Result<bool, Error> {
        self.paced(self.inner.order_stop(run, exceeded)).await
    }

    async fn raise_budget(&self, purse: Purse, more: Amount, audit: Audit) -> Result<(), Error> {
        self.paced(self.inner.raise_budget(purse, more, audit)).await
    }

    async fn spendings(&self, purses: Vec<Purse>) -> Result<BTreeMap<Purse, Spending>, Error> {
        self.inner.spendings(purses).await
    }

    async fn spenders(&self) -> Result<Vec<Spender>, Error> {
        self.inner.spenders().await
    }
}

#[async_trait]
impl Views for Database {
    async fn stage_records(&self) -> Result<Vec<StageRecord>, Error> {
        self.inner.stage_records().await
    }

    async fn ended_since(&self, since: Timestamp) -> Result<Vec<HourTally>, Error> {
        self.inner.ended_since(since).await
    }

    async fn follow_ups(&self, job: JobId, limit: u32) -> Result<Vec<Job>, Error> {
        self.inner.follow_ups(job, limit).await
    }

    async fn given_up(&self, filter: GivenUp) -> Result<Vec<JobId>, Error> {
        self.inner.given_up(filter).await
    }

    async fn set_part_paused(&self, part: Part, paused: bool, now: Timestamp) -> Result<bool, Error> {
        self.paced(self.inner.set_part_paused(part, paused, now)).await
    }

    async fn paused_parts(&self) -> Result<BTreeSet<Part>, Error> {
        self.inner.paused_parts().await
    }

    async fn note_act(&self, act: Act) -> Result<(), Error> {
        self.paced(self.inner.note_act(act)).await
    }

    async fn acts(&self, filter: ActFilter) -> Result<Vec<Act>, Error> {
        self.inner.acts(filter).await
    }
}

/// Runs something on the simulated host that nobody waits for; it dies with the host's process.
#[expect(
    clippy::disallowed_methods,
    reason = "it is to die with the simulated process, whose tasks are no part of it"
)]
pub(crate) fn later(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
