//! Reads the issues of a Plane project, the newest change first, and compares them with what was seen of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Timestamp;
use domain::pipeline::{LaunchPoint, Project};
use domain::reconcile::{Cursor, Page};
use domain::sighting::{Aspect, Seen};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::asking::{Asking, Stop, segment};
use super::tell::{As, Body, tell};
use super::{OVERLAP, Source, cursor, save, visit};
use crate::shared::Shared;

/// Issues of a page: with one request for the comments of each, a page fits into a round.
const PAGE_ISSUES: u32 = 20;
/// How far back comments are looked at, at most: a command that nobody obeyed for so long is not obeyed any more.
const COMMENTS_WITHIN: std::time::Duration = std::time::Duration::from_hours(24);

#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) results: Vec<Value>,
    #[serde(default)]
    pub(super) next_page_results: bool,
}

/// Where a project's issues are.
#[derive(Debug)]
pub(super) struct Place {
    workspace: Uuid,
    path: String,
}

impl Place {
    /// `None`: `orch.toml` does not say.
    pub(super) fn of(project: &Project) -> Option<Self> {
        let slug = segment(project.plane_workspace.as_deref()?);
        let path = format!("/api/v1/workspaces/{slug}/projects/{}", project.plane_project_id?);
        Some(Self { workspace: project.plane_workspace_id?, path })
    }

    pub(super) fn issue(&self, id: &str) -> String {
        format!("{}/work-items/{}/", self.path, segment(id))
    }
}

/// The names of a project's states and labels, by id.
#[derive(Debug, Default)]
struct Names {
    states: BTreeMap<String, Value>,
    labels: BTreeMap<String, Value>,
}

pub(super) async fn project(
    shared: &Arc<Shared>,
    project: &Project,
    asking: &mut Asking<'_>,
    found: &mut u32,
) -> Result<(), Stop> {
    let Some(place) = Place::of(project) else { return Ok(()) };
    let mut at = cursor(shared, Source::Plane, project).await?;
    let mut names = None;
    loop {
        let path = format!(
            "{}/work-items/?order_by=-updated_at&per_page={PAGE_ISSUES}&cursor={PAGE_ISSUES}:{}:0",
            place.path,
            at.page()
        );
        let Some(listed) = asking.get::<Listed>("issues", &path).await? else {
            return Err(Stop::Failed("issues: there is no such project".to_owned()));
        };
        let known_until = at.since;
        let fresh = listed.results.iter().filter(|issue| {
            known_until.is_none_or(|since| changed(issue).is_none_or(|at| at.plus(OVERLAP) >= since))
        });
        for issue in fresh {
            if names.is_none() {
                names = Some(read_names(asking, &place).await?);
            }
            let names = names.get_or_insert_default();
            *found += compare(shared, project, &place, &at, issue, names).await?;
            // What is read again for a lagging replica alone has no newer comment.
            if known_until.is_some_and(|since| changed(issue).is_none_or(|at| at > since)) {
                *found += comments(shared, project, &place, &at, asking, issue).await?;
            }
        }
        let times = || listed.results.iter().filter_map(changed);
        let page = Page { newest: times().max(), oldest: times().min(), more: listed.next_page_results };
        let after = at.after(page, OVERLAP);
        let over = after.walk.is_none();
        if after != at {
            save(shared, Source::Plane, project, &after).await?;
        }
        at = after;
        if over {
            break;
        }
    }
    visit::plane(shared, project, &place, &mut at, asking, found).await
}

async fn read_names(asking: &mut Asking<'_>, place: &Place) -> Result<Names, Stop> {
    let by_id = |listed: Option<Listed>| {
        let rows = listed.map(|listed| listed.results).unwrap_or_default();
        rows.into_iter().filter_map(|row| Some((id_of(&row)?.to_owned(), row))).collect()
    };
    let states = asking.get("states", &format!("{}/states/?per_page=100", place.path)).await?;
    let labels = asking.get("labels", &format!("{}/labels/?per_page=100", place.path)).await?;
    Ok(Names { states: by_id(states), labels: by_id(labels) })
}

/// Tells of whatever differs from what was seen.
async fn compare(
    shared: &Arc<Shared>,
    project: &Project,
    place: &Place,
    at: &Cursor,
    issue: &Value,
    names: &Names,
) -> Result<u32, Stop> {
    let Some(id) = id_of(issue) else { return Ok(0) };
    let data = whole(issue, names);
    let body = |action: &str, field: Value, old: Value, new: Value| {
        Body::new(
            "issue",
            json!({"event": "issue", "action": action, "workspace_id": place.workspace, "data": data,
                "activity": {"field": field, "old_value": old, "new_value": new,
                    "actor": {"id": actor(&data, action)}}}),
        )
    };
    let seen = shared.store.sightings(&project.name, &[id.to_ascii_lowercase()]).await?;
    let value_of = |aspect: Aspect| seen.iter().find(|seen| seen.sighting.name.aspect == aspect);
    let created = body("created", Value::Null, Value::Null, Value::Null);
    if value_of(Aspect::Created).is_none() {
        let is_new = !at.is_first_walk()
            && created_at(issue)
                .is_some_and(|created| at.baseline.is_some_and(|baseline| created > baseline));
        if is_new {
            let since = changed_since_creation(issue, names);
            let all = since
                .fold(created, |all, (field, old)| all.and(body("updated", json!(field), old, Value::Null)));
            return tell(shared, Source::Plane, project, &all, As::News).await;
        }
    }
    // What nothing was known of is taken down, before what differs is told.
    tell(shared, Source::Plane, project, &created, As::Known).await?;
    let mut found = 0;
    for (field, aspect) in
        [("state", Aspect::State), ("labels", Aspect::Labels), ("assignees", Aspect::Assignees)]
    {
        let Some(known) = value_of(aspect) else { continue };
        let body = body("updated", json!(field), old_value(field, known), Value::Null);
        found += tell(shared, Source::Plane, project, &body, As::News).await?;
    }
    Ok(found)
}

/// What an issue got after it was created, each with its value before. Nobody saw that happen; but an issue that nobody has
/// touched since is as it was created.
fn changed_since_creation<'a>(
    issue: &'a Value,
    names: &'a Names,
) -> impl Iterator<Item = (&'static str, Value)> + use<'a> {
    let is_touched = !issue["updated_by"].is_null();
    let is_moved = || {
        let state = issue["state"].as_str().and_then(|id| names.states.get(id));
        state.is_some_and(|state| state["default"] != json!(true))
    };
    let has_any = |field: &str| issue[field].as_array().is_some_and(|ids| !ids.is_empty());
    ["state", "labels", "assignees"]
        .into_iter()
        .filter(move |field| is_touched && if *field == "state" { is_moved() } else { has_any(field) })
        .map(|field| (field, if field == "state" { Value::Null } else { json!([]) }))
}

fn old_value(field: &str, known: &Seen) -> Value {
    if field == "state" {
        json!(known.sighting.value)
    } else {
        json!(known.sighting.words.iter().map(|word| &word.id).collect::<Vec<_>>())
    }
}

/// Comments that no webhook announced; those that start nothing leave no trace.
pub(super) async fn comments(
    shared: &Arc<Shared>,
    project: &Project,
    place: &Place,
    at: &Cursor,
    asking: &mut Asking<'_>,
    issue: &Value,
) -> Result<u32, Stop> {
    let pipeline = shared.pipeline.get();
    if !pipeline.triggers.iter().any(|trigger| trigger.on == LaunchPoint::PlaneComment) {
        return Ok(0);
    }
    let Some(id) = id_of(issue) else { return Ok(0) };
    let path = format!("{}comments/?per_page=50", place.issue(id));
    let Some(listed) = asking.get::<Listed>("comments", &path).await? else { return Ok(0) };
    let within_ms = i64::try_from(COMMENTS_WITHIN.as_millis()).unwrap_or(i64::MAX);
    let since = Timestamp::from_ms(shared.now().as_ms().saturating_sub(within_ms))
        .max(at.baseline.unwrap_or_default());
    let mut found = 0;
    for comment in listed.results.iter().filter(|comment| created_at(comment).is_some_and(|at| at > since)) {
        let mut data = comment.clone();
        data["issue"] = json!(id);
        if data["project"].is_null() {
            data["project"] = json!(project.plane_project_id);
        }
        let actor = &data["actor"];
        let body = json!({"event": "issue_comment", "action": "created", "workspace_id": place.workspace,
            "activity": {"actor": {"id": actor}}, "data": data});
        found += tell(shared, Source::Plane, project, &Body::new("issue_comment", body), As::News).await?;
    }
    Ok(found)
}

/// The issue as webhooks show it: its state and labels whole.
fn whole(issue: &Value, names: &Names) -> Value {
    let mut whole = issue.clone();
    let with_name = |id: &Value, known: &BTreeMap<String, Value>| {
        id.as_str().and_then(|id| known.get(id)).cloned().unwrap_or_else(|| id.clone())
    };
    whole["state"] = with_name(&issue["state"], &names.states);
    if let Some(labels) = issue["labels"].as_array() {
        whole["labels"] = labels.iter().map(|label| with_name(label, &names.labels)).collect();
    }
    whole
}

fn actor(issue: &Value, action: &str) -> Value {
    let creator = &issue["created_by"];
    if action == "created" || issue["updated_by"].is_null() {
        creator.clone()
    } else {
        issue["updated_by"].clone()
    }
}

pub(super) fn id_of(row: &Value) -> Option<&str> {
    row["id"].as_str()
}

fn changed(row: &Value) -> Option<Timestamp> {
    row["updated_at"].as_str().and_then(Timestamp::parse)
}

fn created_at(row: &Value) -> Option<Timestamp> {
    row["created_at"].as_str().and_then(Timestamp::parse)
}
