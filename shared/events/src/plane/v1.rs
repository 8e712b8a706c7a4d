//! Plane's v1 bodies, of the community edition: event, action, the data as it was when the hook's task ran, and the
//! activity that says what changed.

use domain::Timestamp;
use domain::launch::{Actor, Facts, Label, LaunchEvent, Subject};
use domain::pipeline::{LaunchPoint, Trust};
use domain::report;
use domain::sighting::{Aspect, Sighting, Word};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{id, place, required_id, said, shaped, text, text_at, word};
use crate::Refusal;
use crate::observed::{Account, Observed, Place, digest};

#[derive(Debug, Deserialize)]
struct Issue {
    id: String,
    project: Option<String>,
    sequence_id: Option<u64>,
    name: Option<String>,
    description_stripped: Option<String>,
    description_html: Option<String>,
    state: Option<State>,
    labels: Option<Vec<LabelBody>>,
    assignees: Option<Vec<Value>>,
    updated_at: Option<String>,
    created_by: Option<String>,
    updated_by: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum State {
    Whole { id: String, name: Option<String>, group: Option<String> },
    Id(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LabelBody {
    Whole { id: String, name: Option<String> },
    Id(String),
}

#[derive(Debug, Deserialize)]
struct Comment {
    id: String,
    issue: String,
    project: Option<String>,
    #[serde(rename = "comment_html")]
    html: Option<String>,
    #[serde(rename = "comment_stripped")]
    stripped: Option<String>,
    actor: Option<String>,
    created_by: Option<String>,
    external_source: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Activity {
    #[serde(default)]
    new_value: Value,
    #[serde(default)]
    old_value: Value,
    actor: Option<ActorBody>,
}

#[derive(Debug, Deserialize)]
struct ActorBody {
    id: Option<String>,
    display_name: Option<String>,
}

/// What can start a stage; older versions write the actions without the d.
enum Kind {
    IssueCreated,
    IssueUpdated(&'static str),
    CommentCreated,
}

pub(super) fn observe(
    workspace: Uuid,
    event: &str,
    object: &Map<String, Value>,
) -> Result<Observed, Refusal> {
    let action = text_at(object, "action")?.unwrap_or_default();
    let field =
        object.get("activity").and_then(|activity| activity.get("field")?.as_str()).unwrap_or_default();
    let kind = match (event, action) {
        ("issue", "created" | "create") => Kind::IssueCreated,
        ("issue", "updated" | "update") => match changed_field(field) {
            Some(field) => Kind::IssueUpdated(field),
            None => return Ok(elsewhere(workspace, event, object)),
        },
        ("issue_comment", "created" | "create") => Kind::CommentCreated,
        _ => return Ok(elsewhere(workspace, event, object)),
    };
    let activity: Activity = match object.get("activity") {
        None | Some(Value::Null) => Activity::default(),
        some => shaped(some)?,
    };
    match kind {
        Kind::IssueCreated => observe_issue(workspace, None, &shaped(object.get("data"))?, &activity),
        Kind::IssueUpdated(field) => {
            observe_issue(workspace, Some(field), &shaped(object.get("data"))?, &activity)
        }
        Kind::CommentCreated => observe_comment(workspace, &shaped(object.get("data"))?, &activity),
    }
}

/// The web page and the API write different names of one field.
fn changed_field(field: &str) -> Option<&'static str> {
    match field {
        "state" | "state_id" => Some("state"),
        "labels" | "label_ids" => Some("labels"),
        "assignees" | "assignee_ids" => Some("assignees"),
        _ => None,
    }
}

/// Nothing to do. A project the body names must still be one of ours; of a `project` event that is the data itself.
fn elsewhere(workspace: Uuid, event: &str, object: &Map<String, Value>) -> Observed {
    let key = if event == "project" { "id" } else { "project" };
    let project =
        object.get("data").and_then(|data| data.get(key)?.as_str()).and_then(crate::identifier::uuid);
    Observed::nothing(place(workspace, project))
}

fn observe_issue(
    workspace: Uuid,
    field: Option<&'static str>,
    issue: &Issue,
    activity: &Activity,
) -> Result<Observed, Refusal> {
    let issue_id = required_id(Some(&issue.id))?;
    let Some(project) = id(issue.project.as_deref())? else {
        return Ok(Observed::nothing(Place::Workspace(workspace)));
    };
    let (state_id, state_group) = state(issue, field, activity)?;
    let by_activity = activity.actor.as_ref().and_then(|actor| actor.id.as_deref());
    let by_data = issue.updated_by.as_deref().or(issue.created_by.as_deref());
    let actor = id(by_activity.or(by_data))?;
    let updated_at = word(issue.updated_at.as_deref())?;
    let name = issue.name.as_deref().unwrap_or_default();

    let (point, semantic_key) = match field {
        // Adding an issue to a cycle or module announces it as created once more, with the same title.
        None => (LaunchPoint::PlaneIssueCreated, format!("plane.issue_created:{issue_id}:{}", digest(name))),
        Some("state") => {
            let state = state_id.map(|id| id.to_string()).unwrap_or_default();
            (LaunchPoint::PlaneStateChanged, format!("plane.state_changed:{issue_id}:{updated_at}:{state}"))
        }
        Some(field) => {
            let now = digest(&current(issue, field));
            (
                LaunchPoint::PlaneLabelsChanged,
                format!("plane.labels_changed:{issue_id}:{field}:{updated_at}:{now}"),
            )
        }
    };
    let sightings = sightings(issue, issue_id, field, state_id);
    let facts = Facts {
        state_group: state_group.clone(),
        state_id,
        labels: labels(issue, field, activity),
        field,
        ..Facts::default()
    };
    let event = LaunchEvent {
        point,
        subject: Subject::Issue { id: issue_id, sequence: issue.sequence_id },
        actor: actor.map(Actor::Plane),
        trust: Trust::Member,
        facts,
        head: None,
        semantic_key,
        sighting: sightings.first().map(|told| told.name.clone()),
    };
    let description = said(issue.description_stripped.as_deref())
        .or_else(|| issue.description_html.as_deref().map(text::plain).filter(|text| !text.is_empty()));
    let account = Account {
        title: said(issue.name.as_deref()),
        body: description,
        url: None,
        author: activity.actor.as_ref().and_then(|actor| actor.display_name.clone()),
        facts: vec![
            ("event", Some(point.as_str().to_owned())),
            ("issue_id", Some(issue_id.to_string())),
            ("field", field.map(str::to_owned)),
            ("state_group", state_group),
            ("state_id", state_id.map(|id| id.to_string())),
        ],
    };
    let actor = event.actor;
    Ok(Observed { place: place(workspace, Some(project)), events: vec![event], account, sightings, actor })
}

/// What the body shows: of a change the field that it tells of, since the data may be of a later moment than the change; of
/// a new issue everything.
fn sightings(
    issue: &Issue,
    issue_id: Uuid,
    field: Option<&'static str>,
    state_id: Option<Uuid>,
) -> Vec<Sighting> {
    let subject = issue_id.to_string();
    let is_told = |of: &str| field.is_none_or(|field| field == of);
    let mut told = Vec::new();
    if field.is_none() {
        told.push(Sighting::of(&subject, Aspect::Created, "1"));
    }
    if let Some(id) = state_id.filter(|_| is_told("state")) {
        let name = match &issue.state {
            Some(State::Whole { id: shown, name, .. }) if *shown == id.to_string() => name.clone(),
            Some(State::Whole { .. } | State::Id(_)) | None => None,
        };
        let words = vec![Word { id: id.to_string(), name }];
        told.push(Sighting::of_ids(&subject, Aspect::State, words));
    }
    if is_told("labels") {
        let all = labels(issue, None, &Activity::default());
        let words = all.into_iter().map(|label| Word { id: label.id, name: label.name }).collect();
        told.push(Sighting::of_ids(&subject, Aspect::Labels, words));
    }
    if is_told("assignees") {
        let ids = assignees(issue).map(|id| Word { id, name: None }).collect();
        told.push(Sighting::of_ids(&subject, Aspect::Assignees, ids));
    }
    let version = issue.updated_at.as_deref().and_then(Timestamp::parse);
    told.into_iter().map(|told| Sighting { version, ..told }).collect()
}

fn assignees(issue: &Issue) -> impl Iterator<Item = String> {
    let id_of = |value: &Value| value.get("id").unwrap_or(value).as_str().unwrap_or_default().to_owned();
    issue.assignees.iter().flatten().map(id_of)
}

/// The state the issue was moved to. The data may show a later one, whose group says nothing of this move.
fn state(
    issue: &Issue,
    field: Option<&str>,
    activity: &Activity,
) -> Result<(Option<Uuid>, Option<String>), Refusal> {
    let (shown, group) = match &issue.state {
        None => (None, None),
        Some(State::Whole { id: text, group, .. }) => (id(Some(text))?, group.clone()),
        Some(State::Id(text)) => (id(Some(text))?, None),
    };
    let moved_to =
        activity.new_value.as_str().and_then(crate::identifier::uuid).filter(|_| field == Some("state"));
    Ok(match moved_to {
        Some(moved_to) if shown != Some(moved_to) => (Some(moved_to), None),
        Some(_) | None => (shown, group),
    })
}

/// The issue's labels; when they are what changed, those that were added.
fn labels(issue: &Issue, field: Option<&str>, activity: &Activity) -> Vec<Label> {
    if field == Some("assignees") {
        return Vec::new();
    }
    let all = issue.labels.iter().flatten().map(|label| match label {
        LabelBody::Whole { id, name } => Label { id: id.clone(), name: name.clone() },
        LabelBody::Id(id) => Label { id: id.clone(), name: None },
    });
    match (field, activity.old_value.as_array()) {
        (Some("labels"), Some(old)) => {
            let is_old = |text: &str| old.iter().any(|value| value.as_str() == Some(text));
            all.filter(|label| !is_old(&label.id) && !label.name.as_deref().is_some_and(is_old)).collect()
        }
        (Some(_) | None, _) => all.collect(),
    }
}

/// The ids that labels or assignees have now, in a fixed order.
fn current(issue: &Issue, field: &str) -> String {
    let mut ids: Vec<String> = if field == "labels" {
        labels(issue, None, &Activity::default()).into_iter().map(|label| label.id).collect()
    } else {
        assignees(issue).collect()
    };
    ids.sort();
    ids.join(",")
}

fn observe_comment(workspace: Uuid, comment: &Comment, activity: &Activity) -> Result<Observed, Refusal> {
    let (comment_id, issue_id) = (required_id(Some(&comment.id))?, required_id(Some(&comment.issue))?);
    let Some(project) = id(comment.project.as_deref())? else {
        return Ok(Observed::nothing(Place::Workspace(workspace)));
    };
    // Orch's own words, whosever key they were written with.
    if comment.external_source.as_deref() == Some(report::SOURCE) {
        return Ok(Observed::nothing(place(workspace, Some(project))));
    }
    let by_activity = activity.actor.as_ref().and_then(|actor| actor.id.as_deref());
    let actor = id(by_activity.or(comment.actor.as_deref()).or(comment.created_by.as_deref()))?;
    let said = said(comment.stripped.as_deref())
        .unwrap_or_else(|| text::plain(comment.html.as_deref().unwrap_or_default()));
    let event = LaunchEvent {
        point: LaunchPoint::PlaneComment,
        subject: Subject::Issue { id: issue_id, sequence: None },
        actor: actor.map(Actor::Plane),
        trust: Trust::Member,
        facts: Facts { comment: Some(said.clone()), ..Facts::default() },
        head: None,
        semantic_key: format!("plane.comment:{comment_id}"),
        sighting: None,
    };
    let account = Account {
        title: None,
        body: Some(said).filter(|text| !text.is_empty()),
        url: None,
        author: activity.actor.as_ref().and_then(|actor| actor.display_name.clone()),
        facts: vec![
            ("event", Some(LaunchPoint::PlaneComment.as_str().to_owned())),
            ("issue_id", Some(issue_id.to_string())),
            ("comment_id", Some(comment_id.to_string())),
        ],
    };
    let actor = event.actor;
    let place = place(workspace, Some(project));
    Ok(Observed { place, events: vec![event], account, sightings: Vec::new(), actor })
}
