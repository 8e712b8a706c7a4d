//! From what a body says to a delivery that can be committed: which project, which stages, which jobs.

use std::collections::BTreeSet;

use domain::Timestamp;
use domain::delivery::{NewDelivery, NewJob, Payload};
use domain::job::Origin;
use domain::launch::{self, Decision};
use domain::pipeline::{Pipeline, Project};

use crate::{Observed, Place, Refusal};

/// What is known of a delivery besides its content.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// `gitea` or `plane`.
    pub source: &'static str,
    /// The sender's delivery id, a UUID in lower case.
    pub delivery_id: String,
    /// The event's name, from the headers.
    pub event: String,
    /// SHA-256 of the body, lower-case hex.
    pub body_sha256: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// The W3C `traceparent` of the request's span.
    pub trace_context: Option<String>,
}

/// Decides what a delivery starts; no job: there is nothing to do.
///
/// # Errors
/// [`Refusal::Foreign`]: it belongs to no configured project or workspace.
pub fn plan(
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
