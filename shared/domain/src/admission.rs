//! Which due jobs start now, on which runner, and why the others wait.
//!
//! The store gathers the facts inside the claim's transaction, counting live runs rather than keeping counters;
//! this module decides. Order: priority, then fair between projects (fewest live runs first, then the one served
//! least recently), then age.

mod room;
mod wait;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{Account, Incarnation, JobId, NodeId, Timestamp};
use room::Room;
pub use wait::{WaitReason, Waiting};

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
    /// Whether its payload brings the prompt, so that it does not need its stage's template.
    pub own_prompt: bool,
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
    /// When a job of each project last started, as far as known; it only settles whose turn it is.
    ///
    /// Without it, of two projects without a live run the one with the older jobs would always go first.
    pub served_at: BTreeMap<String, Timestamp>,
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
    /// What keeps the jobs of a stage from starting; a broken template does not where the job brings its prompt.
    pub fn check_stage(&self, stage: &str, own_prompt: bool) -> Result<(), WaitReason> {
        match self.stages.get(stage) {
            None => Err(WaitReason::UnknownStage { stage: stage.to_owned() }),
            Some(None) => Ok(()),
            Some(Some(WaitReason::Prompt { .. })) if own_prompt => Ok(()),
            Some(Some(reason)) => Err(reason.clone()),
        }
    }

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
///
/// Called within a write transaction: n log n in the candidates.
pub fn admit(mut candidates: Vec<Candidate>, facts: &Facts) -> Admission {
    candidates.sort_unstable_by_key(|candidate| {
        (Reverse(candidate.priority), candidate.available_at, candidate.job)
    });
    let mut room = Room::new(facts);
    let mut queues: BTreeMap<&str, VecDeque<&Candidate>> = BTreeMap::new();
    for candidate in &candidates {
        queues.entry(&candidate.project).or_default().push_back(candidate);
    }
    let mut turns: BTreeSet<Turn<'_>> = queues
        .values()
        .filter_map(|queue| queue.front())
        .map(|head| Turn::new(head, facts, 0, &room))
        .collect();
    let mut admission = Admission::default();
    let mut started_of: BTreeMap<&str, u32> = BTreeMap::new();
    while let Some(turn) = turns.pop_first() {
        let Some(queue) = queues.get_mut(turn.project) else { continue };
        let Some(candidate) = queue.pop_front() else { continue };
        let started = started_of.entry(turn.project).or_default();
        match room.place(candidate) {
            Ok(node) => {
                *started += 1;
                admission.starts.push((candidate.job, node));
            }
            Err(waiting) => admission.waits.push((candidate.job, waiting)),
        }
        if let Some(head) = queue.front() {
            turns.insert(Turn::new(head, facts, *started, &room));
        }
    }
    admission
}

/// A project's place in the order, by its first candidate: priority; then fair between projects, which is fewest live
/// runs, then the one that was served least recently; then age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn<'a> {
    priority: Reverse<i32>,
    live: u32,
    started: u32,
    served_at: Option<Timestamp>,
    available_at: Timestamp,
    job: JobId,
    project: &'a str,
}

impl<'a> Turn<'a> {
    fn new(head: &'a Candidate, facts: &Facts, started: u32, room: &Room<'_>) -> Self {
        Self {
            priority: Reverse(head.priority),
            live: room.live_of(&head.project),
            started,
            served_at: facts.served_at.get(&head.project).copied(),
            available_at: head.available_at,
            job: head.job,
            project: &head.project,
        }
    }
}

#[cfg(test)]
mod tests;
