//! What is still free while starts are handed out: the limits, one candidate at a time.

use std::collections::BTreeMap;

use super::{Candidate, Facts, NodeFacts, ProjectLimits, Serial, WaitReason, Waiting};
use crate::{JobId, NodeId};

/// The facts, and what was handed out of them so far.
pub(super) struct Room<'a> {
    facts: &'a Facts,
    live_total: usize,
    live_by_project: BTreeMap<&'a str, Live<'a>>,
    live_by_node: BTreeMap<&'a NodeId, u32>,
    /// Set once no node takes any more: room is only ever handed out.
    no_node: Option<Waiting>,
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
            no_node: None,
        };
        for run in &facts.live {
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

    /// Gives `candidate` the index of its node, or says why it waits.
    pub(super) fn place(&mut self, candidate: &'a Candidate) -> Result<usize, Waiting> {
        let limits = self.check_limits(candidate)?;
        self.check_serial(candidate, limits.serial)?;
        let node = self.pick_node()?;
        self.take(&candidate.project, &candidate.work_item, candidate.job, &self.facts.nodes[node].node);
        Ok(node)
    }

    fn check_limits(&self, candidate: &Candidate) -> Result<&'a ProjectLimits, Waiting> {
        let facts = self.facts;
        if facts.paused {
            return Err(WaitReason::Paused.open_ended());
        }
        let Some(limits) = facts.projects.get(&candidate.project) else {
            return Err(WaitReason::UnknownProject.open_ended());
        };
        facts.check_stage(&candidate.stage, candidate.own_prompt).map_err(WaitReason::open_ended)?;
        if let Some(max) = limits.concurrency_max
            && self.live_of(&candidate.project) >= max
        {
            return Err(WaitReason::ProjectLimit { max }.open_ended());
        }
        if self.live_total >= facts.concurrency_max as usize {
            return Err(WaitReason::ConcurrencyLimit { max: facts.concurrency_max }.open_ended());
        }
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

    fn pick_node(&mut self) -> Result<usize, Waiting> {
        if let Some(waiting) = &self.no_node {
            return Err(waiting.clone());
        }
        self.emptiest_node().inspect_err(|waiting| self.no_node = Some(waiting.clone()))
    }

    /// The open node with the most free slots; else the reason that keeps the node nearest to taking work.
    fn emptiest_node(&self) -> Result<usize, Waiting> {
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
