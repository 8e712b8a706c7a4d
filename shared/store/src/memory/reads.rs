//! What can be read.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use domain::delivery::Payload;
use domain::overview::{CountByStatus, LateOutcome, Overview, RunTally, WaitingJob};
use domain::runner::Node;
use domain::work_item::WorkItem;
use domain::{JobId, NodeId, RunId, Status, Timestamp};

use super::claim::available_at;
use super::tables::{JobRow, Tables};
use crate::{Backlog, Briefing, ItemFilter, JobFilter};

impl Tables {
    pub(super) fn read_jobs(&self, filter: JobFilter) -> Vec<WaitingJob> {
        let (above, below) = (filter.above.unwrap_or(JobId(0)), filter.before.unwrap_or(JobId(i64::MAX)));
        let wanted = |row: &&JobRow| filter.status.is_none_or(|status| row.job.state.status() == status);
        let new = self.jobs_below(below).take_while(|row| row.job.id > above);
        let jobs = new.filter(wanted).take(filter.limit as usize);
        let shown = |row: &JobRow| {
            let (decision, fleet) = (row.decision.clone(), self.fleet_waits.clone());
            WaitingJob::new(row.job.clone(), row.due, self.paused, decision, fleet)
        };
        jobs.map(shown).collect()
    }

    pub(super) fn tally(&self, since: Timestamp) -> Vec<RunTally> {
        let mut tallies = BTreeMap::<_, RunTally>::new();
        for run in self.runs_from(RunId::lowest_at(since)) {
            let tally = tallies.entry((run.class.clone(), run.reason.clone())).or_default();
            tally.runs += 1;
            tally.cost_usd += run.usage.cost_usd.unwrap_or(0.0);
            tally.input_tokens += run.usage.input_tokens.unwrap_or(0);
            tally.output_tokens += run.usage.output_tokens.unwrap_or(0);
        }
        let named = tallies.into_iter().map(|((class, reason), tally)| RunTally { class, reason, ..tally });
        let mut tallies: Vec<_> = named.collect();
        tallies.sort_by_key(|tally| Reverse(tally.runs));
        tallies
    }

    pub(super) fn briefing(&self, id: JobId) -> Option<Briefing> {
        let JobRow { job, payload, .. } = self.job(id)?;
        let item = self.items.get(&(job.project.clone(), job.work_item.clone()));
        let standing = item.map(|item| item.standing).unwrap_or_default();
        Some(Briefing { job: job.clone(), payload: Payload::clone(payload), standing })
    }

    pub(super) fn read_work_items(&self, filter: &ItemFilter) -> Vec<WorkItem> {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let mut items: Vec<&WorkItem> = self
            .items
            .values()
            .filter(|item| {
                is(&filter.project, &item.project)
                    && is(&filter.key, &item.key)
                    && is(&filter.state, item.state.as_str())
            })
            .collect();
        items.sort_by_key(|item| Reverse(item.updated_at));
        items.into_iter().take(filter.limit as usize).cloned().collect()
    }

    /// The items that need a person, the oldest first.
    fn needing_you(&self) -> Vec<WorkItem> {
        let mut items: Vec<&WorkItem> =
            self.items.values().filter(|item| item.state.needs().is_some()).collect();
        items.sort_by_key(|item| item.updated_at);
        items.into_iter().take(Overview::NEEDING_MAX as usize).cloned().collect()
    }

    pub(super) fn late_outcomes_of(&self, job: JobId) -> Vec<LateOutcome> {
        self.runs_of(job).filter_map(|run| self.late_outcome(run.id)).collect()
    }

    pub(super) fn next_due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let delayed = self.queued().filter(|row| !row.due);
        delayed.filter_map(|row| available_at(&row.job)).filter(|at| *at > now).min()
    }

    pub(super) fn backlog(&self, now: Timestamp) -> Backlog {
        let mut by_reason = BTreeMap::new();
        let filter = JobFilter { status: Some(Status::Queued), ..JobFilter::newest(u32::MAX) };
        for waiting in self.read_jobs(filter).into_iter().filter_map(|job| job.waiting) {
            *by_reason.entry(waiting.reason.code().as_str().to_owned()).or_default() += 1;
        }
        Backlog { by_reason, oldest_ready_at: self.oldest_ready_at(now) }
    }

    fn oldest_ready_at(&self, now: Timestamp) -> Option<Timestamp> {
        let ready = |row: &&JobRow| row.due || available_at(&row.job).is_some_and(|at| at <= now);
        self.queued().filter(ready).filter_map(|row| available_at(&row.job)).min()
    }

    pub(super) fn overview(&self, now: Timestamp) -> Overview {
        Overview {
            counts: self.counts(),
            paused: self.paused,
            paused_parts: self.paused_parts.clone(),
            config_error: self.config_error.clone(),
            oldest_ready_at: self.oldest_ready_at(now),
            recent: self.read_jobs(JobFilter::newest(Overview::RECENT_MAX)),
            accounts: self.accounts.records().cloned().collect(),
            nodes: self.busy_nodes(),
            reaper: self.reaper,
            outbox: self.outbox.sinks(),
            needs_you: self.needing_you(),
        }
    }

    pub(super) fn busy_nodes(&self) -> Vec<(Node, u32)> {
        let mut busy: BTreeMap<&NodeId, u32> = BTreeMap::new();
        for run in self.live() {
            *busy.entry(&run.node).or_default() += 1;
        }
        let counted = |node: &Node| (node.clone(), busy.get(&node.id).copied().unwrap_or_default());
        self.nodes.values().map(counted).collect()
    }

    fn counts(&self) -> CountByStatus {
        let mut counts = CountByStatus::default();
        for row in self.jobs() {
            *counts.of(row.job.state.status()) += 1;
        }
        for ((_, _, status), jobs) in &self.forgotten {
            *counts.of(*status) += jobs;
        }
        counts
    }
}
