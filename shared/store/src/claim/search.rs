//! Which due jobs a claim reads: the heads of every project's queue, and where they cannot start what stands behind
//! them, so that a blocked work item or stage never starves the rest of its project.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use domain::admission::{Facts, LiveFacts, Part, Serial};
use domain::{Account, JobId, NodeId};

use super::Due;

/// Jobs read per project beyond those that could start, so that each says why it waits.
const HEADS_MARGIN: usize = 8;
/// Further reads behind the heads of one project; each finds at least one job that can start, or ends.
const READS_BEYOND_MAX: usize = 32;

/// A search for the jobs that could be among the next starts.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    facts: &'a Facts,
    /// How many could start in all.
    want: usize,
    open: OpenStages<'a>,
    due: BTreeMap<JobId, Due>,
    /// Projects with more jobs than heads were read.
    deep: Vec<String>,
    current: Option<Depth>,
}

/// One of a project's first due jobs; no job where the row cannot be read, so that the others start.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) project: String,
    pub(crate) due: Option<Due>,
}

/// Due jobs to read next: of one project, in order, at most `limit`.
#[derive(Debug)]
pub(crate) struct Behind<'s> {
    pub(crate) project: &'s str,
    /// Only of these stages,
    pub(crate) stages: &'s BTreeSet<&'s str>,
    /// or of these, where the job brings its prompt.
    pub(crate) own_prompt_stages: &'s BTreeSet<&'s str>,
    /// None of these work items.
    pub(crate) taken: &'s BTreeSet<String>,
    pub(crate) limit: usize,
}

/// The search in one project.
#[derive(Debug)]
struct Depth {
    project: String,
    serial: Serial,
    want: usize,
    found: usize,
    reads: usize,
    /// Work items of which no further job can start: those with a live run, and those already found.
    taken: BTreeSet<String>,
}

impl<'a> Search<'a> {
    /// Begins a search for at most `starts_max` jobs.
    pub(crate) fn new(facts: &'a Facts, starts_max: usize) -> Self {
        Self {
            facts,
            want: room(facts).min(starts_max),
            open: OpenStages::of(facts),
            due: BTreeMap::new(),
            deep: Vec::new(),
            current: None,
        }
    }

    /// How many due jobs to read of every project that has any, before all else.
    pub(crate) const fn heads_max(&self) -> usize {
        self.want + HEADS_MARGIN
    }

    /// Takes the heads of all projects.
    pub(crate) fn take_heads(&mut self, heads: impl IntoIterator<Item = Head>) {
        let mut read_of: BTreeMap<String, usize> = BTreeMap::new();
        for head in heads {
            *read_of.entry(head.project).or_default() += 1;
            if let Some(due) = head.due {
                self.due.insert(due.job.id, due);
            }
        }
        // Fewer rows than asked for: there is nothing behind them.
        read_of.retain(|_, read| *read == self.heads_max());
        self.deep = read_of.into_keys().collect();
    }

    /// Takes jobs that are put off still: candidates for the place of a probe.
    pub(crate) fn take_put_off(&mut self, jobs: Vec<Due>) {
        let early = jobs.into_iter().map(|due| (due.job.id, Due { early: true, ..due }));
        self.due.extend(early);
    }

    /// What to read behind the heads; `None`: enough is known.
    pub(crate) fn next(&mut self) -> Option<Behind<'_>> {
        while self.current.as_ref().is_none_or(Depth::is_searched) {
            let project = self.deep.pop()?;
            self.current = self.depth_of(project);
        }
        let depth = self.current.as_mut()?;
        depth.reads += 1;
        Some(Behind {
            project: &depth.project,
            stages: &self.open.to_all,
            own_prompt_stages: &self.open.to_own_prompts,
            taken: &depth.taken,
            limit: depth.want,
        })
    }

    /// Takes what was read, with a `None` for each row that cannot be.
    pub(crate) fn take_behind(&mut self, rows: Vec<Option<Due>>) {
        let Some(depth) = &mut self.current else { return };
        let (read, mut fresh) = (rows.len(), 0);
        for next in rows.into_iter().flatten() {
            if let Entry::Vacant(place) = self.due.entry(next.job.id) {
                fresh += 1;
                depth.look_at(&next, &self.open);
                place.insert(next);
            }
        }
        if fresh == 0 || read < depth.want {
            self.current = None;
        }
    }

    /// The jobs found, by id.
    pub(crate) fn found(self) -> BTreeMap<JobId, Due> {
        self.due
    }

    /// `None`: no job of the project can start at all.
    fn depth_of(&self, project: String) -> Option<Depth> {
        let limits = self.facts.projects.get(&project)?;
        self.facts.check_part(Part::Project(project.clone())).ok()?;
        self.facts.books.check_project(&project).ok()?;
        let live: Vec<&LiveFacts> = self.facts.live.iter().filter(|run| run.project == project).collect();
        let of_project =
            limits.concurrency_max.map_or(usize::MAX, |max| max as usize).saturating_sub(live.len());
        let want = match limits.serial {
            Serial::None | Serial::WorkItem => self.want.min(of_project),
            Serial::Project => self.want.min(of_project).min(usize::from(live.is_empty())),
        };
        let mut taken = BTreeSet::new();
        if limits.serial == Serial::WorkItem {
            taken.extend(live.iter().map(|run| run.work_item.clone()));
        }
        let mut depth = Depth { project, serial: limits.serial, want, found: 0, reads: 0, taken };
        for head in self.due.values() {
            if head.job.project == depth.project {
                depth.look_at(head, &self.open);
            }
        }
        Some(depth)
    }
}

impl Depth {
    const fn is_searched(&self) -> bool {
        self.found >= self.want || self.reads >= READS_BEYOND_MAX
    }

    /// Counts a job that nothing known of its project keeps from starting, and takes its work item.
    fn look_at(&mut self, due: &Due, open: &OpenStages<'_>) {
        let stages = if due.own_prompt { &open.to_own_prompts } else { &open.to_all };
        let can_start = stages.contains(due.job.stage.as_str())
            && match self.serial {
                Serial::None | Serial::Project => true,
                Serial::WorkItem => self.taken.insert(due.job.work_item.clone()),
            };
        self.found += usize::from(can_start);
    }
}

/// How many more runs the fleet could take, whatever the jobs are.
fn room(facts: &Facts) -> usize {
    let mut free: BTreeMap<&NodeId, (usize, &Account)> = facts
        .nodes
        .iter()
        .filter(|node| node.blocked.is_none())
        .map(|node| (&node.node, (node.slots as usize, &node.account)))
        .collect();
    for run in &facts.live {
        if let Some((free, _)) = free.get_mut(&run.node) {
            *free = free.saturating_sub(1);
        }
    }
    let mut of_accounts: BTreeMap<&Account, usize> = BTreeMap::new();
    for (free, account) in free.into_values() {
        *of_accounts.entry(account).or_default() += free;
    }
    let limited = of_accounts.into_iter().map(|(account, free)| {
        let limit = facts.accounts.get(account).and_then(|account| account.limit.as_ref());
        limit.map_or(free, |(max, _)| free.min(*max as usize))
    });
    (facts.concurrency_max as usize).saturating_sub(facts.live.len()).min(limited.sum())
}

/// The stages that nothing keeps from starting.
#[derive(Debug)]
struct OpenStages<'a> {
    to_all: BTreeSet<&'a str>,
    /// Held up by their template alone.
    to_own_prompts: BTreeSet<&'a str>,
}

impl<'a> OpenStages<'a> {
    fn of(facts: &'a Facts) -> Self {
        let open = |own_prompt: bool| {
            let names = facts.stages.keys().map(String::as_str);
            names.filter(|name| facts.check_stage(name, own_prompt).is_ok()).collect()
        };
        Self { to_all: open(false), to_own_prompts: open(true) }
    }
}
