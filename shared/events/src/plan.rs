//! From what a body says to a delivery that can be committed: which project, which stages, which jobs.

use std::collections::BTreeSet;

use domain::delivery::{About, NewDelivery, NewJob, Payload};
use domain::job::Origin;
use domain::launch::{self, Decision};
use domain::pipeline::{Pipeline, Project};
use domain::sighting::{Sighting, Word};
use domain::{Budgets, Timestamp};

use crate::observed::{FACT_BYTES_MAX, bounded};
use crate::{Observed, Place, Refusal};

/// The most labels or assignees kept by name.
const WORDS_MAX: usize = 100;
/// The longest value of a sighting, in bytes: the ids of all labels of an issue.
const VALUE_BYTES_MAX: usize = 16 * 1024;

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
    payload: Payload,
) -> Result<NewDelivery, Refusal> {
    let mut sightings = Vec::new();
    let jobs = match &observed.place {
        Place::Project(scope) => {
            let project = launch::project_of(pipeline, scope).ok_or(Refusal::Foreign)?;
            let own = observed.actor.is_some_and(|actor| actor.is(&pipeline.identity));
            let seen = observed.sightings.iter().map(|told| Sighting { own, ..kept(told) });
            sightings.extend(seen.map(|told| (project.name.clone(), told)));
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
        sightings,
    })
}

/// A sighting within limits, and free of U+0000.
fn kept(told: &Sighting) -> Sighting {
    let words = told.words.iter().take(WORDS_MAX).map(|word| Word {
        id: bounded(&word.id, FACT_BYTES_MAX),
        name: word.name.as_deref().map(|name| bounded(name, FACT_BYTES_MAX)),
    });
    Sighting { words: words.collect(), value: bounded(&told.value, VALUE_BYTES_MAX), ..told.clone() }
}

fn jobs(
    pipeline: &Pipeline,
    project: &Project,
    envelope: &Envelope,
    observed: &Observed,
    payload: Payload,
) -> Vec<NewJob> {
    let mut jobs = Vec::new();
    let mut started = BTreeSet::new();
    for event in &observed.events {
        let (stages, untrusted) = match launch::decide(pipeline, project, event) {
            Decision::Launch(stages) => (stages, false),
            Decision::Restricted(stages) => (stages, true),
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
                payload: Payload::default(),
                trace_context: envelope.trace_context.clone(),
                origin: Origin {
                    delivery: Some(format!("{}:{}", envelope.source, envelope.delivery_id)),
                    head: event.head.clone(),
                    ..Origin::default()
                },
                about: About { untrusted, ..launch::about(project, event, stage) },
                budgets: Budgets::default(),
                work_item,
            });
        }
    }
    // The last takes it as it is: most events start one job.
    let payloads = std::iter::repeat_n(payload, jobs.len());
    for (job, payload) in jobs.iter_mut().zip(payloads) {
        job.payload = payload;
    }
    jobs
}
