//! What the end of a job does to its work item: the facts gathered, the decision `domain::work_item`'s, written with the
//! transition by whoever moves the job.

use domain::report::{self, Post};
use domain::transition::{Conclusion, RunChange};
use domain::verdict;
use domain::work_item::step::{JobEnd, Scene, step};
use domain::work_item::{ItemChange, WorkItem};
use domain::{Event, Job, JobState, Outcome, Timestamp, Transition};
use service::telemetry::trace_context;
use store::ItemFilter;

use crate::shared::Shared;

/// What a transition does beside its job, written with it or not at all.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// What it does to the work item.
    pub(crate) item: Option<ItemChange>,
    /// What the tracker and the forge are told.
    pub(crate) posts: Vec<Post>,
}

/// What `transition` of `job` does beside it.
pub(crate) async fn of_transition(
    shared: &Shared,
    job: &Job,
    event: &Event,
    transition: &Transition,
    outcome: Option<&Outcome>,
    now: Timestamp,
) -> Result<Beside, store::Error> {
    if let RunChange::Start { .. } = transition.run {
        return Ok(Beside { posts: of_start(shared, job).await?, item: None });
    }
    let Some(end) = end(job, event, transition, outcome) else { return Ok(Beside::default()) };
    let Some(item) = read(shared, &job.project, &job.work_item).await? else { return Ok(Beside::default()) };
    let payload = shared.store.payload(job.id).await?.unwrap_or_default();
    let pipeline = shared.pipeline.get();
    let scene = Scene { item: &item, job, payload: &payload, pipeline: &pipeline, now };
    let mut change = step(&scene, end.clone());
    if let (Some(next), Some(here)) = (&mut change.next, trace_context::current()) {
        next.trace_context = Some(here);
    }
    let posts = shared.reporting.with(|terms| report::of_end(&scene, &end, &change, terms));
    tracing::info!(
        job.id = %job.id, work_item = item.key, stage = job.stage, state = change.after.state.as_str(),
        next = change.next.as_ref().map(|next| next.stage.as_str()), "work item moves"
    );
    Ok(Beside { item: Some(change), posts })
}

async fn of_start(shared: &Shared, job: &Job) -> Result<Vec<Post>, store::Error> {
    let pipeline = shared.pipeline.get();
    let Some(project) = pipeline.project(&job.project).filter(|_| shared.reporting.any()) else {
        return Ok(Vec::new());
    };
    let payload = shared.store.payload(job.id).await?.unwrap_or_default();
    Ok(shared.reporting.with(|terms| report::of_start(project, job, &payload, terms)))
}

/// Reads one work item.
pub(crate) async fn read(
    shared: &Shared,
    project: &str,
    key: &str,
) -> Result<Option<WorkItem>, store::Error> {
    let filter =
        ItemFilter { project: Some(project.to_owned()), key: Some(key.to_owned()), state: None, limit: 1 };
    Ok(shared.store.work_items(filter).await?.pop())
}

/// How the job ended; `None`: it goes on.
fn end<'a>(
    job: &Job,
    event: &'a Event,
    transition: &'a Transition,
    outcome: Option<&'a Outcome>,
) -> Option<JobEnd<'a>> {
    match &transition.after.state {
        JobState::Done { .. } if is_cancel_requested(&job.state) => Some(JobEnd::Cancelled),
        JobState::Done { .. } => {
            let message = outcome.map_or("", verdict::final_message);
            let steps = outcome.map_or(&[][..], |outcome| &outcome.steps);
            Some(JobEnd::Done { verdict: verdict::read(message), message, steps })
        }
        JobState::Failed { reason, .. } => Some(match event {
            Event::BudgetSpent(exceeded)
            | Event::Ended { conclusion: Conclusion::OverBudget { exceeded }, .. } => {
                JobEnd::OverBudget { exceeded }
            }
            Event::Claimed(_)
            | Event::Confirmed { .. }
            | Event::Withdrawn { .. }
            | Event::Ended { .. }
            | Event::CancelRequested
            | Event::Retried => JobEnd::Failed { reason },
        }),
        JobState::Cancelled { .. } => Some(JobEnd::Cancelled),
        JobState::Queued { .. } if matches!(event, Event::Retried) => Some(JobEnd::Retried),
        JobState::Queued { .. } | JobState::Running { .. } => None,
    }
}

fn is_cancel_requested(state: &JobState) -> bool {
    matches!(state, JobState::Running { cancel_requested_at: Some(_), .. })
}
