//! Keepers and agents that are not there, one machine's worth: they outlive the runner's process, keep their own
//! dead-man timer by the host's boot clock, and die with the host. What ends an agent is decided by the runner's own
//! `watchdog`, and what they leave is in the run's real folder.

mod seam;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::agent_output::Reader;
use domain::outcome::{EndedBy, Exit, Outcome};
use domain::{RunId, Timestamp};
use runner::run_dir::{Assignment, Intent, RunDir};
use runner::shim::watchdog::{self, Limits, Seen};
use runner::spool::Writer;
use service::Clock;
use tokio::sync::watch;

use crate::agents::{self, Agent};
use crate::broken::Broken;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::scenario::Terms;
use crate::time::HostTime;

pub(crate) use seam::Keepers;

/// The longest a keeper takes from its spawn to its agent's, in milliseconds; rarely as long as a lease.
const SLOW_SPAWN_MS: i64 = 150;

/// A host with its keepers.
#[derive(Debug)]
pub(crate) struct Machine {
    node: usize,
    time: Arc<HostTime>,
    clock: Clock,
    judge: Judge,
    terms: Terms,
    broken: Option<Broken>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    boot: u32,
    dice: Dice,
    /// One in so many spawns takes longer than a lease.
    stalls_per_mille: u32,
    shims: BTreeMap<RunId, Shim>,
    /// Children that outlived a dead keeper, by the marker they carry.
    orphans: BTreeMap<String, RunId>,
}

#[derive(Debug)]
struct Shim {
    dir: RunDir,
    assignment: Assignment,
    intent: Intent,
    seen: Seen,
    spawns_at_ms: i64,
    agent: Option<Living>,
    /// Held from before the keeper to its end, as its process would.
    _lock: File,
    gone: watch::Sender<bool>,
}

#[derive(Debug)]
struct Living {
    agent: Agent,
    spawned_at: Timestamp,
    reader: Reader,
    writer: Writer,
    ending: Option<(EndedBy, i64)>,
}

impl Machine {
    pub(crate) fn new(
        node: usize,
        time: Arc<HostTime>,
        judge: Judge,
        terms: Terms,
        broken: Option<Broken>,
        dice: Dice,
        stalls_per_mille: u32,
    ) -> Arc<Self> {
        let state =
            State { boot: 1, dice, stalls_per_mille, shims: BTreeMap::new(), orphans: BTreeMap::new() };
        let clock = time.clock();
        Arc::new(Self { node, time, clock, judge, terms, broken, state: Mutex::new(state) })
    }

    pub(crate) fn time(&self) -> &Arc<HostTime> {
        &self.time
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// How many keepers live, and children without one.
    pub(crate) fn left(&self) -> usize {
        let state = self.state();
        state.shims.len() + state.orphans.len()
    }

    /// Kills a keeper: its agent dies with it, the agent's child does not.
    pub(crate) fn crash_one(&self, choice: usize) -> bool {
        let mut state = self.state();
        let Some(run) = state.shims.keys().nth(choice % state.shims.len().max(1)).copied() else {
            return false;
        };
        let Some(shim) = state.shims.remove(&run) else { return false };
        self.judge.note(&format!("shim of run {run} crashes"));
        self.judge.state().strike(run);
        if shim.agent.as_ref().is_some_and(|living| living.agent.has_child) {
            state.orphans.insert(shim.assignment.marker(), run);
            self.judge.saw("fault shim crash leaves a child");
        }
        self.judge.state().exit(run);
        shim.gone.send_replace(true);
        true
    }

    /// The host goes down with all that lives on it.
    pub(crate) fn crash(&self) {
        let mut state = self.state();
        let shims = std::mem::take(&mut state.shims);
        state.orphans.clear();
        for (run, shim) in shims {
            let mut judge = self.judge.state();
            judge.strike(run);
            judge.exit(run);
            drop(judge);
            shim.gone.send_replace(true);
        }
    }

    /// The host comes up again.
    pub(crate) fn boot(&self) {
        self.time.boot();
        self.state().boot += 1;
    }

    /// The lease's end as a keeper is told it; only broken variants tell it another.
    fn deadline(&self, deadline_ms: i64) -> i64 {
        match self.broken {
            Some(Broken::LeaseFromReceipt) => self.clock.boot_ms() + self.terms.node_lease_ms,
            Some(Broken::NodeLeaseTooLong) => deadline_ms + 2 * self.terms.scheduler_lease_ms,
            Some(_) | None => deadline_ms,
        }
    }

    /// For a broken variant: kills every keeper and agent.
    pub(crate) fn kill_all(&self) {
        let shims = std::mem::take(&mut self.state().shims);
        for (run, shim) in shims {
            self.judge.state().exit(run);
            shim.gone.send_replace(true);
        }
    }

    /// For a broken variant: an agent without a keeper, a journal or a Start.
    pub(crate) fn spawn_stray(&self, job: domain::JobId, run: RunId) {
        self.judge.state().spawn(self.node, job, run, true);
    }

    /// For a broken variant: spawns what the journal in `runs` meant to spawn and nobody keeps.
    pub(crate) fn respawn(&self, runs: &Path) {
        for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
            let dir = RunDir::at(entry.path());
            let (Ok(Some(assignment)), Ok(Some(_)), Ok(None)) =
                (dir.assignment(), dir.intent(), dir.outcome())
            else {
                continue;
            };
            if !self.state().shims.contains_key(&assignment.run) {
                self.spawn_stray(assignment.job, assignment.run);
            }
        }
    }

    /// Lets every keeper do what is due.
    pub(crate) fn turn(&self) {
        let mut state = self.state();
        if state.shims.is_empty() {
            return;
        }
        let (now_ms, wall_ms) = (self.clock.boot_ms(), self.clock.now_ms());
        let over: Vec<(RunId, Outcome)> = state
            .shims
            .iter_mut()
            .filter_map(|(run, shim)| Some((*run, self.turn_one(*run, shim, now_ms, wall_ms)?)))
            .collect();
        for (run, outcome) in over {
            let Some(shim) = state.shims.remove(&run) else { continue };
            self.judge.state().record(run, &outcome);
            if let Err(error) = shim.dir.write_outcome(&outcome) {
                self.judge.note(&format!("could not record run {run}: {error}"));
            }
            let gone = shim.gone.clone();
            drop(shim);
            gone.send_replace(true);
        }
    }

    /// The outcome, once the keeper is done.
    fn turn_one(&self, run: RunId, shim: &mut Shim, now_ms: i64, wall_ms: i64) -> Option<Outcome> {
        let Some(living) = &mut shim.agent else {
            if now_ms < shim.spawns_at_ms {
                return None;
            }
            let in_lease = now_ms < shim.seen.lease_deadline_ms;
            if !in_lease && !self.is(Broken::LateSpawn) {
                self.judge.saw("lease over before the spawn");
                return Some(outcome(EndedBy::SelfFenced, None, None, wall_ms));
            }
            let told = self.judge.state().told(shim.assignment.job).map(str::to_owned);
            let told = told.unwrap_or_else(|| shim.assignment.prompt.clone());
            let of = agents::of_prompt(&told, shim.assignment.epoch.0);
            self.judge.saw(&format!("agent {}", of.kind.as_str()));
            self.judge.state().spawn(self.node, shim.assignment.job, run, in_lease);
            let deadline_ms = shim.seen.lease_deadline_ms;
            shim.seen = Seen {
                lease_deadline_ms: deadline_ms,
                wish: shim.seen.wish,
                ..Seen::spawned(&shim.intent, now_ms)
            };
            shim.agent = Some(Living {
                agent: Agent::spawned(of, now_ms),
                spawned_at: Timestamp::from_ms(wall_ms),
                reader: Reader::new(),
                writer: Writer::new(
                    shim.dir.spool(),
                    shim.intent.spool_head_bytes,
                    shim.intent.spool_tail_bytes,
                ),
                ending: None,
            });
            return None;
        };
        let mut printed = Vec::new();
        let exit = living.agent.turn(now_ms, wall_ms, &mut printed);
        if !printed.is_empty() {
            living.writer.append(&printed);
            living.reader.push(&printed);
            shim.seen.output_ms = now_ms;
            shim.seen.result_ms = living.reader.result_seen().then(|| shim.seen.result_ms.unwrap_or(now_ms));
        }
        if let Some(exit) = exit {
            return Some(self.finish(run, shim, exit, wall_ms));
        }
        self.decide(shim, now_ms);
        None
    }

    /// As the real keeper's `decide`.
    fn decide(&self, shim: &mut Shim, now_ms: i64) {
        let Some(living) = &mut shim.agent else { return };
        if living.ending.is_none() {
            let limits = Limits::of(&shim.assignment, &shim.intent);
            let mut seen = shim.seen;
            if self.is(Broken::NoDeadManTimer) {
                seen.lease_deadline_ms = i64::MAX;
            }
            if let Some(by) = watchdog::verdict(limits, seen, now_ms) {
                let since_ms =
                    if by == EndedBy::SelfFenced { now_ms.min(seen.lease_deadline_ms) } else { now_ms };
                living.agent.terminate(now_ms);
                living.ending = Some((by, since_ms + shim.intent.kill_grace_ms));
            }
        }
        if living.ending.as_ref().is_some_and(|(_, kill_ms)| now_ms >= *kill_ms) {
            if living.agent.kind == agents::Kind::Deaf {
                self.judge.saw("killed after its grace");
            }
            living.agent.kill();
        }
    }

    /// Everything that is left dies before the end is recorded.
    fn finish(&self, run: RunId, shim: &mut Shim, exit: Exit, wall_ms: i64) -> Outcome {
        let Some(mut living) = shim.agent.take() else {
            return outcome(EndedBy::SelfFenced, None, None, wall_ms);
        };
        self.judge.state().exit(run);
        living.reader.finish();
        let by = living.ending.map_or(EndedBy::Agent, |(by, _)| by);
        Outcome {
            report: living.reader.into_report(),
            log_bytes: living.writer.offset(),
            ..outcome(by, Some(exit), Some(living.spawned_at), wall_ms)
        }
    }
}

fn outcome(by: EndedBy, exit: Option<Exit>, spawned_at: Option<Timestamp>, wall_ms: i64) -> Outcome {
    Outcome {
        ended_by: by,
        exit,
        report: domain::outcome::AgentReport::default(),
        tail: String::new(),
        log_bytes: 0,
        spawned_at,
        ended_at: Timestamp::from_ms(wall_ms),
        steps: Vec::new(),
    }
}
