//! Which due jobs start now, on which runner, and why the others wait.
//!
//! The store gathers the facts inside the claim's transaction, counting live runs rather than keeping counters;
//! this module decides. Order: priority, then fair between projects (fewest live runs first), then age.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Account, Incarnation, JobId, NodeId, Timestamp};

/// A due job, as the claim reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub job: JobId,
    /// Its project.
    pub project: String,
    /// Its work item's key.
    pub work_item: String,
    /// Its stage.
    pub stage: String,
    /// Higher goes first.
    pub priority: i32,
    /// Since when it is due.
    pub available_at: Timestamp,
}

/// What limits starts, as of the claim's transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether an operator paused all starts.
    pub paused: bool,
    /// How many runs may live at once, fleet-wide.
    pub concurrency_max: u32,
    /// The projects that may start jobs, by name; a job of any other waits.
    pub projects: BTreeMap<String, ProjectLimits>,
    /// The stages of the pipeline by name, each with what keeps it from starting, if anything.
    pub stages: BTreeMap<String, Option<WaitReason>>,
    /// The nodes that registered, whatever their state.
    pub nodes: Vec<NodeFacts>,
    /// Every live run.
    pub live: Vec<LiveFacts>,
}

/// What a project allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectLimits {
    /// Live runs at once; `None`: only the fleet's limit.
    pub concurrency_max: Option<u32>,
    /// What may not run side by side.
    pub serial: Serial,
}

/// What of a project may not run side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serial {
    /// Everything may.
    None,
    /// One job per work item.
    #[default]
    WorkItem,
    /// One job in all.
    Project,
}

/// A node, and what keeps it from work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its id.
    pub node: NodeId,
    /// Its incarnation, as registered.
    pub incarnation: Incarnation,
    /// The account its agents use.
    pub account: Account,
    /// How many agents it runs at once.
    pub slots: u32,
    /// Why it takes no work now; `None`: it does.
    pub blocked: Option<WaitReason>,
    /// Until when that holds, if known.
    pub blocked_until: Option<Timestamp>,
}

/// A live run, as far as limits are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFacts {
    /// Its job.
    pub job: JobId,
    /// The job's project.
    pub project: String,
    /// The job's work item.
    pub work_item: String,
    /// The node it was offered to.
    pub node: NodeId,
}

/// Why a job waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum WaitReason {
    /// It is put off to a later time.
    NotDue,
    /// An operator paused all starts.
    Paused,
    /// Its project is not in `orch.toml`.
    UnknownProject,
    /// Its stage is not in `orch.toml`.
    UnknownStage {
        /// The stage.
        stage: String,
    },
    /// Its prompt could not be made.
    Prompt {
        /// What is wrong and what to do.
        error: String,
    },
    /// As many runs live as the fleet may have.
    ConcurrencyLimit {
        /// `ORCH_MAX_CONCURRENCY`.
        max: u32,
    },
    /// As many runs live as the project may have.
    ProjectLimit {
        /// `max_concurrency` of the project.
        max: u32,
    },
    /// Another job of the same work item, or project, is running.
    Serial {
        /// That job.
        behind: JobId,
    },
    /// No runner has registered.
    NoRunner,
    /// Every slot of every runner is taken.
    NoSlot,
    /// The runner is silent.
    Unreachable,
    /// The runner is draining.
    Draining,
    /// The runner's agent binary does not answer.
    Preflight {
        /// What is wrong and what to do.
        error: String,
    },
    /// The runner refused an offer a moment ago and rests.
    Resting,
    /// The account is held.
    AccountHeld {
        /// The account.
        account: Account,
        /// `auth`, `billing`, `usage_limit`.
        reason: String,
    },
    /// The scheduler watches a whole lease before it acts, after a start.
    NotLooked,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDue => write!(f, "put off to a later time"),
            Self::Paused => write!(f, "paused by an operator: `orch resume` goes on"),
            Self::UnknownProject => write!(f, "its project is not in orch.toml: add it, or cancel the job"),
            Self::UnknownStage { stage } => {
                write!(f, "its stage {stage} is not in orch.toml: add it, or cancel the job")
            }
            Self::Prompt { error } => write!(f, "its prompt could not be made: {error}"),
            Self::ConcurrencyLimit { max } => {
                write!(f, "{max} runs live, as many as ORCH_MAX_CONCURRENCY allows")
            }
            Self::ProjectLimit { max } => {
                write!(f, "{max} runs of its project live, as many as its max_concurrency allows")
            }
            Self::Serial { behind } => write!(f, "waits for job {behind}: one at a time (serial)"),
            Self::NoRunner => write!(f, "no runner has registered: start orch-runner"),
            Self::NoSlot => write!(f, "every slot of every runner is taken"),
            Self::Unreachable => write!(f, "no runner answers"),
            Self::Draining => write!(f, "the runners are draining"),
            Self::Preflight { error } => write!(f, "no runner can start an agent: {error}"),
            Self::Resting => write!(f, "the runner refused work a moment ago and rests"),
            Self::AccountHeld { account, reason } => match reason.as_str() {
                "usage_limit" => write!(f, "account {account} is at its usage limit"),
                _ => write!(
                    f,
                    "account {account} is held ({reason}): mend it, then `orch account resume {account}`"
                ),
            },
            Self::NotLooked => write!(f, "due; the scheduler has not looked at it yet"),
        }
    }
}

/// A reason with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Why.
    pub reason: WaitReason,
    /// Until when, if known.
    pub until: Option<Timestamp>,
}

/// What admission decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Jobs that start, in order, each with the index of its node in [`Facts::nodes`].
    pub starts: Vec<(JobId, usize)>,
    /// Jobs that wait, each with why.
    pub waits: Vec<(JobId, Waiting)>,
}

/// An account on which no work starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountHold {
    /// The account.
    pub account: Account,
    /// The reason's word: `auth`, `billing`, `usage_limit`.
    pub reason: String,
    /// Until then; `None`: until a person resumes it.
    pub until: Option<Timestamp>,
}

impl Facts {
    /// Blocks every open node whose account is held at `now`.
    pub fn block_held_accounts(&mut self, holds: &[AccountHold], now: Timestamp) {
        let in_force = |hold: &&AccountHold| hold.until.is_none_or(|until| until > now);
        for node in self.nodes.iter_mut().filter(|node| node.blocked.is_none()) {
            if let Some(hold) = holds.iter().filter(in_force).find(|hold| hold.account == node.account) {
                let (account, reason) = (hold.account.clone(), hold.reason.clone());
                node.blocked = Some(WaitReason::AccountHeld { account, reason });
                node.blocked_until = hold.until;
            }
        }
    }
}

/// Decides which of `candidates` start.
pub fn admit(candidates: Vec<Candidate>, facts: &Facts) -> Admission {
    let mut room = Room::new(facts);
    let mut queues: BTreeMap<String, VecDeque<Candidate>> = BTreeMap::new();
    let mut sorted = candidates;
    sorted.sort_by_key(|c| (-i64::from(c.priority), c.available_at, c.job));
    for candidate in sorted {
        queues.entry(candidate.project.clone()).or_default().push_back(candidate);
    }
    let mut admission = Admission::default();
    while let Some(candidate) = pop_next(&mut queues, &room) {
        match room.place(&candidate) {
            Ok(node) => admission.starts.push((candidate.job, node)),
            Err(waiting) => admission.waits.push((candidate.job, waiting)),
        }
    }
    admission
}

/// Takes the head with the highest priority, of the project with the fewest live runs, the oldest first.
fn pop_next(queues: &mut BTreeMap<String, VecDeque<Candidate>>, room: &Room<'_>) -> Option<Candidate> {
    let project = queues
        .iter()
        .filter_map(|(project, queue)| queue.front().map(|head| (project, head)))
        .min_by_key(|(project, head)| {
            (-i64::from(head.priority), room.live_of(project), head.available_at, head.job)
        })
        .map(|(project, _)| project.clone())?;
    queues.get_mut(&project).and_then(VecDeque::pop_front)
}

/// What is still free while starts are handed out.
struct Room<'a> {
    facts: &'a Facts,
    live_total: usize,
    live_by_project: BTreeMap<&'a str, u32>,
    live_by_node: BTreeMap<&'a NodeId, u32>,
    running: BTreeMap<(String, String), JobId>,
}

impl<'a> Room<'a> {
    fn new(facts: &'a Facts) -> Self {
        let mut room = Self {
            facts,
            live_total: facts.live.len(),
            live_by_project: BTreeMap::new(),
            live_by_node: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        for run in &facts.live {
            *room.live_by_project.entry(&run.project).or_default() += 1;
            *room.live_by_node.entry(&run.node).or_default() += 1;
            room.running.insert((run.project.clone(), run.work_item.clone()), run.job);
        }
        room
    }

    fn live_of(&self, project: &str) -> u32 {
        self.live_by_project.get(project).copied().unwrap_or(0)
    }

    fn place(&mut self, candidate: &Candidate) -> Result<usize, Waiting> {
        let (project, limits) = self.check_limits(candidate)?;
        self.check_serial(candidate, limits.serial)?;
        let node = self.pick_node()?;
        self.live_total += 1;
        *self.live_by_project.entry(project).or_default() += 1;
        *self.live_by_node.entry(&self.facts.nodes[node].node).or_default() += 1;
        self.running.insert((candidate.project.clone(), candidate.work_item.clone()), candidate.job);
        Ok(node)
    }

    fn check_limits(&self, candidate: &Candidate) -> Result<(&'a str, &'a ProjectLimits), Waiting> {
        let facts = self.facts;
        if facts.paused {
            return Err(WaitReason::Paused.open_ended());
        }
        let Some((project, limits)) = facts.projects.get_key_value(&candidate.project) else {
            return Err(WaitReason::UnknownProject.open_ended());
        };
        match facts.stages.get(&candidate.stage) {
            Some(None) => {}
            Some(Some(reason)) => return Err(reason.clone().open_ended()),
            None => return Err(WaitReason::UnknownStage { stage: candidate.stage.clone() }.open_ended()),
        }
        if let Some(max) = limits.concurrency_max
            && self.live_of(project) >= max
        {
            return Err(WaitReason::ProjectLimit { max }.open_ended());
        }
        if self.live_total >= facts.concurrency_max as usize {
            return Err(WaitReason::ConcurrencyLimit { max: facts.concurrency_max }.open_ended());
        }
        Ok((project, limits))
    }

    fn check_serial(&self, candidate: &Candidate, serial: Serial) -> Result<(), Waiting> {
        let behind = match serial {
            Serial::None => None,
            Serial::WorkItem => {
                self.running.get(&(candidate.project.clone(), candidate.work_item.clone())).copied()
            }
            Serial::Project => self
                .running
                .iter()
                .find(|((project, _), _)| *project == candidate.project)
                .map(|(_, job)| *job),
        };
        behind.map_or(Ok(()), |behind| Err(WaitReason::Serial { behind }.open_ended()))
    }

    /// The open node with the most free slots; else the reason that keeps the node nearest to taking work.
    fn pick_node(&self) -> Result<usize, Waiting> {
        let free = |node: &NodeFacts| {
            node.slots.saturating_sub(self.live_by_node.get(&node.node).copied().unwrap_or(0))
        };
        let open = self.facts.nodes.iter().enumerate().filter(|(_, node)| node.blocked.is_none());
        if let Some((index, _)) = open
            .clone()
            .filter(|(_, node)| free(node) > 0)
            .max_by_key(|(index, node)| (free(node), usize::MAX - index))
        {
            return Ok(index);
        }
        if open.clone().next().is_some() {
            return Err(WaitReason::NoSlot.open_ended());
        }
        let blocked = self.facts.nodes.iter().filter_map(|node| {
            let reason = node.blocked.clone()?;
            Some(Waiting { reason, until: node.blocked_until })
        });
        Err(blocked.min_by_key(|w| w.reason.nearness()).unwrap_or_else(|| WaitReason::NoRunner.open_ended()))
    }
}

impl WaitReason {
    /// The reason without a known end.
    pub const fn open_ended(self) -> Waiting {
        Waiting { reason: self, until: None }
    }

    /// Of several blocked nodes, the reason that is likeliest to end first is the one worth showing.
    const fn nearness(&self) -> u8 {
        match self {
            Self::Resting => 0,
            Self::Preflight { .. } => 1,
            Self::AccountHeld { .. } => 2,
            Self::Draining => 3,
            Self::Unreachable => 4,
            Self::NotDue
            | Self::Paused
            | Self::UnknownProject
            | Self::UnknownStage { .. }
            | Self::Prompt { .. }
            | Self::ConcurrencyLimit { .. }
            | Self::ProjectLimit { .. }
            | Self::Serial { .. }
            | Self::NoRunner
            | Self::NoSlot
            | Self::NotLooked => 5,
        }
    }
}

#[cfg(test)]
mod tests;
