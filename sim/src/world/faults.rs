//! What is done to the world: every fault and its end, what people order, and the moment from which on nothing is wrong.

use std::fs;
use std::sync::PoisonError;
use std::time::Duration;

use super::World;
use crate::broken::Broken;
use crate::operator;
use crate::processes::{PEERS, SCHEDULER, SECOND, port, runner_name, url};
use crate::scenario::{Action, Command, LATENCY_MS};

impl World {
    pub(super) fn apply(&mut self, action: Action) {
        match action {
            Action::Partition { node, on: true } => self.cut_off(node),
            Action::Partition { node, on: false }
            | Action::Deaf { node, on: false }
            | Action::Mute { node, on: false } => self.reach_again(node),
            Action::Deaf { node, on: true } => self.sim.partition_oneway(SCHEDULER.0, runner_name(node)),
            Action::Mute { node, on: true } => self.sim.partition_oneway(runner_name(node), SCHEDULER.0),
            Action::Hold { node, on: true } => self.sim.hold(runner_name(node), SCHEDULER.0),
            Action::Hold { node, on: false } => self.sim.release(runner_name(node), SCHEDULER.0),
            Action::Latency { ms } => {
                self.sim.set_max_message_latency(Duration::from_millis(ms.unsigned_abs()));
            }
            Action::Scheduler { up: false } => self.stop(SCHEDULER.0),
            Action::Scheduler { up: true } => self.start(SCHEDULER.0),
            Action::Runner { node, up: false } => self.stop_runner(node),
            Action::Runner { node, up: true } | Action::Host { node, up: true }
                if self.now_ms < self.down_until_ms[node] =>
            {
                let later_ms = self.down_until_ms[node];
                let at = self.actions.partition_point(|(at_ms, _)| *at_ms <= later_ms);
                self.actions.insert(at, (later_ms, action));
            }
            Action::Runner { node, up: true } => self.start(&runner_name(node)),
            Action::Host { node, up } => self.host(node, up),
            Action::CrashShim { node, choice } => {
                if self.parts.machines[node].crash_one(choice) {
                    self.parts.judge.saw("shim crashed");
                }
            }
            Action::Second { node, up } => self.second(node, up),
            Action::StepWall { node, by_ms } => match node {
                Some(node) => self.parts.machines[node].time().step_wall(by_ms),
                None => self.parts.schedulers[0].step_wall(by_ms),
            },
            Action::Busy { writes } => self.parts.disk.set_busy(writes),
            Action::Full { on } => self.parts.disk.set_full(on),
            Action::Slow { on } => self.parts.pace.set_slow(on),
            Action::Calls { on } => self.calls.meddle(on),
            Action::Replay { choice } => self.calls.replay(choice),
            Action::Operator(command) => self.order(command),
            Action::Restore => {
                // Nobody restores a database that somebody has open.
                self.stop(SECOND.0);
                self.stop(SCHEDULER.0);
                self.parts.pace.restore();
                self.parts.judge.state().restored();
                self.start(SCHEDULER.0);
            }
        }
    }

    fn cut_off(&self, node: usize) {
        for peer in PEERS {
            self.sim.partition(runner_name(node), peer);
        }
    }

    fn reach_again(&self, node: usize) {
        for peer in PEERS {
            self.sim.repair(runner_name(node), peer);
        }
    }

    fn order(&mut self, command: Command) {
        let job = |at: usize| self.jobs.get(at).copied();
        let order = match command {
            Command::Cancel { job: at } => job(at).map(operator::Order::Cancel),
            Command::Retry { job: at } => job(at).map(operator::Order::Retry),
            Command::ReadSlowly { job: at } => job(at).map(operator::Order::ReadSlowly),
            Command::Drain { node, now: true } => {
                Some(operator::Order::DrainNow(url(&runner_name(node), port(node))))
            }
            Command::Drain { node, now: false } => self.node_id(node).map(operator::Order::Drain),
            Command::Lose { node } => self.lose(node),
            Command::Pause { on } => Some(operator::Order::Pause(on)),
        };
        if let Some(order) = order {
            self.orders.give(order);
        }
    }

    /// An operator who says that a runner is lost knows it: it is down, and stays so until that was heard.
    fn lose(&mut self, node: usize) -> Option<operator::Order> {
        let until_ms = self.now_ms + 2 * i64::try_from(operator::WITHIN.as_millis()).unwrap_or(0);
        if self.up.get(&runner_name(node)) != Some(&false) || until_ms > self.parts.scenario.healed_ms {
            return None;
        }
        self.down_until_ms[node] = until_ms;
        self.node_id(node).map(operator::Order::Lose)
    }

    /// The id a node made itself at its first start.
    fn node_id(&self, node: usize) -> Option<String> {
        fs::read_to_string(self.parts.state_dir(node).join("node-0/node_id")).ok()
    }

    pub(super) fn stop(&mut self, name: &str) {
        if self.up.insert(name.to_owned(), false) == Some(true) {
            self.sim.crash(name);
            self.parts.disk.crash(name);
        }
    }

    fn start(&mut self, name: &str) {
        if self.up.insert(name.to_owned(), true) == Some(false) {
            self.sim.bounce(name);
        }
    }

    fn stop_runner(&mut self, node: usize) {
        self.stop(&runner_name(node));
        if self.parts.broken == Some(Broken::JournalNotDurable) {
            let runs = self.parts.state_dir(node).join("node-0/runs");
            for run in fs::read_dir(runs).into_iter().flatten().flatten() {
                // A run that was never meant to be spawned has none.
                let _ = fs::remove_file(run.path().join("intent.json"));
            }
        }
    }

    /// A host goes silently: nobody is told that its connections are over.
    fn host(&mut self, node: usize, up: bool) {
        if up {
            if self.up.get(&runner_name(node)) == Some(&false) {
                self.reach_again(node);
                self.parts.machines[node].boot();
                self.start(&runner_name(node));
            }
        } else {
            self.cut_off(node);
            self.stop_runner(node);
            self.parts.machines[node].crash();
        }
    }

    /// A second scheduler comes up, or goes, and takes a runner with it.
    fn second(&mut self, node: usize, up: bool) {
        if up {
            self.start(SECOND.0);
        } else {
            self.stop(SECOND.0);
        }
        let follows = if up { SECOND.0 } else { SCHEDULER.0 };
        self.parts.follows.lock().unwrap_or_else(PoisonError::into_inner)[node] = follows;
        if self.now_ms >= self.down_until_ms[node] {
            self.stop_runner(node);
            self.start(&runner_name(node));
        }
    }

    /// Starts the runners of these ids again.
    pub(super) fn start_anew(&mut self, ids: &[String]) {
        for node in 0..self.parts.machines.len() {
            if self.node_id(node).is_some_and(|id| ids.contains(&id)) {
                self.stop_runner(node);
                self.start(&runner_name(node));
            }
        }
    }

    /// From here on everything works, and people do what they are asked to.
    pub(super) fn heal(&mut self) {
        self.parts.judge.note("healed");
        self.parts.disk.set_full(false);
        self.parts.disk.set_busy(0);
        self.parts.pace.set_slow(false);
        self.calls.meddle(false);
        self.sim.set_max_message_latency(Duration::from_millis(LATENCY_MS.unsigned_abs()));
        self.stop(SECOND.0);
        self.start(SCHEDULER.0);
        self.parts.schedulers[0].set_right();
        for node in 0..self.parts.machines.len() {
            let name = runner_name(node);
            self.parts.machines[node].time().set_right();
            self.sim.release(name.as_str(), SCHEDULER.0);
            self.reach_again(node);
            self.parts.follows.lock().unwrap_or_else(PoisonError::into_inner)[node] = SCHEDULER.0;
            // One that was drained takes work again only when it is started anew.
            if self.parts.seed.is_multiple_of(3) || self.up.get(&name) == Some(&false) {
                self.stop_runner(node);
                self.start(&name);
            }
        }
        if self.parts.scenario.retries {
            for job in &self.jobs {
                self.orders.give(operator::Order::Retry(*job));
            }
        }
        self.orders.give(operator::Order::Pause(false));
        self.orders.give(operator::Order::KeepResuming);
    }
}
