//! What is still free while starts are handed out: the limits, one candidate at a time.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Candidate, Facts, NodeFacts, Part, ProjectLimits, Serial, WaitReason, Waiting};
use crate::budget::{Amount, reserve::Books};
use crate::containment::Tier;
use crate::{Account, JobId, NodeId};

/// The facts, and what was handed out of them so far.
pub(super) struct Room<'a> {
    facts: &'a Facts,
    live_total: usize,
    live_by_project: BTreeMap<&'a str, Live<'a>>,
    live_by_node: BTreeMap<&'a NodeId, u32>,
    /// What was handed out of each account's limit.
    started_by_account: BTreeMap<&'a Account, u32>,
    /// Set once no node takes any more of what this is asked for: room is only ever handed out.
    no_node: BTreeMap<Asked, Waiting>,
    /// The budgets, with what is set aside.
    books: Books,
}

/// What a job is to a node; jobs of one kind find the same nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    /// Its stage may use the quota's reserve.
    essential: bool,
    /// It is put off still: only a probe's place is for it.
    early: bool,
    /// It must be contained this far.
    tier: Tier,
}

/// The live jobs of one project.
#[derive(Default)]
struct Live<'a> {
    count: u32,
    /// The first of them.
    first: Option<JobId>,
    by_work_item: BTreeMap<&'a str, JobId>,
}

impl<'a> Room<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        let mut room = Self {
            facts,
            live_total: 0,
            live_by_project: BTreeMap::new(),
            live_by_node: BTreeMap::new(),
            started_by_account: BTreeMap::new(),
            no_node: BTreeMap::new(),
            books: facts.books.clone(),
        };
        for run in &facts.live {
            room.books.hold(run.payer(), run.aside);
            room.take(&run.project, &run.work_item, run.job, &run.node);
        }
        room
    }

    fn take(&mut self, project: &'a str, work_item: &'a str, job: JobId, node: &'a NodeId) {
        self.live_total += 1;
        *self.live_by_node.entry(node).or_default() += 1;
        let live = self.live_by_project.entry(project).or_default();
        live.count += 1;
        live.first.get_or_insert(job);
        live.by_work_item.entry(work_item).or_insert(job);
    }

    pub(super) fn live_of(&self, project: &str) -> u32 {
        self.live_by_project.get(project).map_or(0, |live| live.count)
    }

    /// Gives `candidate` the index of its node and what is set aside for it, or says why it waits.
    pub(super) fn place(&mut self, candidate: &'a Candidate) -> Result<(usize, Amount), Waiting> {
        let limits = self.check_limits(candidate)?;
        self.check_serial(candidate, limits.serial)?;
        let essential = self.facts.essential_stages.contains(&candidate.stage);
        let aside = self.books.check(candidate.payer())?;
        let node =
            self.pick_node_for(candidate, Asked { essential, early: candidate.early, tier: limits.tier })?;
        self.books.hold(candidate.payer(), aside);
        let facts = &self.facts.nodes[node];
        self.take(&candidate.project, &candidate.work_item, candidate.job, &facts.node);
        *self.started_by_account.entry(&facts.account).or_default() += 1;
        Ok((node, aside))
    }

    /// What any further job would wait for, whatever it is; `None`: some node takes more.
    pub(super) fn fleet(&mut self) -> Option<Waiting> {
        let ordinary = Asked { essential: false, early: false, tier: Tier::Environment };
        self.check_fleet().and_then(|()| self.pick_node(ordinary)).err()
    }

    fn check_fleet(&self) -> Result<(), Waiting> {
        if self.facts.paused {
            return Err(WaitReason::Paused.open_ended());
        }
        if self.live_total >= self.facts.concurrency_max as usize {
            return Err(WaitReason::ConcurrencyLimit { max: self.facts.concurrency_max }.open_ended());
        }
        Ok(())
    }

    fn check_limits(&self, candidate: &Candidate) -> Result<&'a ProjectLimits, Waiting> {
        let facts = self.facts;
        if facts.paused {
            return Err(WaitReason::Paused.open_ended());
        }
        let Some(limits) = facts.projects.get(&candidate.project) else {
            return Err(WaitReason::UnknownProject.open_ended());
        };
        facts.check_part(Part::Project(candidate.project.clone()))?;
        facts.check_stage(&candidate.stage, candidate.own_prompt)?;
        if let Some(max) = limits.concurrency_max
            && self.live_of(&candidate.project) >= max
        {
            return Err(WaitReason::ProjectLimit { max }.open_ended());
        }
        self.check_fleet()?;
        Ok(limits)
    }

    fn check_serial(&self, candidate: &Candidate, serial: Serial) -> Result<(), Waiting> {
        let live = self.live_by_project.get(candidate.project.as_str());
        let behind = match serial {
            Serial::None => None,
            Serial::WorkItem => {
                live.and_then(|live| live.by_work_item.get(candidate.work_item.as_str()).copied())
            }
            Serial::Project => live.and_then(|live| live.first),
        };
        behind.map_or(Ok(()), |behind| Err(WaitReason::Serial { behind }.open_ended()))
    }

    /// The node that has its conversation if that takes it; another one only once the wait for it is over.
    fn pick_node_for(&mut self, candidate: &Candidate, asked: Asked) -> Result<usize, Waiting> {
        let Some(prefers) = &candidate.prefers else { return self.pick_node(asked) };
        let preferred = self.facts.nodes.iter().position(|node| node.node == prefers.node);
        let takes_it = |index: &usize| {
            let node = &self.facts.nodes[*index];
            self.check_node(node, asked).is_ok() && self.free_slots(node) > 0
        };
        if let Some(index) = preferred.filter(takes_it) {
            return Ok(index);
        }
        // Whatever keeps every node from work is the better reason to show.
        let other = self.pick_node(asked)?;
        let may_come = |index| match self.check_node(&self.facts.nodes[index], asked) {
            Ok(_) => true,
            Err(refused) => passes_soon(&refused.reason),
        };
        let waits = !asked.early && preferred.is_some_and(may_come);
        match prefers.wait_until.filter(|_| waits) {
            Some(until) => {
                let reason = WaitReason::Session { node: prefers.node.clone() };
                Err(Waiting { reason, until: Some(until) })
            }
            None => Ok(other),
        }
    }

    fn free_slots(&self, node: &NodeFacts) -> u32 {
        node.slots.saturating_sub(self.live_by_node.get(&node.node).copied().unwrap_or(0))
    }

    fn pick_node(&mut self, asked: Asked) -> Result<usize, Waiting> {
        if let Some(waiting) = self.no_node.get(&asked) {
            return Err(waiting.clone());
        }
        self.best_node(asked).inspect_err(|waiting| {
            self.no_node.insert(asked, waiting.clone());
        })
    }

    /// The open node with the most free slots, those of a half-open account last; else the reason that keeps the node
    /// nearest to taking work.
    fn best_node(&self, asked: Asked) -> Result<usize, Waiting> {
        let (mut best, mut nearest) = (None, None::<Waiting>);
        for (index, node) in self.facts.nodes.iter().enumerate() {
            let refused = match self.check_node(node, asked) {
                Ok(probes) if self.free_slots(node) > 0 => {
                    best = best.max(Some((!probes, self.free_slots(node), Reverse(index))));
                    continue;
                }
                Ok(_) => WaitReason::NoSlot.open_ended(),
                Err(waiting) => waiting,
            };
            if nearest.as_ref().is_none_or(|near| refused.distance() < near.distance()) {
                nearest = Some(refused);
            }
        }
        match best {
            Some((_, _, Reverse(index))) => Ok(index),
            None => Err(nearest.unwrap_or_else(|| WaitReason::NoRunner.open_ended())),
        }
    }

    /// Whether the node takes such a job as far as its own state and its account go; whether it would be a probe.
    fn check_node(&self, node: &NodeFacts, asked: Asked) -> Result<bool, Waiting> {
        if let Some(reason) = &node.blocked {
            return Err(Waiting { reason: reason.clone(), until: node.blocked_until });
        }
        if node.tier < asked.tier {
            return Err(WaitReason::Containment { tier: asked.tier }.open_ended());
        }
        let account = self.facts.accounts.get(&node.account);
        if let Some((max, waiting)) = account.and_then(|account| account.limit.as_ref())
            && self.started_by_account.get(&node.account).copied().unwrap_or(0) >= *max
        {
            return Err(waiting.clone());
        }
        let reserved = account.and_then(|account| account.reserved.as_ref());
        if let Some(reserved) = reserved.filter(|_| !asked.essential) {
            return Err(reserved.clone());
        }
        let probes = account.is_some_and(|account| account.probes);
        if asked.early && !probes {
            return Err(WaitReason::NotDue.open_ended());
        }
        Ok(probes)
    }
}

/// Whether what keeps a node or its account from a job may well be over in a minute.
fn passes_soon(reason: &WaitReason) -> bool {
    match reason {
        WaitReason::Resting | WaitReason::Unreachable | WaitReason::Preflight { .. } => true,
        WaitReason::NotDue
        | WaitReason::Paused
        | WaitReason::PausedPart { .. }
        | WaitReason::UnknownProject
        | WaitReason::UnknownStage { .. }
        | WaitReason::Prompt { .. }
        | WaitReason::ConcurrencyLimit { .. }
        | WaitReason::ProjectLimit { .. }
        | WaitReason::Serial { .. }
        | WaitReason::NoRunner
        | WaitReason::NoSlot
        | WaitReason::Draining
        | WaitReason::AccountHeld { .. }
        | WaitReason::BreakerOpen { .. }
        | WaitReason::Probe { .. }
        | WaitReason::Faltering { .. }
        | WaitReason::Resuming { .. }
        | WaitReason::QuotaReserve { .. }
        | WaitReason::BudgetSpent { .. }
        | WaitReason::BudgetReserved { .. }
        | WaitReason::Session { .. }
        | WaitReason::Restored
        | WaitReason::Containment { .. }
        | WaitReason::NotLooked => false,
    }
}
