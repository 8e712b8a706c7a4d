//! The one way this process moves a job: read, decide with `domain::next`, write with compare-and-set, and again
//! when somebody else was faster.

use domain::transition::RunChange;
use domain::{Event, IllegalEvent, JobId, Outcome, Transition, next};
use store::{Applied, Change};

use crate::advance::{self, Beside};
use crate::shared::{Shared, pause};

/// How often a row may move under us before we say so.
const CONFLICTS_MAX: u32 = 50;

/// Why a job was not moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMoved {
    #[error("there is no job {0}: `orch jobs` lists them")]
    NotFound(JobId),
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    #[error("could not move job {0}: its row changes too fast")]
    Contended(JobId),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl NotMoved {
    /// Whether the run no longer owns the job, or there is no such job any more.
    pub(crate) fn is_late(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::Illegal(_) => true,
            Self::Contended(_) | Self::Store(_) => false,
        }
    }
}

/// Facts to keep beside a transition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) outcome: Option<Outcome>,
    pub(crate) evidence: Option<String>,
    /// How often the run may have been renewed for its end to be written; if it was since, that is not tried again.
    pub(crate) renewals: Option<u64>,
}

/// Moves a job by an event; gives what was written. What follows in memory, from leases to counters, is done when this returns.
pub(crate) async fn move_job(
    shared: &Shared,
    id: JobId,
    event: &Event,
    report: Report,
) -> Result<Transition, NotMoved> {
    for tries in 0..CONFLICTS_MAX {
        let job = shared.store.job(id).await?.ok_or(NotMoved::NotFound(id))?;
        let now = shared.now();
        let transition = next(&job, event, now, &shared.policy, shared.chance())?;
        let Report { outcome, evidence, renewals } = report.clone();
        let Beside { item, posts } =
            advance::of_transition(shared, &job, event, &transition, outcome.as_ref(), now).await?;
        let told = !posts.is_empty() || item.as_ref().is_some_and(|item| item.alert.is_some());
        let change =
            Change { outcome, evidence, item, posts, renewals, ..Change::new(transition.clone(), now) };
        match shared.store.apply(change).await? {
            Applied::Done => {
                if told {
                    shared.alert();
                }
                shared.instruments.moved(&job, event, &transition, report.outcome.as_ref());
                shared.events.moved(now, &job, &transition);
                follow_up(shared, &transition);
                return Ok(transition);
            }
            Applied::Conflict if renewals.is_some() => break,
            Applied::Conflict => tokio::time::sleep(pause(tries) / 50).await,
        }
    }
    Err(NotMoved::Contended(id))
}

/// [`move_job`], again and again until the database answers.
pub(crate) async fn move_job_at_last(
    shared: &Shared,
    id: JobId,
    event: &Event,
    report: Report,
) -> Result<Transition, NotMoved> {
    let mut tries = 0;
    loop {
        match move_job(shared, id, event, report.clone()).await {
            Err(error @ (NotMoved::Store(_) | NotMoved::Contended(_))) => {
                if tries == 0 {
                    tracing::warn!(job.id = %id, event = event.name(), error = error_chain(&error), "could not write yet");
                }
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
            decided => return decided,
        }
    }
}

fn follow_up(shared: &Shared, transition: &Transition) {
    if !transition.alerts.is_empty() {
        shared.alert();
    }
    match &transition.run {
        RunChange::Keep | RunChange::Insert(_) => {}
        // Neither frees a place nor adds to the queue.
        RunChange::Start { run } => return shared.runs.start(*run),
        RunChange::End { run, class, reason } => {
            shared.runs.end(*run);
            tracing::info!(run.id = %run, class, reason, "run ended");
        }
    }
    shared.wake();
}

/// An error with its causes, in one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
