//! What one seed is about: hosts, clocks, jobs with their agents, and the faults that come when.

use std::time::Duration;

use domain::Policy;
use domain::breaker::BreakerTerms;
use scheduler::{LeaseTerms, Neighbours};

use crate::agents::{self, Kind, Try};
use crate::dice::Dice;

/// A project without limits of its own.
pub(crate) const SHOP: &str = "shop";
/// A project with one run at a time.
pub(crate) const NARROW: &str = "narrow";
/// A project with one run per work item.
pub(crate) const SERIAL: &str = "serial";

/// The projects and stages every seed has.
pub(crate) const ORCH_TOML: &str = "[[project]]\nname = \"shop\"\nserial = \"none\"\n\
    [[project]]\nname = \"narrow\"\nmax_concurrency = 1\nserial = \"none\"\n\
    [[project]]\nname = \"serial\"\nserial = \"work_item\"\n\
    [[stage]]\nname = \"work\"\nrole = \"developer\"\nprompt = \"work.md\"\nmax_runtime = \"15s\"\n\
    idle_timeout = \"4s\"\n";

/// The times and limits of one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) node_lease_ms: i64,
    pub(crate) scheduler_lease_ms: i64,
    pub(crate) kill_grace_ms: i64,
    pub(crate) slots: usize,
    pub(crate) concurrency_max: usize,
}

impl Terms {
    pub(crate) fn leases(&self) -> LeaseTerms {
        let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        LeaseTerms {
            scheduler: ms(self.scheduler_lease_ms),
            runner: ms(self.node_lease_ms),
            renew: Duration::from_secs(1),
            unreachable: Duration::from_secs(3),
            kill_grace: ms(self.kill_grace_ms),
        }
    }

    pub(crate) fn policy() -> Policy {
        Policy {
            attempts_max: 3,
            transient_attempts_max: 3,
            infra_attempts_max: 2,
            breaker: BreakerTerms { threshold: 3, pause: Duration::from_secs(3) },
            backoff_base: Duration::from_millis(500),
            backoff_max: Duration::from_secs(3),
        }
    }

    /// How long after the scheduler last heard of a run its agent may still live: the node's lease by a slow clock,
    /// the grace, and two steps of the simulation.
    pub(crate) fn agent_gone_ms(&self) -> i64 {
        self.node_lease_ms + self.node_lease_ms / 100 + self.kill_grace_ms + 4 * STEP_MS
    }

    /// How long after a committed cancel an agent may still live: as above, and what it takes until a second
    /// scheduler has seen the flag.
    pub(crate) fn cancel_heeded_ms(&self) -> i64 {
        self.agent_gone_ms() + 12_000
    }
}

/// One step of the simulation, in milliseconds of virtual time.
pub(crate) const STEP_MS: i64 = 20;
/// Faults begin after this.
const CALM_MS: i64 = 500;
/// No fault lasts beyond this.
pub(crate) const HEALED_MS: i64 = 32_000;

/// A job, and what its agents do.
#[derive(Clone, Debug)]
pub(crate) struct PlannedJob {
    pub(crate) at_ms: i64,
    pub(crate) project: &'static str,
    pub(crate) work_item: String,
    pub(crate) priority: i32,
    pub(crate) prompt: String,
}

/// Something that is done to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing passes between a runner and the schedulers, or does again.
    Partition { node: usize, on: bool },
    /// Nothing passes from the scheduler to a runner.
    Deaf { node: usize, on: bool },
    /// Nothing passes from a runner to the scheduler.
    Mute { node: usize, on: bool },
    /// Messages of a link wait until it is let go.
    Hold { node: usize, on: bool },
    /// Every message takes up to this long.
    Latency { ms: i64 },
    /// The scheduler's process.
    Scheduler { up: bool },
    /// A runner's process; its keepers and agents live on.
    Runner { node: usize, up: bool },
    /// A runner's host.
    Host { node: usize, up: bool },
    /// One keeper dies.
    CrashShim { node: usize, choice: usize },
    /// A second scheduler on the same database, with a runner that speaks to it.
    Second { node: usize, up: bool },
    /// Somebody sets a wall clock; the scheduler's for `None`.
    StepWall { node: Option<usize>, by_ms: i64 },
    /// The next writes find the database locked.
    Busy { writes: u32 },
    /// The database's disk.
    Full { on: bool },
    /// The database takes its time.
    Slow { on: bool },
    /// Calls are lost, repeated and late.
    Calls { on: bool },
    /// A call of before arrives again.
    Replay { choice: usize },
    /// An operator's command.
    Operator(Command),
    /// The database says that it was restored.
    Restore,
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Cancel { job: usize },
    Retry { job: usize },
    Drain { node: usize, now: bool },
    Lose { node: usize },
    Pause { on: bool },
    ReadSlowly { job: usize },
}

impl Action {
    /// The kind of fault, for the count; none for what only ends one.
    pub(crate) fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Partition { on: true, .. } => Some("partition"),
            Self::Deaf { on: true, .. } => Some("one-way partition to a runner"),
            Self::Mute { on: true, .. } => Some("one-way partition from a runner"),
            Self::Hold { on: true, .. } => Some("held messages"),
            Self::Latency { ms } if *ms > LATENCY_MS => Some("slow network"),
            Self::Scheduler { up: false } => Some("scheduler crash"),
            Self::Runner { up: false, .. } => Some("runner crash"),
            Self::Host { up: false, .. } => Some("host crash"),
            Self::CrashShim { .. } => Some("shim crash"),
            Self::Second { up: true, .. } => Some("two schedulers"),
            Self::StepWall { .. } => Some("wall clock set"),
            Self::Busy { .. } => Some("database busy"),
            Self::Full { on: true } => Some("database full"),
            Self::Slow { on: true } => Some("database slow"),
            Self::Calls { on: true } => Some("calls lost, repeated, late"),
            Self::Replay { .. } => Some("ancient call"),
            Self::Restore => Some("new database generation"),
            Self::Operator(command) => match command {
                Command::Cancel { .. } => Some("cancel"),
                Command::Retry { .. } => Some("retry"),
                Command::Drain { now: false, .. } => Some("drain"),
                Command::Drain { now: true, .. } => Some("drain with a deadline"),
                Command::Lose { .. } => Some("runner declared lost"),
                Command::Pause { on: true } => Some("pause"),
                Command::ReadSlowly { .. } => Some("slow log reader"),
                Command::Pause { on: false } => None,
            },
            Self::Partition { .. }
            | Self::Deaf { .. }
            | Self::Mute { .. }
            | Self::Hold { .. }
            | Self::Latency { .. }
            | Self::Scheduler { .. }
            | Self::Runner { .. }
            | Self::Host { .. }
            | Self::Second { .. }
            | Self::Full { .. }
            | Self::Slow { .. }
            | Self::Calls { .. } => None,
        }
    }
}

/// The longest a message usually takes.
pub(crate) const LATENCY_MS: i64 = 30;

/// One seed's story.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) nodes: usize,
    pub(crate) accounts: usize,
    pub(crate) terms: Terms,
    /// Of the scheduler, the second one, and each runner.
    pub(crate) drift_ppm: Vec<i64>,
    pub(crate) stalls_per_mille: u32,
    /// Whether the schedulers keep in the database what they heard: where there are ever two.
    pub(crate) neighbours: Neighbours,
    /// Whether every job that did not succeed is tried again in the end.
    pub(crate) retries: bool,
    pub(crate) jobs: Vec<PlannedJob>,
    pub(crate) actions: Vec<(i64, Action)>,
    /// From here on nothing is wrong any more.
    pub(crate) healed_ms: i64,
}

impl Scenario {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed, 1);
        let masses = dice.happens(15);
        let nodes = if masses { 3 } else { dice.one_of(&[1, 2, 2, 2, 3]) };
        let terms = Terms {
            node_lease_ms: 8000,
            scheduler_lease_ms: 12_000,
            kill_grace_ms: 500,
            slots: if masses { 4 } else { dice.index(2) + 1 },
            concurrency_max: if masses { 12 } else { dice.index(4) + 1 },
        };
        let jobs = if masses { 12 } else { dice.index(3) + 1 };
        let mut jobs: Vec<PlannedJob> = (0..jobs).map(|at| planned_job(&mut dice, at, masses)).collect();
        if Dice::of(seed, 5).happens(10) {
            // The provider lets this one down until its patience is spent.
            let overloaded = Try { kind: Kind::Overloaded, life_ms: 100 };
            jobs.iter_mut().take(1).for_each(|job| job.prompt = agents::prompt(&[overloaded; 3]));
        }
        let mut story = Story { dice: &mut dice, nodes, jobs: jobs.len(), actions: Vec::new() };
        if masses {
            story.lose_everybody();
        } else {
            for _ in 0..=story.dice.index(5) {
                story.episode();
            }
        }
        let mut actions = story.actions;
        actions.sort_by_key(|(at_ms, _)| *at_ms);
        let last = actions.iter().map(|(at_ms, _)| *at_ms).chain(jobs.iter().map(|job| job.at_ms)).max();
        Self {
            nodes,
            accounts: dice.index(2) + 1,
            terms,
            drift_ppm: (0..nodes + 2).map(|_| dice.of_range(-4000..4001)).collect(),
            neighbours: neighbours(&actions),
            stalls_per_mille: dice.one_of(&[0, 0, 50]),
            retries: dice.happens(150),
            jobs,
            actions,
            healed_ms: last.unwrap_or(0) + 200,
        }
    }
}

fn neighbours(actions: &[(i64, Action)]) -> Neighbours {
    let two = actions.iter().any(|(_, action)| matches!(action, Action::Second { .. }));
    if two { Neighbours::Perhaps } else { Neighbours::None }
}

fn planned_job(dice: &mut Dice, at: usize, masses: bool) -> PlannedJob {
    let kinds = Kind::ALL.map(|(kind, _)| kind);
    let mut one = |last: bool| {
        let drawn = dice.one_of(&kinds);
        let quiet = masses || dice.happens(if last { 600 } else { 300 });
        // Who is not let in stays out until a person does something: not to be the last word.
        let kind = if quiet || last && drawn == Kind::Unauthorized { Kind::Quiet } else { drawn };
        let long = masses || dice.happens(300);
        let life_ms = if long { dice.of_range(4000..14_000) } else { dice.of_range(50..4000) };
        Try { kind, life_ms }
    };
    let tries = [one(false), one(false), one(true)];
    let project = if masses { SHOP } else { dice.one_of(&[SHOP, SHOP, NARROW, SERIAL]) };
    PlannedJob {
        at_ms: if masses { 0 } else { dice.of_range(0..4000) },
        project,
        work_item: format!("item-{}", if project == SERIAL { 0 } else { at }),
        priority: i32::try_from(dice.index(2)).unwrap_or(0),
        prompt: agents::prompt(&tries),
    }
}

/// Writes the faults of one seed.
struct Story<'a> {
    dice: &'a mut Dice,
    nodes: usize,
    jobs: usize,
    actions: Vec<(i64, Action)>,
}

impl Story<'_> {
    /// Does something for a while.
    fn during(&mut self, longest_ms: i64, begin: Action, end: Action) {
        let at_ms = self.at();
        let until_ms = (at_ms + self.dice.of_range(200..longest_ms)).min(HEALED_MS);
        self.actions.push((at_ms, begin));
        self.actions.push((until_ms, end));
    }

    fn at(&mut self) -> i64 {
        self.dice.of_range(CALM_MS..14_000)
    }

    fn once(&mut self, action: Action) {
        let at_ms = self.at();
        self.actions.push((at_ms, action));
    }

    fn operator(&mut self, command: Command) {
        self.once(Action::Operator(command));
    }

    /// One kind of trouble.
    fn episode(&mut self) {
        const LONG_MS: i64 = 16_000;
        const SHORT_MS: i64 = 5000;
        let node = self.dice.index(self.nodes);
        let job = self.dice.index(self.jobs);
        let choice = self.dice.index(1 << 16);
        match self.dice.index(27) {
            0 | 1 => self.during(
                LONG_MS,
                Action::Partition { node, on: true },
                Action::Partition { node, on: false },
            ),
            2 => self.during(LONG_MS, Action::Deaf { node, on: true }, Action::Deaf { node, on: false }),
            3 => self.during(LONG_MS, Action::Mute { node, on: true }, Action::Mute { node, on: false }),
            4 => self.during(LONG_MS, Action::Hold { node, on: true }, Action::Hold { node, on: false }),
            5 => {
                let ms = self.dice.of_range(200..1500);
                self.during(SHORT_MS, Action::Latency { ms }, Action::Latency { ms: LATENCY_MS });
            }
            6 | 7 => {
                self.during(SHORT_MS, Action::Scheduler { up: false }, Action::Scheduler { up: true });
            }
            8 | 9 => {
                self.during(LONG_MS, Action::Runner { node, up: false }, Action::Runner { node, up: true });
            }
            10 => self.during(LONG_MS, Action::Host { node, up: false }, Action::Host { node, up: true }),
            11 => {
                self.during(SHORT_MS, Action::Scheduler { up: false }, Action::Scheduler { up: true });
                self.during(SHORT_MS, Action::Runner { node, up: false }, Action::Runner { node, up: true });
            }
            12 => self.once(Action::CrashShim { node, choice }),
            13 => {
                self.during(HEALED_MS, Action::Second { node, up: true }, Action::Second { node, up: false });
            }
            14 => {
                // Jobs are due by wall time: what a clock that is ahead puts off stays put off for so long.
                let by_ms = self.dice.of_range(-60_000..60_000);
                let node = self.dice.happens(500).then_some(node);
                self.once(Action::StepWall { node, by_ms });
            }
            15 => {
                let writes = u32::try_from(self.dice.of_range(1..20)).unwrap_or(1);
                self.once(Action::Busy { writes });
                self.during(SHORT_MS, Action::Full { on: true }, Action::Full { on: false });
            }
            16 => self.during(LONG_MS, Action::Slow { on: true }, Action::Slow { on: false }),
            17 | 18 => self.during(LONG_MS, Action::Calls { on: true }, Action::Calls { on: false }),
            19 => {
                for _ in 0..4 {
                    let choice = self.dice.index(1 << 16);
                    self.once(Action::Replay { choice });
                }
            }
            20 => {
                self.operator(Command::Cancel { job });
                if self.dice.happens(500) {
                    self.operator(Command::Retry { job });
                }
            }
            21 | 24 => self.drain_or_lose(node),
            25 | 26 => self.cancel_out_of_reach(node, job),
            22 => {
                self.operator(Command::Pause { on: true });
                self.operator(Command::ReadSlowly { job });
            }
            _ => {
                self.once(Action::Restore);
                self.operator(Command::Retry { job });
            }
        }
    }

    /// Somebody cancels what cannot be told.
    fn cancel_out_of_reach(&mut self, node: usize, job: usize) {
        let at_ms = self.at();
        let cut_ms = at_ms + self.dice.of_range(50..1500);
        let until_ms = cut_ms + self.dice.of_range(500..12_000);
        self.actions.push((at_ms, Action::Partition { node, on: true }));
        self.actions.push((cut_ms, Action::Operator(Command::Cancel { job })));
        self.actions.push((until_ms, Action::Partition { node, on: false }));
    }

    /// A drained runner is started anew; one that is declared lost is down, as the operator says.
    fn drain_or_lose(&mut self, node: usize) {
        if self.dice.happens(500) {
            let now = self.dice.happens(500);
            self.during(
                8000,
                Action::Operator(Command::Drain { node, now }),
                Action::Runner { node, up: false },
            );
        } else {
            let at_ms = self.at();
            self.actions.push((at_ms, Action::Host { node, up: false }));
            self.actions.push((at_ms + 300, Action::Operator(Command::Lose { node })));
            self.actions.push((at_ms + self.dice.of_range(11_000..16_000), Action::Host { node, up: true }));
        }
    }

    /// The scheduler is cut off from all runners for longer than a lease.
    fn lose_everybody(&mut self) {
        for node in 0..self.nodes {
            self.actions.push((6000, Action::Partition { node, on: true }));
            self.actions.push((6000 + 28_000, Action::Partition { node, on: false }));
        }
    }
}
