//! Writes transitions: a job guarded by what is expected of it, and its run.

use domain::alert::Notice;
use domain::budget::Amount;
use domain::transition::{Expected, RunChange};
use domain::work_item::ItemChange;
use domain::{Job, Run, RunId, RunState};

use super::spending::merged;
use super::tables::Tables;
use crate::accounts::Hearing;
use crate::claim::offered;
use crate::ending::Ending;
use crate::intake::Item;
use crate::{Applied, Audit, Change, Error};

impl Tables {
    /// Writes `change` if the job still says what is expected.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the job and its run disagree; what was written must be rolled back.
    pub(super) fn apply(&mut self, change: &Change) -> Result<Applied, Error> {
        let transition = &change.transition;
        let row = self.job(transition.job).filter(|row| meets(&row.job, &transition.expected));
        let Some(mut row) = row.cloned() else { return Ok(Applied::Conflict) };
        if change.item.as_ref().is_some_and(|item| !self.item_is(item)) {
            return Ok(Applied::Conflict);
        }
        let renewed = transition.expected.run.and_then(|run| self.renewals.get(&run)).copied().unwrap_or(0);
        if change.renewals.is_some_and(|renewals| renewals != renewed) {
            return Ok(Applied::Conflict);
        }
        row.move_to(&transition.after, change.now);
        self.put_job(row);
        self.change_run(change)?;
        if let Some(item) = &change.item {
            self.change_item(item)?;
        }
        match transition.after.state.run() {
            Some(run) if self.run(run).is_none() => Err(Error::Corrupt(format!("there is no run {run}"))),
            _ => {
                self.outbox.push(change.notices())?;
                self.outbox.post(&change.posts, change.now)?;
                Ok(Applied::Done)
            }
        }
    }

    /// Writes a person's word on a work item, if the item is still as it was decided on.
    ///
    /// # Errors
    /// As [`Tables::accept`], of the job that follows.
    pub(super) fn decide(&mut self, change: &ItemChange, audit: &Audit) -> Result<Applied, Error> {
        if !self.item_is(change) {
            return Ok(Applied::Conflict);
        }
        self.change_item(change)?;
        self.outbox.post(&audit.posts, audit.at)?;
        self.outbox.push(change.alert.clone().map(|alert| Notice::new(alert, audit.at)))?;
        let item = (change.after.project.as_str(), change.after.key.as_str());
        self.note_act(audit.act(item.1, Some(item)));
        Ok(Applied::Done)
    }

    fn item_is(&self, change: &ItemChange) -> bool {
        let name = (change.after.project.clone(), change.after.key.clone());
        self.items.get(&name).is_some_and(|item| item.revision == change.expected)
    }

    fn change_item(&mut self, change: &ItemChange) -> Result<(), Error> {
        let after = &change.after;
        self.put_item((after.project.clone(), after.key.clone()), after.clone());
        for alias in &change.aliases {
            if *alias != after.key {
                let name = (after.project.clone(), alias.clone());
                self.aliases.entry(name).or_insert_with(|| after.key.clone());
            }
        }
        if change.passed {
            self.mark_pass(&after.purse());
        }
        if let Some(next) = &change.next {
            self.accept(&Item::Job(next, after.updated_at))?;
        }
        Ok(())
    }

    fn change_run(&mut self, change: &Change) -> Result<(), Error> {
        let transition = &change.transition;
        match &transition.run {
            RunChange::Keep => Ok(()),
            RunChange::Insert(offer) if self.run(offer.run).is_some() => {
                Err(Error::Corrupt(format!("there is a run {} already", offer.run)))
            }
            RunChange::Insert(offer) => self.put_run(offered(transition.job, offer, change)),
            RunChange::Start { run } => {
                let run = self.run_to_change(*run, |state| state == RunState::Offered)?;
                self.count_start(&run, change.now);
                self.put_run(Run {
                    state: RunState::Started,
                    started_at: Some(change.now),
                    aside: Amount { runs: 0, ..run.aside },
                    ..run
                })
            }
            RunChange::End { run, class, reason } => {
                let run = self.run_to_change(*run, |state| state != RunState::Ended)?;
                self.settle(&run, change);
                self.put_run(ended(run.clone(), class, reason, change))?;
                self.hear(&run, change)
            }
        }
    }

    fn run_to_change(&self, id: RunId, may: impl FnOnce(RunState) -> bool) -> Result<Run, Error> {
        self.run(id).filter(|run| may(run.state)).cloned().ok_or_else(|| {
            Error::Corrupt(format!("run {id} was to change and did not: a job and its run disagree"))
        })
    }

    /// Writes what the end of a run says of its account.
    fn hear(&mut self, run: &Run, change: &Change) -> Result<(), Error> {
        let account = self.accounts.entry(&run.account);
        let mut hearing = Hearing::default();
        hearing.take(change, account.clone(), run.opening);
        if let Some(changed) = hearing.changed().next() {
            account.clone_from(changed);
        }
        self.outbox.push(hearing.notices)
    }
}

fn meets(job: &Job, expected: &Expected) -> bool {
    job.state.status() == expected.status
        && job.state.run() == expected.run
        && job.revision == expected.revision
}

fn ended(run: Run, class: &str, reason: &str, change: &Change) -> Run {
    let ending = Ending::of(change);
    Run {
        state: RunState::Ended,
        ended_at: Some(ending.ended_at),
        class: Some(class.to_owned()),
        reason: Some(reason.to_owned()),
        evidence: change.evidence.clone(),
        usage: merged(&run.usage, ending.usage),
        aside: Amount { runs: 0, ..run.aside },
        exit_code: ending.exit_code,
        tail: ending.tail,
        log_bytes: ending.log_bytes,
        steps: ending.steps,
        ..run
    }
}
