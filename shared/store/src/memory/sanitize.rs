//! Finds jobs and runs that contradict each other and repairs them as `domain::sanitize` says.

use std::collections::BTreeSet;

use domain::alert::{Alert, Notice};
use domain::budget::Amount;
use domain::sanitize::{Kind, ORPHANED, Repair, Rules, Suspect, SuspectRow, SuspectRun, SuspectRunState};
use domain::{JobId, JobState, Run, RunState};

use super::claim::available_at;
use super::tables::{JobRow, Tables};
use crate::Error;

/// Jobs repaired in one transaction; the next sweep goes on.
const REPAIRED_MAX: usize = 200;

impl Tables {
    /// The jobs that may break I1 to I3.
    pub(super) fn suspects(&self) -> Vec<JobId> {
        let without_run = self.jobs().filter(|row| {
            let run = row.job.state.run();
            run.is_some() && self.live_of(row.job.id).map(|live| live.id) != run
        });
        let stray =
            self.live().filter(|run| self.job(run.job).is_none_or(|row| row.job.state.run() != Some(run.id)));
        let ids = without_run.map(|row| row.job.id).chain(stray.map(|run| run.job));
        ids.collect::<BTreeSet<JobId>>().into_iter().take(REPAIRED_MAX).collect()
    }

    /// Repairs what is found and counts it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a repair does not fit its row; what was written must be rolled back.
    pub(super) fn sanitize(&mut self, rules: &Rules) -> Result<Vec<Repair>, Error> {
        let mut repairs = Vec::new();
        for id in self.suspects() {
            let Some(repair) = domain::sanitize::repair(&self.suspect(id), rules) else { continue };
            self.repair(&repair, rules)?;
            repairs.push(repair);
        }
        for kind in repairs.iter().flat_map(|repair| &repair.kinds) {
            let total = match kind {
                Kind::ImpossibleQueued => &mut self.reaper.impossible_queued_total,
                Kind::ImpossibleRunning => &mut self.reaper.impossible_running_total,
                Kind::ImpossibleFinished => &mut self.reaper.impossible_finished_total,
                Kind::OrphanedRun => &mut self.reaper.orphaned_runs_total,
            };
            *total += 1;
        }
        self.outbox.push(repairs.iter().map(|repair| Notice::new(Alert::of_repair(repair), rules.now)))?;
        Ok(repairs)
    }

    fn suspect(&self, id: JobId) -> Suspect {
        let runs = self.live_of(id).into_iter().map(|run| SuspectRun {
            id: run.id.to_string(),
            state: if run.state == RunState::Offered {
                SuspectRunState::Offered
            } else {
                SuspectRunState::Started
            },
        });
        Suspect { job: id, row: self.job(id).map(|row| self.suspect_row(row)), runs: runs.collect() }
    }

    fn suspect_row(&self, row: &JobRow) -> SuspectRow {
        let job = &row.job;
        let (mut cancel, mut finished, mut failure_reason) = (None, None, None);
        match &job.state {
            JobState::Queued { .. } => {}
            JobState::Running { cancel_requested_at, .. } => cancel = *cancel_requested_at,
            JobState::Failed { finished_at, reason } => {
                finished = Some(*finished_at);
                failure_reason = Some(reason.clone());
            }
            JobState::Done { finished_at } | JobState::Cancelled { finished_at } => {
                finished = Some(*finished_at);
            }
        }
        SuspectRow {
            status: job.state.status(),
            run: job.state.run().map(|run| run.to_string()),
            due: row.due,
            available_at: available_at(job).unwrap_or_default(),
            cancel_requested_at: cancel,
            finished_at: finished,
            failure_reason,
            budgets: job.budgets,
            epoch: self.epoch_seen(job),
            revision: job.revision,
        }
    }

    fn repair(&mut self, repair: &Repair, rules: &Rules) -> Result<(), Error> {
        let orphan = self.live_of(repair.job).filter(|run| repair.ends.contains(&run.id.to_string()));
        if let Some(run) = orphan.cloned() {
            self.put_run(Run {
                state: RunState::Ended,
                ended_at: Some(rules.now),
                class: Some("lost".to_owned()),
                reason: Some(ORPHANED.to_owned()),
                aside: Amount { runs: 0, ..run.aside },
                ..run
            })?;
        }
        let Some((revision, after)) = &repair.row else { return Ok(()) };
        let row = self.job(repair.job).filter(|row| row.job.revision == *revision).cloned();
        let Some(mut row) = row else {
            return Err(Error::Corrupt(format!("job {} moved while it was repaired", repair.job)));
        };
        row.move_to(after, rules.now);
        self.put_job(row);
        Ok(())
    }
}
