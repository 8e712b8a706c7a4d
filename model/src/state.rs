//! Everything there is at one moment: the database, the scheduler's memory, the nodes, what is under way.
//!
//! Time is counted in ticks and kept relative: what is left of a lease, how old a message is. A node's lease is one
//! tick, the scheduler's two, so an agent that is due to die is dead a whole tick before its job can move.

use domain::job::LiveRunState;
use domain::{RunState, Status};

use crate::actions::Message;

/// How many nodes there are.
pub const NODES: usize = 2;
/// The most runs, and so epochs, that are explored.
pub const RUNS_MAX: usize = 3;
/// The scheduler's lease, in ticks.
pub(crate) const LEASE_SCHEDULER: u8 = 2;
/// The node's lease, in ticks.
pub(crate) const LEASE_RUNNER: u8 = 1;

/// How much may happen.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often the job is claimed, at most [`RUNS_MAX`].
    pub runs: u8,
    /// How many Starts are sent over all runs, repeats included.
    pub starts: u8,
    /// How many renews are sent over all nodes.
    pub renews: u8,
    /// What may crash, each once.
    pub faults: Vec<Fault>,
}

/// A part that may crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The scheduler: its memory is gone, its database stays.
    Scheduler,
    /// A runner: shims and agents stay.
    Runner,
    /// A shim: its agent dies with it.
    Shim,
    /// A host: all but its disk is gone.
    Host,
}

/// Everything there is at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) job: JobRow,
    /// The database's runs; the index is the run's id.
    pub(crate) runs: [Option<RunRow>; RUNS_MAX],
    /// The newest incarnation of each node, as its row in the database says.
    pub(crate) node_rows: [u8; NODES],
    pub(crate) memory: Memory,
    pub(crate) nodes: [Node; NODES],
    /// What the node of each run has of it.
    pub(crate) places: [Place; RUNS_MAX],
    /// What was sent, sorted. A message stays after its arrival: it may come again, late, or never.
    pub(crate) mail: Vec<Message>,
    pub(crate) left: Left,
    pub(crate) witness: Witness,
}

/// The job's row, without what the protocol does not look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobRow {
    pub(crate) status: Status,
    pub(crate) run: Option<u8>,
    pub(crate) run_state: LiveRunState,
    pub(crate) epoch: u8,
}

/// A run's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RunRow {
    pub(crate) state: RunState,
    pub(crate) epoch: u8,
    pub(crate) node: u8,
    pub(crate) incarnation: u8,
    /// Its own report is committed, applied or not.
    pub(crate) reported: bool,
}

/// What the scheduler loses with a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    pub(crate) leases: [Option<Lease>; RUNS_MAX],
    pub(crate) sessions: [Option<Session>; NODES],
    /// Outcomes acknowledged and not committed, and Starts answered and not extended: broken variants alone.
    pub(crate) owed: Owed,
}

/// Sets of runs as bits.
pub(crate) type Bits = u8;

/// What a broken scheduler still has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Owed {
    pub(crate) commit: Option<(u8, Ending)>,
    pub(crate) extend: Bits,
}

/// A live run's lease as the scheduler counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) left: u8,
    /// The newest incarnation known to hold the run.
    pub(crate) incarnation: u8,
}

/// Who speaks for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) incarnation: u8,
    /// The newest renew taken.
    pub(crate) number: u8,
}

/// A node, apart from its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) incarnation: u8,
    /// The number of the newest renew sent.
    pub(crate) number: u8,
    /// What is left of the lease that the newest answered renew gave.
    pub(crate) lease: u8,
}

/// What a node has of one run: its folder, the runner's view, shim and agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) held: Held,
    /// The answer to Start, not acted on yet: what is left of its lease. In memory.
    pub(crate) granted: Option<u8>,
    /// Journaled: the run was meant to be spawned.
    pub(crate) intent: bool,
    pub(crate) fenced: bool,
    pub(crate) shim: Shim,
    /// What the shim has left of the lease.
    pub(crate) deadline: u8,
    /// Living agents. More than one is a violation in itself.
    pub(crate) agents: u8,
    /// On disk.
    pub(crate) outcome: Option<Ending>,
}

/// Where a run is, as its node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// Never heard of.
    #[default]
    Unknown,
    Offered,
    Started,
    Ended,
    Forgotten,
}

/// The shim of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Shim {
    #[default]
    None,
    Keeping,
    /// The agent has ended; the outcome is not on disk yet.
    Recording(Ending),
}

/// How a run ended, as its outcome says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ending {
    /// The agent succeeded.
    Success,
    /// Its shim ended it at the lease's end, or because it was fenced.
    SelfFenced,
    /// Its shim vanished.
    ShimLost,
}

/// What may still happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) starts: u8,
    pub(crate) renews: u8,
    pub(crate) faults: Vec<Fault>,
}

/// What was seen on the way and the state alone no longer shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Witness {
    /// The job was moved by the outcome of a run that did not own it, or by a second outcome.
    pub(crate) moved_by_stranger: bool,
    /// An agent was spawned without, before or after its committed lease.
    pub(crate) spawned_unleased: bool,
    /// An agent was spawned twice for one run.
    pub(crate) spawned_twice: bool,
    /// An outcome was deleted that was never committed.
    pub(crate) report_dropped: bool,
    pub(crate) epoch_not_raised: bool,
    /// Runs that had an agent, as bits.
    pub(crate) spawned: Bits,
}

impl State {
    pub(crate) fn first(limits: &Limits) -> Self {
        let node = Node { up: true, incarnation: 1, number: 0, lease: 0 };
        let session = Some(Session { incarnation: 1, number: 0 });
        Self {
            job: JobRow { status: Status::Queued, run: None, run_state: LiveRunState::Offered, epoch: 0 },
            runs: [None; RUNS_MAX],
            node_rows: [1; NODES],
            memory: Memory { sessions: [session; NODES], ..Memory::default() },
            nodes: [node; NODES],
            places: [Place::default(); RUNS_MAX],
            mail: Vec::new(),
            left: Left { starts: limits.starts, renews: limits.renews, faults: limits.faults.clone() },
            witness: Witness::default(),
        }
    }

    pub(crate) fn send(&mut self, message: Message) {
        if let Err(place) = self.mail.binary_search(&message) {
            self.mail.insert(place, message);
        }
    }

    /// The runs that were ever claimed.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = (usize, RunRow)> + use<> {
        self.runs.into_iter().enumerate().filter_map(|(run, row)| Some((run, row?)))
    }

    /// The runs of one node.
    pub(crate) fn runs_on(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        self.claimed().filter(move |(_, row)| usize::from(row.node) == node).map(|(run, _)| run)
    }

    /// The node of a claimed run.
    pub(crate) fn node_of(&self, run: usize) -> Option<usize> {
        self.runs[run].map(|row| usize::from(row.node))
    }

    /// What a node lists in Register and Renew, as bits.
    pub(crate) fn listed(&self, node: usize) -> Bits {
        self.runs_on(node).filter(|run| self.places[*run].is_held()).fold(0, |bits, run| bits | 1 << run)
    }

    /// Living agents of the job.
    pub(crate) fn agents(&self) -> u8 {
        self.places.iter().map(|place| place.agents).sum()
    }
}

impl Left {
    pub(crate) fn spend(&mut self, fault: Fault) {
        self.faults.retain(|left| *left != fault);
    }
}

impl Place {
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.held, Held::Offered | Held::Started | Held::Ended)
    }

    pub(crate) fn takes_slot(&self) -> bool {
        matches!(self.held, Held::Offered | Held::Started) && !self.fenced
    }
}

impl RunRow {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "a filter passes references")]
    pub(crate) fn is_live(&self) -> bool {
        self.state != RunState::Ended
    }
}
