//! One seed from beginning to end: hosts on a simulated network, faults at their times, and the judge's last look.

mod faults;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use domain::delivery::{About, NewJob, Payload};
use domain::job::Origin;
use domain::{Budgets, JobId, Timestamp};
use futures::FutureExt as _;
use store::Store;
use store::memory::Disk;

use crate::broken::Broken;
use crate::calls::Calls;
use crate::database::Pace;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::mover::Mover;
use crate::operator::{self, Orders};
use crate::processes::{OPERATOR, Parts, SCHEDULER, SECOND, port, runner, runner_name, scheduler, url};
use crate::scenario::{Action, LATENCY_MS, ORCH_TOML, PlannedJob, STEP_MS, Scenario};
use crate::shims::Machine;
use crate::time::{Elapsed, HostTime, START_MS};
use crate::trace::Coverage;

/// How long after the last fault everything must have come to rest, in milliseconds.
const REST_MS: i64 = 240_000;

/// How one seed went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A number that is the same whenever the same things happened at the same times.
    pub digest: u64,
    /// How many events that were.
    pub events: u64,
    /// How long it was in virtual time.
    pub elapsed: Duration,
    /// What did not hold, if anything.
    pub violation: Option<String>,
    /// What was seen, and how often.
    pub seen: Coverage,
    /// Every event, when they were kept.
    pub trace: Vec<String>,
}

/// Runs one seed. `folder` is for its files, which are removed again; best in memory.
pub fn run(seed: u64, broken: Option<Broken>, keep_trace: bool, folder: &Path) -> Report {
    let folder = folder.join(format!("seed-{seed}"));
    // What a process that was killed left would be taken for this one's.
    let _ = fs::remove_dir_all(&folder);
    let report = World::new(seed, broken, keep_trace, folder.clone()).run();
    let _ = fs::remove_dir_all(&folder);
    report
}

struct World {
    sim: turmoil::Sim<'static>,
    parts: Rc<Parts>,
    elapsed: Elapsed,
    calls: Arc<Calls>,
    orders: Arc<Orders>,
    ingest: Arc<dyn Store>,
    now_ms: i64,
    actions: VecDeque<(i64, Action)>,
    arrivals: VecDeque<PlannedJob>,
    jobs: Vec<JobId>,
    up: BTreeMap<String, bool>,
    /// Until when each runner stays down: an operator has said that it is lost.
    down_until_ms: Vec<i64>,
}

impl World {
    fn new(seed: u64, broken: Option<Broken>, keep_trace: bool, folder: PathBuf) -> Self {
        let scenario = Scenario::of(seed);
        let elapsed = Elapsed::default();
        let judge = Judge::new(elapsed.clone(), scenario.terms, keep_trace);
        let disk = Disk::default();
        let watching = judge.clone();
        disk.watch(move |commit| watching.state().commit(commit));
        let time = |at: usize| HostTime::new(elapsed.clone(), scenario.drift_ppm[at]);
        let machines: Vec<_> = (0..scenario.nodes)
            .map(|node| {
                let dice = Dice::of(seed, 100 + node as u64);
                let (time, stalls) = (time(node + 2), scenario.stalls_per_mille);
                Machine::new(node, time, judge.clone(), scenario.terms, broken, dice, stalls)
            })
            .collect();
        let listening = machines.iter().enumerate().map(|(node, machine)| (port(node), machine.clone()));
        let mover = Mover(disk.open("believer"));
        let calls = Calls::new(judge.clone(), broken, mover, listening.collect(), Dice::of(seed, 2));
        let mut actions: Vec<_> = scenario.actions.clone();
        actions.sort_by_key(|(at_ms, _)| *at_ms);
        let mut arrivals = scenario.jobs.clone();
        arrivals.sort_by_key(|job| job.at_ms);
        let parts = Rc::new(Parts {
            seed,
            folder,
            judge,
            pace: Pace::new(Dice::of(seed, 3)),
            broken,
            schedulers: [time(0), time(1)],
            follows: Mutex::new(vec![SCHEDULER.0; machines.len()]),
            starts: Mutex::new(0),
            machines,
            disk,
            scenario,
        });
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(Dice::of(seed, 4).seed())
            .tick_duration(Duration::from_millis(STEP_MS.unsigned_abs()))
            .simulation_duration(Duration::MAX)
            .epoch(UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs()))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(LATENCY_MS.unsigned_abs()))
            .tcp_capacity(1024);
        let nodes = parts.machines.len();
        let ingest = parts.disk.open("ingest");
        let around = calls.clone();
        service::sim::on_serve(move |addr, app| around.around(addr, app));
        let orders = Arc::new(Orders::default());
        Self {
            sim: builder.build(),
            parts,
            elapsed,
            calls,
            orders,
            ingest,
            now_ms: 0,
            actions: actions.into(),
            arrivals: arrivals.into(),
            jobs: Vec::new(),
            up: BTreeMap::new(),
            down_until_ms: vec![0; nodes],
        }
    }

    fn run(mut self) -> Report {
        self.populate();
        let deadline_ms = self.parts.scenario.healed_ms + REST_MS;
        let mut healed = false;
        loop {
            if self.now_ms >= self.parts.scenario.healed_ms && !healed {
                healed = true;
                self.heal();
            }
            self.act();
            if healed {
                self.start_anew(&self.orders.take_drained());
            }
            if let Err(error) = self.sim.step() {
                self.parts.judge.state().violate(format!("a process failed: {error}"));
            }
            self.now_ms += STEP_MS;
            self.elapsed.set(self.now_ms);
            for machine in &self.parts.machines {
                machine.turn();
            }
            let mut judge = self.parts.judge.state();
            judge.look();
            if judge.violation().is_some() {
                break;
            }
            if healed && self.now_ms % 200 == 0 {
                let left = judge.left().or_else(|| self.left());
                match left {
                    None => break,
                    Some(left) if self.now_ms >= deadline_ms => {
                        judge.violate(format!(
                            "not at rest {} s after the last fault: {left}",
                            REST_MS / 1000
                        ));
                        break;
                    }
                    Some(_) => {}
                }
            }
        }
        let judge = self.parts.judge.state();
        Report {
            seed: self.parts.seed,
            digest: judge.trace().digest(),
            events: judge.trace().count(),
            elapsed: Duration::from_millis(self.now_ms.unsigned_abs()),
            violation: judge.violation().map(str::to_owned),
            seen: judge.seen().clone(),
            trace: judge.trace().lines(),
        }
    }

    /// What is left on the hosts.
    fn left(&self) -> Option<String> {
        for (node, machine) in self.parts.machines.iter().enumerate() {
            if machine.left() > 0 {
                return Some(format!("runner {node} has {} keepers or orphans", machine.left()));
            }
            let runs = self.parts.state_dir(node).join("node-0/runs");
            if let Some(run) = fs::read_dir(runs).into_iter().flatten().flatten().next() {
                return Some(format!("runner {node} holds {}", run.file_name().to_string_lossy()));
            }
        }
        None
    }

    fn populate(&mut self) {
        let folder = &self.parts.folder;
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(folder.join("orch.toml"), ORCH_TOML))
            .and_then(|()| fs::write(folder.join("work.md"), "Work.\n"));
        if let Err(error) = written {
            self.parts.judge.state().violate(format!("could not write {}: {error}", folder.display()));
        }
        for (at, (name, port)) in [SCHEDULER, SECOND].into_iter().enumerate() {
            let parts = self.parts.clone();
            self.sim.host(name, move || scheduler(parts.clone(), at, name, port));
            self.up.insert(name.to_owned(), true);
        }
        self.stop(SECOND.0);
        for node in 0..self.parts.machines.len() {
            let parts = self.parts.clone();
            self.sim.host(runner_name(node), move || runner(parts.clone(), node));
            self.up.insert(runner_name(node), true);
        }
        let (orders, url) = (self.orders.clone(), url(SCHEDULER.0, SCHEDULER.1));
        self.sim.host(OPERATOR, move || operator::serve(orders.clone(), url.clone()));
    }

    /// Does everything that is due.
    fn act(&mut self) {
        while self.arrivals.front().is_some_and(|job| job.at_ms <= self.now_ms) {
            let Some(job) = self.arrivals.pop_front() else { return };
            self.arrive(&job);
        }
        while self.actions.front().is_some_and(|(at_ms, _)| *at_ms <= self.now_ms) {
            let Some((_, action)) = self.actions.pop_front() else { return };
            self.parts.judge.note(&format!("{action:?}"));
            if let Some(kind) = action.kind() {
                self.parts.judge.saw(&format!("fault {kind}"));
            }
            self.apply(action);
        }
    }

    fn arrive(&mut self, job: &PlannedJob) {
        let now = Timestamp::from_ms(START_MS + self.now_ms);
        let new = NewJob {
            project: job.project.to_owned(),
            work_item: job.work_item.clone(),
            stage: "work".to_owned(),
            role: "developer".to_owned(),
            priority: job.priority,
            available_at: now,
            semantic_key: None,
            payload: Payload { prompt: Some(job.prompt.clone()), ..Payload::default() },
            trace_context: None,
            origin: Origin::default(),
            about: About::default(),
            budgets: Budgets::default(),
        };
        match self.ingest.enqueue(new, now).now_or_never() {
            Some(Ok(enqueued)) => {
                self.parts.judge.state().tell(enqueued.job, &job.prompt);
                self.jobs.push(enqueued.job);
            }
            // The sender of a webhook tries again, too.
            Some(Err(_)) | None => {
                self.arrivals.push_back(PlannedJob { at_ms: self.now_ms + 500, ..job.clone() });
            }
        }
    }
}
