//! Looks for rows that the rules forbid and a defect made all the same; I3 and double epochs are refused at the write.

use domain::{Job, JobState};

use super::tables::Tables;
use crate::Violation;

/// Violations told at once.
const VIOLATIONS_MAX: usize = 100;

impl Tables {
    /// Says what SQLite's doctor says, in its words.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let of_jobs = self.jobs().flat_map(|row| self.violations_of(&row.job));
        let strays =
            self.live().filter(|run| self.job(run.job).is_none_or(|row| row.job.state.run() != Some(run.id)));
        let strays = strays.map(|run| Violation {
            invariant: "I2",
            detail: format!("run {} lives but is not the run of its job {}", run.id, run.job),
        });
        of_jobs.chain(strays).take(VIOLATIONS_MAX).collect()
    }

    fn violations_of(&self, job: &Job) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut say = |invariant, detail| found.push(Violation { invariant, detail });
        match (&job.state, self.live_of(job.id)) {
            (JobState::Queued { .. }, Some(run)) => {
                say("I1", format!("queued job {} owns run {}", job.id, run.id));
            }
            (JobState::Running { run, .. }, live) if live.is_none_or(|live| live.id != *run) => {
                say("I2", format!("running job {} has no live run of its own: {run}", job.id));
            }
            _ => {}
        }
        let newest = self.epoch_seen(job);
        if newest > job.epoch {
            say("I4", format!("job {} is at epoch {} but has a run of epoch {newest}", job.id, job.epoch));
        }
        if let Some(run) = job.state.run().and_then(|run| self.run(run))
            && run.epoch != job.epoch
        {
            let (run, has) = (run.id, run.epoch);
            say("I4", format!("run {run} of running job {} has epoch {has}, the job {}", job.id, job.epoch));
        }
        found
    }
}
