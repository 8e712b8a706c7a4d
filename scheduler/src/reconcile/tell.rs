//! From what was read to what the store is told: the body of the webhook that should have come, its sightings judged, and
//! a delivery of source `reconcile` where it starts something.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::delivery::{Accepted, RECONCILE};
use domain::pipeline::Project;
use domain::sighting::{Aspect, Seen, Sighting, Teller, judge};
use events::plan::{Envelope, plan};
use events::{Observed, gitea, plane};
use serde_json::{Map, Value};
use service::telemetry::trace_context;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Source;
use super::asking::Stop;
use crate::shared::Shared;

/// Under which delivery ids are made from bodies: the same fact has the same id, however often it is read.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f72_6368_2d72_4563_8f6e_6369_6c65_2e31);

/// A body as the webhook would have it.
#[derive(Debug)]
pub(super) struct Body {
    /// The event's exact type.
    pub(super) event: &'static str,
    /// What would have been sent.
    pub(super) object: Map<String, Value>,
    /// What would have been sent after it, before anybody looked: it starts what it starts, but no stage twice.
    since: Vec<Map<String, Value>>,
    /// Of reviews: how many alike there are with this one.
    times: u32,
}

impl Body {
    pub(super) fn new(event: &'static str, body: Value) -> Self {
        Self { event, object: object(body), since: Vec::new(), times: 1 }
    }

    /// What was sent before `later`, which tells of the same moment.
    #[must_use]
    pub(super) fn and(mut self, later: Self) -> Self {
        self.since.push(later.object);
        self
    }

    /// The last of so many reviews alike.
    #[must_use]
    pub(super) fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

fn object(body: Value) -> Map<String, Value> {
    match body {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// How what was read is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// It may start something.
    News,
    /// Nobody knows whether it was announced: it is taken down where nothing is known, and starts nothing.
    Known,
    /// It starts nothing, and may be what something waits for.
    Fact,
}

/// Reads a body as ingest would; `None`: it cannot be used.
pub(super) fn observe(source: Source, body: &Body) -> Option<Observed> {
    let read = |object: &Map<String, Value>| {
        let observed = match source {
            Source::Plane => plane::observe(body.event, object),
            Source::Gitea => gitea::observe(body.event, object),
        };
        observed
            .inspect_err(|refusal| {
                tracing::warn!(source = source.as_str(), event = body.event, %refusal, "what was read cannot be used");
            })
            .ok()
    };
    let mut observed = read(&body.object)?;
    observed.events.extend(body.since.iter().filter_map(read).flat_map(|later| later.events));
    Some(observed)
}

/// What is known of the subjects of a body.
async fn known(shared: &Shared, project: &Project, observed: &Observed) -> Result<Vec<Seen>, Stop> {
    let subjects: BTreeSet<&String> = observed.sightings.iter().map(|told| &told.name.subject).collect();
    let subjects: Vec<String> = subjects.into_iter().cloned().collect();
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    Ok(shared.store.sightings(&project.name, &subjects).await?)
}

/// Tells the store of a body; gives how many changes no webhook announced.
pub(super) async fn tell(
    shared: &Arc<Shared>,
    source: Source,
    project: &Project,
    body: &Body,
    taken: As,
) -> Result<u32, Stop> {
    let Some(mut observed) = observe(source, body) else { return Ok(0) };
    for told in observed.sightings.iter_mut().filter(|told| matches!(told.name.aspect, Aspect::Review(_))) {
        told.value = body.times.to_string();
    }
    let known = known(shared, project, &observed).await?;
    let of = |told: &Sighting| known.iter().find(|seen| seen.sighting.name == told.name);
    let judged = |told: &Sighting| judge(of(told), told, Teller::Reconciler);
    let pipeline = shared.pipeline.get();
    let text = Value::Object(body.object.clone()).to_string();
    let body_sha256 = hex::encode(Sha256::digest(text.as_bytes()));
    let id = Uuid::new_v5(&NAMESPACE, format!("{}:{}:{body_sha256}", project.name, body.event).as_bytes());
    let envelope = Envelope {
        source: RECONCILE,
        delivery_id: id.to_string(),
        event: format!("{}.{}", source.as_str(), body.event),
        body_sha256,
        received_at: shared.now(),
        trace_context: trace_context::of(&tracing::info_span!("reconcile", project = project.name)),
    };
    let payload = observed.account.payload(body.object.clone(), text.len());
    let Ok(mut delivery) = plan(&pipeline, envelope, &observed, payload) else { return Ok(0) };
    // The first is what the body is about; the others are beside it.
    let is_news = observed.sightings.first().map(|told| judged(told).news);
    // What has no sighting is told apart by the key of its job.
    if taken == As::News && is_news != Some(false) && !delivery.jobs.is_empty() {
        let accepted = shared.store.accept(delivery).await?;
        if let Accepted::Enqueued { jobs } = &accepted {
            tracing::info!(project = project.name, event = body.event, job.ids = ?jobs, "told of what no webhook announced");
            shared.wake();
        }
        let is_fresh = matches!(accepted, Accepted::Enqueued { .. });
        return Ok(u32::from(is_news.unwrap_or(is_fresh)));
    }
    delivery.sightings.retain(|(_, told)| match taken {
        As::Known => of(told).is_none(),
        As::News | As::Fact => judged(told).kept,
    });
    let sightings = delivery.sightings.into_iter().map(|(_, told)| told).collect();
    shared.store.note_sightings(project.name.clone(), sightings, Teller::Reconciler, shared.now()).await?;
    Ok(u32::from(taken != As::Known && is_news == Some(true)))
}
