//! Which due jobs start now, on which runner, and why the others wait.
//!
//! The store gathers the facts inside the claim's transaction, counting live runs rather than keeping counters;
//! this module decides. Order: priority, then fair between projects (fewest live runs first, then the one served
//! least recently), then age.

mod accounts;
mod conditions;
mod room;
mod wait;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::breaker::Opening;
use crate::budget::{Amount, Payer, reserve::Books};
use crate::containment::Tier;
use crate::{Account, Incarnation, JobId, NodeId, Timestamp};
use room::Room;

pub use accounts::{AccountFacts, AccountTerms};
pub use conditions::{Condition, Standing, WaitCode};
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
    /// The chain of causes it belongs to.
    pub chain: String,
    /// Its stage.
    pub stage: String,
    /// Whether its payload brings the prompt, so that it does not need its stage's template.
    pub own_prompt: bool,
    /// Higher goes first.
    pub priority: i32,
    /// Since when it is due; of an early one, when it will be.
    pub available_at: Timestamp,
    /// Whether it is put off still: it starts only as the probe of a half-open breaker that finds no job that is due.
    pub early: bool,
    /// The node that has the conversation it goes on with.
    pub prefers: Option<Preference>,
}

/// A node that a job goes to if it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// The node.
    pub node: NodeId,
    /// Until when it is waited for while another could take the job; `None`: it is not.
    pub wait_until: Option<Timestamp>,
}

/// What limits starts, as of the claim's transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Whether an operator paused all starts.
    pub paused: bool,
    /// The projects and stages of which an operator lets nothing start.
    pub paused_parts: BTreeSet<Part>,
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
    /// What the nodes' accounts let start; one that is not here lets everything start.
    pub accounts: BTreeMap<Account, AccountFacts>,
    /// What is asked of accounts.
    pub account_terms: AccountTerms,
    /// The stages that start also on an account of whose quota only the reserve is left.
    pub essential_stages: BTreeSet<String>,
    /// When a job of each project last started, as far as known; it only settles whose turn it is.
    ///
    /// Without it, of two projects without a live run the one with the older jobs would always go first.
    pub served_at: BTreeMap<String, Timestamp>,
    /// What may be spent, and what is.
    pub books: Books,
    /// How long a due job waits for the node that has its conversation before it begins afresh elsewhere.
    pub resume_wait: Duration,
}

/// A part of the work that may be paused by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "name")]
pub enum Part {
    /// Everything of a project.
    Project(String),
    /// Everything of a stage, whatever the project.
    Stage(String),
}

impl Part {
    /// Reads a part from its two words.
    pub fn new(scope: &str, name: String) -> Option<Self> {
        match scope {
            "project" => Some(Self::Project(name)),
            "stage" => Some(Self::Stage(name)),
            _ => None,
        }
    }

    /// `project` or `stage`.
    pub const fn scope(&self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Stage(_) => "stage",
        }
    }

    /// Which one.
    pub fn name(&self) -> &str {
        match self {
            Self::Project(name) | Self::Stage(name) => name,
        }
    }
}

/// What a project allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectLimits {
    /// Live runs at once; `None`: only the fleet's limit.
    pub concurrency_max: Option<u32>,
    /// What may not run side by side.
    pub serial: Serial,
    /// How far its agents must be contained.
    pub tier: Tier,
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
    /// How far it can contain them.
    pub tier: Tier,
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
    /// The job's chain of causes.
    pub chain: String,
    /// What is set aside for it and not used yet.
    pub aside: Amount,
    /// The node it was offered to.
    pub node: NodeId,
    /// The account its agent uses.
    pub account: Account,
    /// Which opening of the account's breaker it was claimed under.
    pub opening: Opening,
    /// When it was claimed.
    pub offered_at: Timestamp,
}

/// What admission decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Jobs that start, in order, each with the index of its node in [`Facts::nodes`].
    pub starts: Vec<(JobId, usize)>,
    /// What is set aside for each job that starts.
    pub aside: BTreeMap<JobId, Amount>,
    /// Jobs that wait, each with why; an early one waits for its time and is not among them.
    pub waits: Vec<(JobId, Waiting)>,
    /// What any further job would wait for, whatever it is; `None`: some node takes more.
    pub fleet: Option<Waiting>,
}

impl Candidate {
    /// Whose spending its run would be.
    pub fn payer(&self) -> Payer<'_> {
        let Self { job, project, work_item, chain, .. } = self;
        Payer { job: *job, project, work_item, chain }
    }
}

impl LiveFacts {
    /// Whose spending it is.
    pub fn payer(&self) -> Payer<'_> {
        let Self { job, project, work_item, chain, .. } = self;
        Payer { job: *job, project, work_item, chain }
    }
}

impl Admission {
    fn start(&mut self, job: JobId, node: usize, aside: Amount) {
        self.starts.push((job, node));
        self.aside.insert(job, aside);
    }
}

impl Facts {
    /// Whether an operator paused this part.
    pub fn check_part(&self, part: Part) -> Result<(), Waiting> {
        if self.paused_parts.contains(&part) {
            return Err(WaitReason::PausedPart { part }.open_ended());
        }
        Ok(())
    }

    /// What keeps the jobs of a stage from starting, wherever; a broken template does not where the job brings its
    /// prompt.
    pub fn check_stage(&self, stage: &str, own_prompt: bool) -> Result<(), Waiting> {
        self.check_part(Part::Stage(stage.to_owned()))?;
        match self.stages.get(stage) {
            None => Err(WaitReason::UnknownStage { stage: stage.to_owned() }.open_ended()),
            Some(Some(reason)) if !(own_prompt && matches!(reason, WaitReason::Prompt { .. })) => {
                Err(reason.clone().open_ended())
            }
            Some(_) if self.essential_stages.contains(stage) => Ok(()),
            Some(_) => self.check_reserve(),
        }
    }
}

/// Decides which of `candidates` start.
///
/// Called within a write transaction: n log n in the candidates.
pub fn admit(candidates: Vec<Candidate>, facts: &Facts) -> Admission {
    let (mut early, mut candidates): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.early);
    early.sort_unstable_by_key(|candidate| (candidate.available_at, candidate.job));
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
            Ok((node, aside)) => {
                *started += 1;
                admission.start(candidate.job, node, aside);
            }
            Err(waiting) => admission.waits.push((candidate.job, waiting)),
        }
        if let Some(head) = queue.front() {
            turns.insert(Turn::new(head, facts, *started, &room));
        }
    }
    for candidate in &early {
        if let Ok((node, aside)) = room.place(candidate) {
            admission.start(candidate.job, node, aside);
        }
    }
    admission.fleet = room.fleet();
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
