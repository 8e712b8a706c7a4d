//! From what a body says to a committed delivery: which project, which stages, which jobs, and what to answer.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::Timestamp;
use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::job::Origin;
use domain::launch::{self, Decision};
use domain::pipeline::{Pipeline, Project};
use serde::Serialize;
use store::Store;

use crate::observed::{Observed, Place};
use crate::refusal::Refusal;

/// The net under the store's own deadlines, which are shorter: a delivery given up here may still be committed.
const STORE_DEADLINE: Duration = Duration::from_secs(10);

/// What is known of a delivery besides its content.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// `gitea` or `plane`.
    pub(crate) source: &'static str,
    /// The sender's delivery id, a UUID in lower case.
    pub(crate) delivery_id: String,
    /// The event's name, from the headers.
    pub(crate) event: String,
    /// SHA-256 of the body, lower-case hex.
    pub body_sha256: String,
    /// When it was received.
    pub(crate) received_at: Timestamp,
    /// The W3C `traceparent` of the request's span.
    pub(crate) trace_context: Option<String>,
}

/// What the sender is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Answer {
    /// What became of it.
    pub(crate) decision: Word,
    /// The jobs it made, or those of the delivery it repeats.
    pub(crate) job_ids: Vec<i64>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// Jobs were made.
    Enqueued,
    /// There was nothing to do.
    Ignored,
    /// It came before.
    Duplicate,
}

impl Word {
    /// The word in the answer and in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Ignored => "ignored",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Decides what a delivery starts; no job: there is nothing to do.
///
/// # Errors
/// [`Refusal::Foreign`]: it belongs to no configured project or workspace.
pub(crate) fn plan(
    pipeline: &Pipeline,
    envelope: Envelope,
    observed: &Observed,
    payload: &Payload,
) -> Result<NewDelivery, Refusal> {
    let jobs = match &observed.place {
        Place::Project(scope) => {
            let project = launch::project_of(pipeline, scope).ok_or(Refusal::Foreign)?;
            jobs(pipeline, project, &envelope, observed, payload)
        }
        Place::Workspace(workspace) if launch::knows_workspace(pipeline, *workspace) => Vec::new(),
        Place::Workspace(_) => return Err(Refusal::Foreign),
        Place::Unnamed => Vec::new(),
    };
    Ok(NewDelivery {
        source: envelope.source.to_owned(),
        delivery_id: envelope.delivery_id,
        event: envelope.event,
        body_sha256: envelope.body_sha256,
        received_at: envelope.received_at,
        jobs,
    })
}

fn jobs(
    pipeline: &Pipeline,
    project: &Project,
    envelope: &Envelope,
    observed: &Observed,
    payload: &Payload,
) -> Vec<NewJob> {
    let mut jobs = Vec::new();
    let mut started = BTreeSet::new();
    for event in &observed.events {
        let stages = match launch::decide(pipeline, project, event) {
            Decision::Launch(stages) => stages,
            nothing @ (Decision::OwnActor | Decision::Untrusted | Decision::NoTrigger) => {
                tracing::info!(project = project.name, event = event.point.as_str(), why = ?nothing, "nothing to start");
                continue;
            }
        };
        for stage in stages.into_iter().filter(|stage| started.insert(stage.name.clone())) {
            let work_item = launch::work_item_key(project, &event.subject);
            jobs.push(NewJob {
                project: project.name.clone(),
                stage: stage.name.clone(),
                role: stage.role.clone(),
                priority: 0,
                available_at: envelope.received_at,
                semantic_key: Some(launch::semantic_key(project, event, &work_item, stage)),
                payload: payload.clone(),
                trace_context: envelope.trace_context.clone(),
                origin: Origin {
                    delivery: Some(format!("{}:{}", envelope.source, envelope.delivery_id)),
                    head: event.head.clone(),
                    ..Origin::default()
                },
                about: launch::about(project, event, stage),
                work_item,
            });
        }
    }
    jobs
}

/// Commits a delivery and says what to answer.
///
/// # Errors
/// [`Refusal::Conflict`], [`Refusal::Unavailable`] or [`Refusal::Internal`]; nothing was written.
pub(crate) async fn commit(store: &dyn Store, delivery: NewDelivery) -> Result<Answer, Refusal> {
    let accepted = match tokio::time::timeout(STORE_DEADLINE, store.accept(delivery)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_elapsed) => {
            tracing::error!(
                deadline_ms = STORE_DEADLINE.as_millis(),
                "the database did not take the event in time"
            );
            return Err(Refusal::Unavailable);
        }
    };
    let answer = |decision, jobs: Vec<domain::JobId>| Answer {
        decision,
        job_ids: jobs.iter().map(|job| job.0).collect(),
    };
    match accepted {
        Accepted::Enqueued { jobs } => Ok(answer(Word::Enqueued, jobs)),
        Accepted::Duplicate { jobs } => Ok(answer(Word::Duplicate, jobs)),
        Accepted::Ignored => Ok(answer(Word::Ignored, Vec::new())),
        Accepted::Conflict => Err(Refusal::Conflict),
    }
}

fn failed(error: &store::Error) -> Refusal {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, source, "could not commit the event");
    match error {
        store::Error::Unavailable(_)
        | store::Error::Newer { .. }
        | store::Error::Older { .. }
        | store::Error::Setup(_)
        | store::Error::Closed => Refusal::Unavailable,
        store::Error::Corrupt(_) => Refusal::Internal,
    }
}
