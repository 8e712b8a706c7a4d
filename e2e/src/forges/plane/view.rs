//! What is kept, in Plane's shapes: of the API, where related things are ids, and of webhooks, where they are whole.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::state::{Changed, Comment, Issue, State, User, WorkflowState};
use crate::forges::hooks::Event;

pub(super) fn user(user: &User) -> Value {
    json!({"id": user.id, "first_name": user.name, "last_name": "", "email": format!("{}@example.org", user.name),
        "avatar": "", "avatar_url": null, "display_name": user.name})
}

pub(super) fn state(state: &WorkflowState, kept: &State) -> Value {
    json!({"id": state.id, "name": state.name, "color": state.color, "group": state.group, "description": "",
        "slug": state.name.to_lowercase().replace(' ', "-"), "sequence": 15000.0, "is_triage": false,
        "default": state.group == "backlog", "external_source": null, "external_id": null,
        "project": kept.project.id, "workspace": kept.project.workspace})
}

pub(super) fn label(id: Uuid, kept: &State) -> Value {
    json!({"id": id, "name": kept.label_name(id), "color": "#FF0000", "parent": null,
        "project": kept.project.id, "workspace": kept.project.workspace})
}

/// An issue as the API shows it; what `expand` names is whole.
pub(super) fn issue(issue: &Issue, kept: &State, expand: &[&str]) -> Value {
    let whole = |name: &str| expand.contains(&name);
    let shown_state = kept.states.iter().find(|state| state.id == issue.state);
    let completed = shown_state.is_some_and(|state| state.group == "completed");
    let state = match shown_state.filter(|_| whole("state")) {
        Some(state) => {
            json!({"id": state.id, "name": state.name, "color": state.color, "group": state.group})
        }
        None => json!(issue.state),
    };
    let labels: Vec<Value> = issue
        .labels
        .iter()
        .map(|id| {
            if whole("labels") {
                json!({"id": id, "name": kept.label_name(*id), "color": "#FF0000"})
            } else {
                json!(id)
            }
        })
        .collect();
    json!({"id": issue.id, "labels": labels, "assignees": [], "state": state,
        "created_at": at(issue.created_at), "updated_at": at(issue.updated_at), "deleted_at": null, "point": null,
        "name": issue.name, "description_html": issue.html, "description_stripped": stripped(&issue.html),
        "description_binary": null, "priority": "none", "start_date": null, "target_date": null,
        "sequence_id": issue.sequence, "sort_order": 65535.0 + 10000.0,
        "completed_at": completed.then(|| at(issue.updated_at)), "archived_at": null, "is_draft": false,
        "external_source": null, "external_id": null, "created_by": issue.created_by, "updated_by": issue.updated_by,
        "project": kept.project.id, "workspace": kept.project.workspace, "parent": null, "estimate_point": null,
        "type": null})
}

pub(super) fn comment(comment: &Comment, kept: &State) -> Value {
    let (source, id) = comment.external.clone().unzip();
    json!({"id": comment.id, "created_at": at(comment.created_at), "updated_at": at(comment.created_at),
        "deleted_at": null, "comment_html": comment.html, "attachments": [], "access": comment.access,
        "external_source": source, "external_id": id, "edited_at": null, "created_by": comment.actor,
        "updated_by": null, "project": kept.project.id, "workspace": kept.project.workspace,
        "description": null, "issue": comment.issue, "actor": comment.actor, "parent": null})
}

/// The webhook of a change.
pub(super) fn webhook(kept: &State, by: &User, change: &Changed, through_api: bool) -> Event {
    let (event, action, data, field, old, new) = match change {
        Changed::Created { issue } => {
            ("issue", "created", whole_issue(kept, *issue), Value::Null, Value::Null, Value::Null)
        }
        Changed::Field { issue, field, old, new } => {
            let field = json!(field.name(through_api));
            ("issue", "updated", whole_issue(kept, *issue), field, old.clone(), new.clone())
        }
        Changed::Commented { comment: id } => {
            let found = kept.comments.iter().find(|known| known.id == *id);
            let data = found.map_or(Value::Null, |found| comment(found, kept));
            ("issue_comment", "created", data, Value::Null, Value::Null, Value::Null)
        }
    };
    let body = json!({"event": event, "action": action, "webhook_id": kept.project.workspace,
        "workspace_id": kept.project.workspace, "data": data,
        "activity": {"field": field, "new_value": new, "old_value": old, "actor": user(by),
            "old_identifier": null, "new_identifier": null}});
    Event { by: by.name.clone(), grouped: event, kind: event, body: body.to_string() }
}

fn whole_issue(kept: &State, id: Uuid) -> Value {
    kept.issue(id).map_or(Value::Null, |found| issue(found, kept, &["state", "labels"]))
}

/// Microseconds, as Plane writes them.
pub(super) fn at(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn stripped(html: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for letter in html.chars() {
        match letter {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => text.push(letter),
            _ => {}
        }
    }
    text
}
