//! The judge: is told of every committed change, every spawn and every end, and says which invariant does not hold.
//!
//! What the rows alone show is in `rows`; here is what takes both the rows and the hosts.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::outcome::{EndedBy, Exit};
use domain::{Job, JobId, JobState, Outcome, Run, RunId, RunState};
use store::memory::Commit;

use crate::scenario::Terms;
use crate::time::Elapsed;
use crate::trace::{Coverage, Trace};

/// Shared by everything in one simulation.
#[derive(Clone, Debug)]
pub(crate) struct Judge(Arc<Mutex<State>>);

/// What is known of the whole world.
#[derive(Debug)]
pub(crate) struct State {
    elapsed: Elapsed,
    trace: Trace,
    seen: Coverage,
    violation: Option<String>,
    terms: Terms,
    jobs: BTreeMap<JobId, Job>,
    /// What the agents of a job do: one that goes on with a conversation is told less.
    told: BTreeMap<JobId, String>,
    runs: BTreeMap<RunId, Run>,
    /// The agents that live.
    living: BTreeMap<RunId, Living>,
    /// Every run that ever had an agent.
    spawned: BTreeSet<RunId>,
    /// Runs whose keeper or host was made to crash.
    struck: BTreeSet<RunId>,
    /// What a keeper recorded, the first one.
    recorded: BTreeMap<RunId, (EndedBy, Option<Exit>)>,
    /// When the scheduler last heard of a run, in true time.
    heard_ms: BTreeMap<RunId, i64>,
    cancelled_ms: BTreeMap<JobId, i64>,
    /// When the database was restored last.
    restored_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Living {
    job: JobId,
    node: usize,
}

impl Judge {
    pub(crate) fn new(elapsed: Elapsed, terms: Terms, keep_trace: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            elapsed,
            trace: Trace::new(keep_trace),
            seen: Coverage::new(),
            violation: None,
            terms,
            jobs: BTreeMap::new(),
            told: BTreeMap::new(),
            runs: BTreeMap::new(),
            living: BTreeMap::new(),
            spawned: BTreeSet::new(),
            struck: BTreeSet::new(),
            recorded: BTreeMap::new(),
            heard_ms: BTreeMap::new(),
            cancelled_ms: BTreeMap::new(),
            restored_ms: None,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something happened.
    pub(crate) fn note(&self, line: &str) {
        self.state().note(line);
    }

    /// Counts a kind of fault or event.
    pub(crate) fn saw(&self, what: &str) {
        self.state().saw(what);
    }
}

impl State {
    pub(crate) fn note(&mut self, line: &str) {
        let at_ms = self.elapsed.ms();
        self.trace.add(at_ms, line);
    }

    pub(crate) fn saw(&mut self, what: &str) {
        match self.seen.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.seen.insert(what.to_owned(), 1)),
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.note(&format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(crate) fn seen(&self) -> &Coverage {
        &self.seen
    }

    /// Notes what the agents of a job do.
    pub(crate) fn tell(&mut self, job: JobId, prompt: &str) {
        self.note(&format!("job {job} is told: {prompt}"));
        self.told.insert(job, prompt.to_owned());
    }

    pub(crate) fn told(&self, job: JobId) -> Option<&str> {
        self.told.get(&job).map(String::as_str)
    }

    pub(crate) fn run(&self, run: RunId) -> Option<&Run> {
        self.runs.get(&run)
    }

    /// The runs of a node that are not over.
    pub(crate) fn live_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().filter(|run| run.state != RunState::Ended)
    }

    /// The database is another one from now on.
    pub(crate) fn restored(&mut self) {
        self.restored_ms = Some(self.elapsed.ms());
    }

    /// Judges a commit.
    pub(crate) fn commit(&mut self, commit: &Commit) {
        for job in &commit.jobs {
            self.note(&format!("{} {} {}", commit.process, commit.verb, rows::shown(&job.after)));
        }
        for run in &commit.runs {
            self.note(&format!("{} {} {}", commit.process, commit.verb, rows::shown_run(&run.after)));
        }
        rows::judge(self, commit);
        let now_ms = self.elapsed.ms();
        let waits_ms = self.terms.scheduler_lease_ms - self.terms.scheduler_lease_ms / 100;
        let waits = self.restored_ms.is_some_and(|at_ms| now_ms - at_ms < waits_ms);
        if waits && commit.verb == "claim" && !commit.runs.is_empty() {
            self.violate("a job is claimed before the agents of the older database are gone".to_owned());
        }
        for moved in &commit.jobs {
            if matches!(moved.after.state, JobState::Running { cancel_requested_at: Some(_), .. }) {
                self.cancelled_ms.entry(moved.after.id).or_insert(now_ms);
            } else {
                self.cancelled_ms.remove(&moved.after.id);
            }
            self.jobs.insert(moved.after.id, moved.after.clone());
        }
        for moved in &commit.runs {
            self.runs.insert(moved.after.id, moved.after.clone());
        }
        rows::judge_all(self);
    }

    /// The scheduler was reached by a message that names the run.
    pub(crate) fn heard(&mut self, run: RunId) {
        let now_ms = self.elapsed.ms();
        self.heard_ms.insert(run, now_ms);
    }

    /// An agent is spawned.
    pub(crate) fn spawn(&mut self, node: usize, job: JobId, run: RunId, in_lease: bool) {
        self.note(&format!("spawn run {run} job {job} on runner {node}"));
        self.saw("spawned");
        if !in_lease {
            self.violate(format!("I6: run {run} is spawned after its lease"));
        }
        match self.runs.get(&run) {
            Some(row) if row.state == RunState::Offered => {
                self.violate(format!("I6: run {run} is spawned before its Start is committed"));
            }
            None => self.violate(format!("I6: run {run} is spawned and in no database")),
            Some(_) => {}
        }
        if !self.spawned.insert(run) {
            self.violate(format!("I6: run {run} is spawned twice"));
        }
        let other = self.living.iter().find(|(_, living)| living.job == job).map(|(run, _)| *run);
        if let Some(other) = other {
            self.violate(format!("two live agents of job {job}: runs {other} and {run}"));
        }
        self.living.insert(run, Living { job, node });
    }

    /// An agent is gone.
    pub(crate) fn exit(&mut self, run: RunId) {
        if self.living.remove(&run).is_some() {
            self.note(&format!("exit run {run}"));
        }
    }

    /// A keeper, or its host, is made to crash.
    pub(crate) fn strike(&mut self, run: RunId) {
        self.struck.insert(run);
    }

    /// A keeper records an outcome.
    pub(crate) fn record(&mut self, run: RunId, outcome: &Outcome) {
        self.note(&format!("record run {run} {:?} {:?}", outcome.ended_by, outcome.exit));
        let word = match &outcome.ended_by {
            EndedBy::Agent => "agent",
            EndedBy::AfterResult => "after_result",
            EndedBy::Cancelled => "cancelled",
            EndedBy::MaxRuntime => "max_runtime",
            EndedBy::Idle => "idle",
            EndedBy::SelfFenced => "self_fenced",
            EndedBy::Drained => "drained",
            EndedBy::ShimLost => "shim_lost",
            EndedBy::SpawnFailed { .. } => "spawn_failed",
            EndedBy::DiskLimit { .. } => "disk_limit",
            EndedBy::MemoryLimit { .. } => "memory_limit",
            EndedBy::Unready { .. } => "unready",
            EndedBy::Workspace { .. } => "workspace",
        };
        self.saw(&format!("ended_by {word}"));
        if self.living.contains_key(&run) {
            self.violate(format!("run {run} is recorded as over while its agent lives"));
        }
        self.recorded.entry(run).or_insert((outcome.ended_by.clone(), outcome.exit));
    }

    /// The node is told to forget a run.
    pub(crate) fn ack(&mut self, run: RunId) {
        if self.runs.get(&run).is_some_and(|row| row.state != RunState::Ended) {
            self.violate(format!("I10: run {run} is acknowledged before its end is committed"));
        }
    }

    /// What takes time to show: agents past their lease, cancels that are not heeded.
    pub(crate) fn look(&mut self) {
        let now_ms = self.elapsed.ms();
        let (lease_ms, cancel_ms) = (self.terms.agent_gone_ms(), self.terms.cancel_heeded_ms());
        let mut found = Vec::new();
        for (run, living) in &self.living {
            let silent_ms = now_ms - self.heard_ms.get(run).copied().unwrap_or(0);
            if silent_ms > lease_ms {
                let node = living.node;
                found.push(format!("run {run} on runner {node} lives, unheard of for {silent_ms} ms"));
            }
            let waited_ms = self.cancelled_ms.get(&living.job).map_or(0, |at_ms| now_ms - at_ms);
            if waited_ms > cancel_ms {
                found.push(format!("run {run} lives {waited_ms} ms after its cancel"));
            }
        }
        for what in found {
            self.violate(what);
        }
    }

    /// Whether the last fault left nothing behind in the database and no agent lives; else what is left.
    pub(crate) fn left(&self) -> Option<String> {
        let open = self.jobs.values().find(|job| match job.state {
            JobState::Queued { .. } | JobState::Running { .. } => true,
            JobState::Done { .. } | JobState::Failed { .. } | JobState::Cancelled { .. } => false,
        });
        let open = open.map(|job| format!("job {} is {}", job.id, rows::shown(job)));
        open.or_else(|| self.live_runs().next().map(|run| format!("run {} lives", run.id)))
            .or_else(|| self.living.keys().next().map(|run| format!("the agent of run {run} lives")))
    }
}
