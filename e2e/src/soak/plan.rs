//! Which faults come when: drawn from a seed before anything runs, so that the same seed is the same plan.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Direction, Service};
use crate::scenario::Terms;

/// Between the beginnings of two faults, in milliseconds.
const GAP_MS: std::ops::Range<u64> = 300..2500;
/// How long a part is left alone after a fault, in milliseconds.
const REST_MS: u64 = 1500;
/// From the SIGTERM of one part of a rolling restart to its start, and from there to the next part's SIGTERM.
const ROLL_MS: u64 = 1000;
/// From the word to drain a runner to its restart.
const DRAIN_MS: u64 = 6000;

/// One thing that is done to the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// SIGKILL.
    Kill(Service),
    /// SIGTERM.
    Terminate(Service),
    /// Starts what was killed or terminated.
    Start(Service),
    /// SIGSTOP.
    Stop(Service),
    /// SIGCONT.
    Continue(Service),
    /// SIGKILL to one of a host's shims, by a number that chooses among those there are.
    KillShim(usize, usize),
    /// SIGSTOP to one.
    StopShim(usize, usize),
    /// SIGCONT to the one.
    ContinueShim(usize),
    /// The host's link loses packets.
    Cut(usize, Direction),
    /// And loses them no more.
    Heal(usize),
    /// The host loses its power.
    PowerOff(usize),
    /// And has it again.
    PowerOn(usize, Memory),
    /// `orch drain`.
    Drain(usize),
    /// SIGKILL to all of the database server's processes.
    KillDatabase,
    /// Starts it again.
    StartDatabase,
}

impl Act {
    /// The host that it is done to, if to one.
    pub(super) fn host(self) -> Option<usize> {
        match self {
            Self::Kill(part)
            | Self::Terminate(part)
            | Self::Start(part)
            | Self::Stop(part)
            | Self::Continue(part) => match part {
                Service::Runner(host) => Some(host),
                Service::Scheduler
                | Service::OtherScheduler(_)
                | Service::Ingest
                | Service::OtherIngest(_)
                | Service::Console => None,
            },
            Self::KillDatabase | Self::StartDatabase => None,
            Self::KillShim(host, _)
            | Self::StopShim(host, _)
            | Self::ContinueShim(host)
            | Self::Cut(host, _)
            | Self::Heal(host)
            | Self::PowerOff(host)
            | Self::PowerOn(host, _)
            | Self::Drain(host) => Some(host),
        }
    }
}

/// What of a host's past its runner can see after its power is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// The journal, under another boot id: a host that booted again.
    NewBoot,
    /// The journal, under the same boot id: a container made anew on its volume.
    SameBoot,
    /// Nothing but the node's identity.
    EmptyJournal,
}

/// An act and its time from the plan's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) act: Act,
    /// The name of the fault that begins with it; none when it is the end of one.
    pub(super) fault: Option<String>,
}

/// What only one fault at a time may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Part(Service),
    Link(usize),
    Shims(usize),
    Database,
}

/// What there is to do something to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fleet {
    /// Runners, each on a host of its own.
    pub(super) hosts: usize,
    pub(super) schedulers: usize,
    pub(super) ingests: usize,
    /// A database server of its own.
    pub(super) server: bool,
}

/// How often each kind comes, relative to the others.
const KINDS: [(Kind, u32); 13] = [
    (Kind::Kill(Whom::Scheduler), 5),
    (Kind::Kill(Whom::Runner), 5),
    (Kind::Kill(Whom::Ingest), 3),
    (Kind::Kill(Whom::Console), 1),
    (Kind::Stop(Whom::Scheduler), 2),
    (Kind::Stop(Whom::Runner), 3),
    (Kind::Stop(Whom::Ingest), 1),
    (Kind::KillShim, 4),
    (Kind::StopShim, 3),
    (Kind::Cut, 8),
    (Kind::Power, 3),
    (Kind::Drain, 1),
    (Kind::Roll, 1),
];

/// And where there is a database server.
const KIND_OF_SERVERS: (Kind, u32) = (Kind::KillDatabase, 3);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Kill(Whom),
    Stop(Whom),
    KillShim,
    StopShim,
    Cut,
    Power,
    Drain,
    Roll,
    KillDatabase,
}

#[derive(Debug, Clone, Copy)]
enum Whom {
    Scheduler,
    Runner,
    Ingest,
    Console,
}

/// The plan of `length` for such a fleet, the steps in order of time. All faults end before it does.
pub(super) fn plan(seed: u64, length: Duration, fleet: Fleet, terms: Terms) -> Vec<Step> {
    let mut draw =
        Draw { rng: StdRng::seed_from_u64(seed), fleet, terms, busy: BTreeMap::new(), steps: Vec::new() };
    let kinds: Vec<(Kind, u32)> = KINDS.into_iter().chain(fleet.server.then_some(KIND_OF_SERVERS)).collect();
    let end_ms = millis(length);
    let mut now_ms = REST_MS;
    loop {
        now_ms += draw.rng.random_range(GAP_MS);
        if now_ms >= end_ms {
            break;
        }
        let kind =
            kinds.choose_weighted(&mut draw.rng, |(_, weight)| *weight).map_or(Kind::Roll, |(kind, _)| *kind);
        draw.fault(kind, now_ms, end_ms);
    }
    draw.steps.sort_by_key(|step| step.at);
    draw.steps
}

struct Draw {
    rng: StdRng,
    fleet: Fleet,
    terms: Terms,
    /// Until when each place is taken.
    busy: BTreeMap<Place, u64>,
    steps: Vec<Step>,
}

impl Draw {
    /// Adds a fault of that kind, if its places are free and it ends in time.
    fn fault(&mut self, kind: Kind, at_ms: u64, end_ms: u64) {
        let host = self.rng.random_range(0..self.fleet.hosts);
        let (scheduler, ingest) =
            (one_of(self.fleet.schedulers, &mut self.rng), one_of(self.fleet.ingests, &mut self.rng));
        let part = |whom| match (whom, scheduler, ingest) {
            (Whom::Scheduler, 0, _) => Service::Scheduler,
            (Whom::Scheduler, number, _) => Service::OtherScheduler(number),
            (Whom::Runner, ..) => Service::Runner(host),
            (Whom::Ingest, _, 0) => Service::Ingest,
            (Whom::Ingest, _, number) => Service::OtherIngest(number),
            (Whom::Console, ..) => Service::Console,
        };
        let choice = self.rng.random_range(0..1000);
        let (places, name, acts) = match kind {
            Kind::Kill(whom) => {
                let (part, down_ms) = (part(whom), self.rng.random_range(0..3000));
                let acts = vec![(0, Act::Kill(part)), (down_ms, Act::Start(part))];
                (vec![Place::Part(part)], format!("kill {whom:?}"), acts)
            }
            Kind::Stop(whom) => {
                let (part, (length, stopped_ms)) = (part(whom), self.length());
                let acts = vec![(0, Act::Stop(part)), (stopped_ms, Act::Continue(part))];
                (vec![Place::Part(part)], format!("stop {whom:?}, {length}"), acts)
            }
            Kind::KillShim => {
                (vec![Place::Shims(host)], "kill a shim".to_owned(), vec![(0, Act::KillShim(host, choice))])
            }
            Kind::StopShim => {
                let (length, stopped_ms) = self.length();
                let acts = vec![(0, Act::StopShim(host, choice)), (stopped_ms, Act::ContinueShim(host))];
                (vec![Place::Shims(host)], format!("stop a shim, {length}"), acts)
            }
            Kind::Cut => {
                let direction = [Direction::Both, Direction::ToHost, Direction::FromHost][choice % 3];
                let (length, cut_ms) = self.length();
                let acts = vec![(0, Act::Cut(host, direction)), (cut_ms, Act::Heal(host))];
                (vec![Place::Link(host)], format!("cut {direction:?}, {length}"), acts)
            }
            Kind::Power => {
                let memory = [Memory::NewBoot, Memory::SameBoot, Memory::EmptyJournal][choice % 3];
                let off_ms = self.rng.random_range(500..6000);
                let acts = vec![(0, Act::PowerOff(host)), (off_ms, Act::PowerOn(host, memory))];
                let places = vec![Place::Part(Service::Runner(host)), Place::Link(host), Place::Shims(host)];
                (places, format!("power off, then {memory:?}"), acts)
            }
            Kind::Drain => {
                let runner = Service::Runner(host);
                let acts = vec![
                    (0, Act::Drain(host)),
                    (DRAIN_MS, Act::Terminate(runner)),
                    (DRAIN_MS + ROLL_MS, Act::Start(runner)),
                ];
                // A word that the scheduler got late would drain the next incarnation, for good.
                let places = vec![Place::Part(runner), Place::Part(Service::Scheduler)];
                (places, "drain".to_owned(), acts)
            }
            Kind::KillDatabase => {
                let down_ms = self.rng.random_range(0..3000);
                let acts = vec![(0, Act::KillDatabase), (down_ms, Act::StartDatabase)];
                // A service that begins while the database is away ends again, and nobody here would start it anew.
                let users = self.users();
                let places = users.into_iter().map(Place::Part).chain([Place::Database]).collect();
                (places, "kill the database server".to_owned(), acts)
            }
            Kind::Roll => {
                let mut parts = self.users();
                parts.extend((0..self.fleet.hosts).map(Service::Runner));
                let acts = parts.iter().zip((0..).step_by(2)).flat_map(|(part, turn)| {
                    [(turn * ROLL_MS, Act::Terminate(*part)), ((turn + 1) * ROLL_MS, Act::Start(*part))]
                });
                (
                    parts.iter().map(|part| Place::Part(*part)).collect(),
                    "rolling restart".to_owned(),
                    acts.collect(),
                )
            }
        };
        self.place(at_ms, end_ms, &places, name, acts);
    }

    /// The services that use the database.
    fn users(&self) -> Vec<Service> {
        [Service::Ingest, Service::Scheduler, Service::Console]
            .into_iter()
            .chain((1..self.fleet.schedulers).map(Service::OtherScheduler))
            .chain((1..self.fleet.ingests).map(Service::OtherIngest))
            .collect()
    }

    fn place(&mut self, at_ms: u64, end_ms: u64, places: &[Place], name: String, acts: Vec<(u64, Act)>) {
        let over_ms = at_ms + acts.last().map_or(0, |(after_ms, _)| *after_ms) + REST_MS;
        let taken = places.iter().any(|place| self.busy.get(place).is_some_and(|until| *until > at_ms));
        if taken || over_ms >= end_ms {
            return;
        }
        self.busy.extend(places.iter().map(|place| (*place, over_ms)));
        let mut fault = Some(name);
        for (after_ms, act) in acts {
            self.steps.push(Step { at: Duration::from_millis(at_ms + after_ms), act, fault: fault.take() });
        }
    }

    /// A time shorter than the runner's lease, between the two leases, or longer than both.
    fn length(&mut self) -> (&'static str, u64) {
        let (runner_ms, scheduler_ms) =
            (u64::from(self.terms.runner) * 1000, u64::from(self.terms.scheduler) * 1000);
        match self.rng.random_range(0..10) {
            0..6 => ("short", self.rng.random_range(300..runner_ms / 2)),
            6..8 => ("between the leases", self.rng.random_range(runner_ms..scheduler_ms)),
            _ => ("past both leases", self.rng.random_range(scheduler_ms + 2000..scheduler_ms * 2)),
        }
    }
}

/// One of several; of one nothing is drawn, so that a plan without others stays what it was.
fn one_of(count: usize, rng: &mut StdRng) -> usize {
    if count > 1 { rng.random_range(0..count) } else { 0 }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::{Act, Fleet, plan};
    use crate::harness::Service;
    use crate::scenario::SHORT;

    const LENGTH: Duration = Duration::from_mins(30);
    const HOSTS: Fleet = Fleet { hosts: 4, schedulers: 1, ingests: 1, server: false };
    const FLEET: Fleet = Fleet { schedulers: 3, ingests: 2, server: true, ..HOSTS };

    #[test]
    fn one_seed_is_one_plan_and_another_is_another() {
        let steps = plan(7, LENGTH, HOSTS, SHORT);
        assert!(steps.is_sorted_by_key(|step| step.at) && steps.last().is_some_and(|last| last.at < LENGTH));
        assert_eq!(plan(7, LENGTH, HOSTS, SHORT), steps);
        assert_ne!(plan(8, LENGTH, HOSTS, SHORT), steps);
    }

    #[test]
    fn every_kind_of_fault_comes_and_each_has_its_end_before_the_next_at_its_place() {
        let steps = plan(1, LENGTH, FLEET, SHORT);
        for part in [Service::Scheduler, Service::OtherScheduler(2), Service::OtherIngest(1)] {
            assert!(steps.iter().any(|step| step.act == Act::Kill(part)), "{part:?}");
        }
        let kinds: BTreeSet<&str> = steps.iter().filter_map(|step| step.fault.as_deref()).collect();
        assert!(kinds.len() > 25, "{kinds:?}");
        let mut open: BTreeMap<String, Act> = BTreeMap::new();
        for step in &steps {
            let (begins, place) = match step.act {
                Act::Kill(part) | Act::Terminate(part) | Act::Stop(part) => (true, format!("{part:?}")),
                Act::Start(part) | Act::Continue(part) => (false, format!("{part:?}")),
                Act::StopShim(host, _) => (true, format!("shims {host}")),
                Act::ContinueShim(host) => (false, format!("shims {host}")),
                Act::Cut(host, _) => (true, format!("link {host}")),
                Act::Heal(host) => (false, format!("link {host}")),
                Act::PowerOff(host) => (true, format!("Runner({host})")),
                Act::PowerOn(host, _) => (false, format!("Runner({host})")),
                Act::KillDatabase => (true, "database".to_owned()),
                Act::StartDatabase => (false, "database".to_owned()),
                Act::KillShim(..) | Act::Drain(_) => continue,
            };
            let was_open =
                if begins { open.insert(place, step.act).is_some() } else { open.remove(&place).is_none() };
            assert!(!was_open, "{step:?}");
        }
        assert!(open.is_empty(), "{open:?}");
    }
}
