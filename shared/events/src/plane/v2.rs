//! Plane's v2 bodies: dotted event names, ids instead of objects, and the attributes as they were before.

use domain::Timestamp;
use domain::launch::{Actor, Facts, Label, LaunchEvent, Subject};
use domain::pipeline::{LaunchPoint, Trust};
use domain::report;
use domain::sighting::{Aspect, Sighting, SightingName, Word};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{id, place, required_id, said, shaped, text, text_at};
use crate::Refusal;
use crate::observed::{Account, Observed, Place, digest};

#[derive(Debug, Deserialize)]
struct WorkItem {
    id: String,
    project_id: Option<String>,
    sequence_id: Option<u64>,
    name: Option<String>,
    description_stripped: Option<String>,
    description_html: Option<String>,
    state_id: Option<String>,
    label_ids: Option<Vec<String>>,
    assignee_ids: Option<Vec<String>>,
    updated_at: Option<String>,
    created_by_id: Option<String>,
    updated_by_id: Option<String>,
    comment: Option<Comment>,
}

#[derive(Debug, Deserialize)]
struct Comment {
    id: String,
    actor_id: Option<String>,
    #[serde(rename = "comment_stripped")]
    stripped: Option<String>,
    #[serde(rename = "comment_html")]
    html: Option<String>,
    external_source: Option<String>,
}

pub(super) fn observe(
    workspace: Uuid,
    event: &str,
    object: &Map<String, Value>,
) -> Result<Observed, Refusal> {
    if !matches!(event, "workitem.created" | "workitem.updated" | "workitem.comment.created") {
        return Ok(Observed::nothing(Place::Workspace(workspace)));
    }
    let item: WorkItem = shaped(object.get("data"))?;
    let item_id = required_id(Some(&item.id))?;
    let Some(project) = id(item.project_id.as_deref())? else {
        return Ok(Observed::nothing(Place::Workspace(workspace)));
    };
    let place = place(workspace, Some(project));
    if event == "workitem.comment.created" {
        return observe_comment(place, item_id, &item);
    }

    let actor = match id(item.updated_by_id.as_deref())? {
        Some(actor) => Some(actor),
        None => id(item.created_by_id.as_deref())?,
    };
    let facts = Facts {
        state_id: id(item.state_id.as_deref())?,
        labels: labels(&item, &Value::Null),
        ..Facts::default()
    };
    let launch = |point, facts, semantic_key, aspect| LaunchEvent {
        point,
        subject: Subject::Issue { id: item_id, sequence: item.sequence_id },
        actor: actor.map(Actor::Plane),
        trust: Trust::Member,
        facts,
        head: None,
        semantic_key,
        sighting: Some(SightingName { subject: item_id.to_string(), aspect }),
    };
    let mut told = vec![];
    let events = if event == "workitem.created" {
        let key =
            format!("plane.issue_created:{item_id}:{}", digest(item.name.as_deref().unwrap_or_default()));
        told.extend([Aspect::Created, Aspect::State, Aspect::Labels, Aspect::Assignees]);
        vec![launch(LaunchPoint::PlaneIssueCreated, facts, key, Aspect::Created)]
    } else {
        let event_id = required_id(text_at(object, "event_id")?)?;
        let before = object.get("previous_attributes");
        changes(before)
            .map(|(point, field, old)| {
                let labels = if field == "assignees" { Vec::new() } else { labels(&item, old) };
                let facts = Facts { labels, field: Some(field), ..facts.clone() };
                let aspect = aspect_of(field);
                told.push(aspect.clone());
                launch(point, facts, format!("{}:{item_id}:{event_id}:{field}", point.as_str()), aspect)
            })
            .collect()
    };
    let description = said(item.description_stripped.as_deref())
        .or_else(|| item.description_html.as_deref().map(text::plain).filter(|text| !text.is_empty()));
    let account = Account {
        title: said(item.name.as_deref()),
        body: description,
        url: None,
        author: None,
        facts: vec![
            ("event", Some(event.to_owned())),
            ("issue_id", Some(item_id.to_string())),
            ("state_id", said(item.state_id.as_deref())),
        ],
    };
    let sightings = told.into_iter().filter_map(|aspect| sighting(&item, item_id, aspect)).collect();
    Ok(Observed { place, events, account, sightings, actor: actor.map(Actor::Plane) })
}

fn aspect_of(field: &str) -> Aspect {
    match field {
        "state" => Aspect::State,
        "labels" => Aspect::Labels,
        _ => Aspect::Assignees,
    }
}

/// What the body shows of one side of the item; `None`: it does not say.
fn sighting(item: &WorkItem, item_id: Uuid, aspect: Aspect) -> Option<Sighting> {
    let subject = item_id.to_string();
    let words = |ids: &[String]| ids.iter().map(|id| Word { id: id.clone(), name: None }).collect();
    let told = match &aspect {
        Aspect::Created => Sighting::of(&subject, aspect, "1"),
        Aspect::State => Sighting::of_ids(&subject, aspect, words(&[said(item.state_id.as_deref())?])),
        Aspect::Labels => Sighting::of_ids(&subject, aspect, words(item.label_ids.as_deref()?)),
        Aspect::Assignees => Sighting::of_ids(&subject, aspect, words(item.assignee_ids.as_deref()?)),
        Aspect::Head
        | Aspect::Merged
        | Aspect::Open
        | Aspect::Branch(_)
        | Aspect::Review(_)
        | Aspect::Status(_)
        | Aspect::Run(_) => {
            return None;
        }
    };
    Some(Sighting { version: item.updated_at.as_deref().and_then(Timestamp::parse), ..told })
}

/// The launch points of one update, with the old value of each; one delivery may tell of several.
fn changes(before: Option<&Value>) -> impl Iterator<Item = (LaunchPoint, &'static str, &Value)> {
    [
        (LaunchPoint::PlaneStateChanged, "state", "state_id"),
        (LaunchPoint::PlaneLabelsChanged, "labels", "label_ids"),
        (LaunchPoint::PlaneLabelsChanged, "assignees", "assignee_ids"),
    ]
    .into_iter()
    .filter_map(move |(point, field, key)| Some((point, field, before?.get(key)?)))
}

/// The labels, by id alone, that are not in `old`.
fn labels(item: &WorkItem, old: &Value) -> Vec<Label> {
    let is_old =
        |id: &str| old.as_array().is_some_and(|old| old.iter().any(|value| value.as_str() == Some(id)));
    item.label_ids
        .iter()
        .flatten()
        .filter(|id| !is_old(id))
        .map(|id| Label { id: id.clone(), name: None })
        .collect()
}

fn observe_comment(place: Place, item_id: Uuid, item: &WorkItem) -> Result<Observed, Refusal> {
    let comment = item.comment.as_ref().ok_or(Refusal::Shape)?;
    let comment_id = required_id(Some(&comment.id))?;
    if comment.external_source.as_deref() == Some(report::SOURCE) {
        return Ok(Observed::nothing(place));
    }
    let said_text = said(comment.stripped.as_deref())
        .unwrap_or_else(|| text::plain(comment.html.as_deref().unwrap_or_default()));
    let event = LaunchEvent {
        point: LaunchPoint::PlaneComment,
        subject: Subject::Issue { id: item_id, sequence: item.sequence_id },
        actor: id(comment.actor_id.as_deref())?.map(Actor::Plane),
        trust: Trust::Member,
        facts: Facts { comment: Some(said_text.clone()), ..Facts::default() },
        head: None,
        semantic_key: format!("plane.comment:{comment_id}"),
        sighting: None,
    };
    let account = Account {
        title: said(item.name.as_deref()),
        body: Some(said_text).filter(|text| !text.is_empty()),
        url: None,
        author: None,
        facts: vec![
            ("event", Some(LaunchPoint::PlaneComment.as_str().to_owned())),
            ("issue_id", Some(item_id.to_string())),
            ("comment_id", Some(comment_id.to_string())),
        ],
    };
    let actor = event.actor;
    Ok(Observed { place, events: vec![event], account, sightings: Vec::new(), actor })
}
