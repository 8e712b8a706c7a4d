//! The claim: due jobs in, runs out. What is read and written is [`crate::claim`]'s to say.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use domain::admission::{Facts, LiveFacts};
use domain::budget::Amount;
use domain::job::JobKind;
use domain::resume::LastTry;
use domain::{Job, JobState, Timestamp};

use super::tables::{JobRow, Tables};
use crate::claim::{self, Behind, Decided, Due, Head, PROMOTED_MAX, PUT_OFF_MAX, Search};
use crate::{Applied, ClaimRequest, Claimed, Error};

impl Tables {
    /// Claims at most one job per run id of the request.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a run id is not fresh; what was written must be rolled back.
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Result<Claimed, Error> {
        if self.paused {
            return Ok(Claimed::default());
        }
        let mut facts = self.facts(request);
        self.promote(request.now);
        let mut search = Search::new(&facts, request.run_ids.len());
        search.take_heads(self.heads(search.heads_max()));
        while let Some(behind) = search.next() {
            let rows = self.behind(&behind);
            search.take_behind(rows);
        }
        if facts.wants_probe() {
            search.take_put_off(self.put_off(request.now));
        }
        let found = search.found();
        let own = claim::own_purses(&facts.books, &found);
        facts.books.spendings.extend(self.read_spendings(&own));
        let decided = claim::decide(request, &facts, &found)?;
        self.write_decided(&decided)?;
        self.fleet_waits.clone_from(&decided.fleet);
        Ok(decided.claimed)
    }

    fn facts(&self, request: &ClaimRequest) -> Facts {
        let mut facts = request.facts.clone();
        facts.paused = self.paused;
        facts.paused_parts.clone_from(&self.paused_parts);
        facts.live = self
            .live()
            .filter_map(|run| {
                let job = &self.job(run.job)?.job;
                Some(LiveFacts {
                    job: job.id,
                    project: job.project.clone(),
                    work_item: job.work_item.clone(),
                    chain: job.origin.chain.clone(),
                    aside: run.aside.minus(Amount::of_usage(&run.usage)).at_least_zero(),
                    node: run.node.clone(),
                    account: run.account.clone(),
                    opening: run.opening,
                    offered_at: run.offered_at,
                })
            })
            .collect();
        facts.take_accounts(self.accounts.records(), request.now);
        facts.books.spendings = self.read_spendings(&facts.books.shared_purses());
        facts
    }

    /// Marks delayed jobs whose time has come as due, the earliest first.
    fn promote(&mut self, now: Timestamp) {
        let mut ripe: Vec<_> = self
            .queued()
            .filter(|row| !row.due)
            .filter_map(|row| Some((available_at(&row.job)?, row.job.id)))
            .filter(|(at, _)| *at <= now)
            .collect();
        ripe.sort_unstable();
        for (_, id) in ripe.into_iter().take(PROMOTED_MAX as usize) {
            if let Some(row) = self.job(id).cloned() {
                self.put_job(JobRow { due: true, ..row });
            }
        }
    }

    /// The due jobs that own nothing, in the order they are served in.
    fn due(&self) -> Vec<&JobRow> {
        let free = |row: &&JobRow| row.due && self.live_of(row.job.id).is_none();
        let mut due: Vec<&JobRow> = self.queued().filter(free).collect();
        due.sort_by_key(|row| (Reverse(row.job.priority), available_at(&row.job), row.job.id));
        due
    }

    fn heads(&self, limit: usize) -> Vec<Head> {
        let mut of_project: BTreeMap<&str, usize> = BTreeMap::new();
        let mut heads = Vec::new();
        for row in self.due() {
            let read = of_project.entry(&row.job.project).or_default();
            if *read < limit {
                *read += 1;
                heads.push(Head { project: row.job.project.clone(), due: self.read_due(row) });
            }
        }
        heads
    }

    fn behind(&self, behind: &Behind<'_>) -> Vec<Option<Due>> {
        let wanted = |row: &&JobRow| {
            let stage = row.job.stage.as_str();
            row.job.project == behind.project
                && !behind.taken.contains(&row.job.work_item)
                && (behind.stages.contains(stage)
                    || (brings_prompt(row) && behind.own_prompt_stages.contains(stage)))
        };
        self.due().into_iter().filter(wanted).take(behind.limit).map(|row| self.read_due(row)).collect()
    }

    /// The jobs that a limit put off, the earliest first.
    fn put_off(&self, now: Timestamp) -> Vec<Due> {
        let is_put_off = |row: &&JobRow| !row.due && row.job.budgets.transient_attempts > 0;
        let mut rows: Vec<_> = self
            .queued()
            .filter(is_put_off)
            .filter_map(|row| Some((available_at(&row.job)?, row.job.id, row)))
            .filter(|(at, id, _)| *at > now && self.live_of(*id).is_none())
            .collect();
        rows.sort_by_key(|(at, id, _)| (*at, *id));
        rows.into_iter().take(PUT_OFF_MAX).filter_map(|(_, _, row)| self.read_due(row)).collect()
    }

    fn read_due(&self, row: &JobRow) -> Option<Due> {
        let job = Job { epoch: self.epoch_seen(&row.job), ..row.job.clone() };
        let last = LastTry::of(self.runs_of(row.job.id));
        let parent = row.job.origin.parent.filter(|_| row.job.origin.kind == JobKind::Reformat);
        let asked_about = parent.and_then(|parent| LastTry::of(self.runs_of(parent)));
        Due::new(job, brings_prompt(row), row.decision.clone(), last, asked_about)
    }

    fn write_decided(&mut self, decided: &Decided) -> Result<(), Error> {
        for change in &decided.changes {
            if self.apply(change)? == Applied::Conflict {
                return Err(Error::Corrupt("a due job moved inside the claim's own transaction".into()));
            }
        }
        let dropped = decided.undecided.iter().map(|id| (*id, None));
        let noted = decided.noted.iter().map(|(id, waiting)| (*id, Some(waiting.clone())));
        for (id, decision) in dropped.chain(noted) {
            if let Some(row) = self.job(id).cloned() {
                self.put_job(JobRow { decision, ..row });
            }
        }
        Ok(())
    }
}

fn brings_prompt(row: &JobRow) -> bool {
    row.payload.brings_prompt()
}

/// Since when a queued job may start.
pub(super) fn available_at(job: &Job) -> Option<Timestamp> {
    match job.state {
        JobState::Queued { available_at } => Some(available_at),
        JobState::Running { .. }
        | JobState::Done { .. }
        | JobState::Failed { .. }
        | JobState::Cancelled { .. } => None,
    }
}
