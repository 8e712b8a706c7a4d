use domain::launch::{Actor, Label, LaunchEvent, Subject};
use domain::pipeline::LaunchPoint;
use serde_json::{Value, json};

use super::*;

const WORKSPACE: &str = "00000000-0000-4000-8000-000000000001";
const PROJECT: &str = "00000000-0000-4000-8000-000000000002";
const ISSUE: &str = "00000000-0000-4000-8000-000000000003";
const STATE: &str = "00000000-0000-4000-8000-000000000004";
const PERSON: &str = "00000000-0000-4000-8000-000000000005";
const OTHER: &str = "00000000-0000-4000-8000-000000000006";

fn id_of(text: &str) -> Uuid {
    text.parse().unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` makes values")]
fn issue(action: &str, field: Value, new: Value, old: Value) -> Value {
    json!({
        "event": "issue", "action": action, "webhook_id": OTHER, "workspace_id": WORKSPACE,
        "data": {
            "id": ISSUE, "project": PROJECT, "sequence_id": 12, "name": "Total is wrong", "updated_at": "2026-11-20T09:15:00Z",
            "description_html": "<p>It ignores the <b>discount</b></p>", "description_stripped": "",
            "state": {"id": STATE, "name": "In Progress", "group": "started"},
            "labels": [{"id": "l1", "name": "agent"}, {"id": "l2", "name": "bug"}], "assignees": [{"id": PERSON}],
            "created_by": PERSON, "updated_by": null
        },
        "activity": {"field": field, "new_value": new, "old_value": old, "actor": {"id": PERSON, "display_name": "jane"}}
    })
}

fn comment() -> Value {
    json!({
        "event": "issue_comment", "action": "created", "workspace_id": WORKSPACE,
        "data": {"id": OTHER, "issue": ISSUE, "project": PROJECT, "comment_html": "<p>/agent go</p>", "actor": PERSON},
        "activity": null
    })
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` makes values")]
fn v2(event: &str, previous: Value) -> Value {
    json!({
        "version": "v2", "event_id": OTHER, "event": event, "workspace_id": WORKSPACE, "previous_attributes": previous,
        "data": {"id": ISSUE, "project_id": PROJECT, "sequence_id": 12, "name": "Total is wrong", "state_id": STATE,
                 "label_ids": ["l1", "l2"], "assignee_ids": [], "created_by_id": PERSON, "updated_by_id": "None",
                 "comment": {"id": OTHER, "actor_id": PERSON, "comment_stripped": "/agent go"}}
    })
}

fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    *document.pointer_mut(pointer).expect("the pointer names a value") = value;
    document
}

fn observed(document: &Value) -> Result<Observed, Refusal> {
    observe("issue", document.as_object().expect("an object"))
}

fn one(document: &Value) -> LaunchEvent {
    let mut observed = observed(document).expect("the body is taken");
    assert_eq!(observed.events.len(), 1, "{observed:?}");
    observed.events.remove(0)
}

fn starts_nothing(document: &Value) -> bool {
    observed(document).expect("the body is taken").events.is_empty()
}

#[test]
fn an_issue_is_created() {
    for action in ["created", "create"] {
        let observed = observed(&issue(action, Value::Null, Value::Null, Value::Null)).unwrap();
        let scope = Scope::PlaneProject { workspace: id_of(WORKSPACE), project: id_of(PROJECT) };
        assert_eq!(observed.place, Place::Project(scope));
        let event = &observed.events[0];
        assert_eq!(event.point, LaunchPoint::PlaneIssueCreated);
        assert_eq!(event.subject, Subject::Issue { id: id_of(ISSUE), sequence: Some(12) });
        assert_eq!(event.actor, Some(Actor::Plane(id_of(PERSON))));
        assert_eq!(event.facts.state_group.as_deref(), Some("started"));
        assert_eq!(observed.account.body.as_deref(), Some("It ignores the discount"));
    }
}

#[test]
fn a_state_changes_under_either_name_and_with_either_form_of_the_state() {
    let keys: Vec<String> = ["state", "state_id"]
        .into_iter()
        .map(|field| {
            let event = one(&issue("updated", json!(field), json!(STATE), json!(OTHER)));
            assert_eq!(event.point, LaunchPoint::PlaneStateChanged);
            assert_eq!(event.facts.field, Some("state"));
            assert_eq!(event.facts.state_group.as_deref(), Some("started"));
            event.semantic_key
        })
        .collect();
    assert_eq!(keys[0], keys[1]);

    let moved_on = one(&issue("updated", json!("state"), json!(OTHER), json!(STATE)));
    assert_eq!((moved_on.facts.state_id, moved_on.facts.state_group), (Some(id_of(OTHER)), None));
    let named = one(&issue("updated", json!("state"), json!("In Progress"), json!("Todo")));
    assert_eq!(named.facts.state_group.as_deref(), Some("started"));
    let null =
        with(issue("updated", json!("state_id"), Value::Null, json!(OTHER)), "/data/state", Value::Null);
    let null = one(&with(null, "/data/labels", Value::Null));
    assert_eq!((null.facts.state_id, null.facts.state_group, null.facts.labels), (None, None, Vec::new()));
}

#[test]
fn added_labels_are_told_and_removed_ones_are_not() {
    let names = |document: &Value| -> Vec<Option<String>> {
        one(document).facts.labels.into_iter().map(|label: Label| label.name).collect()
    };
    assert_eq!(
        names(&issue("updated", json!("label_ids"), json!(["l1", "l2"]), json!(["l2"]))),
        [Some("agent".to_owned())]
    );
    assert_eq!(names(&issue("updated", json!("labels"), json!(["bug"]), json!(["agent", "bug"]))), []);
    assert_eq!(names(&issue("updated", json!("assignee_ids"), json!([PERSON]), json!([]))), []);
    assert_eq!(names(&issue("updated", json!("state"), json!(STATE), Value::Null)).len(), 2);
}

#[test]
fn changes_that_start_nothing() {
    for field in
        [json!("sort_order"), json!("description_html"), json!("name"), json!("priority"), Value::Null]
    {
        assert!(starts_nothing(&issue("updated", field.clone(), Value::Null, Value::Null)), "{field}");
    }
    assert!(starts_nothing(&issue("archived", json!("state"), Value::Null, Value::Null)));
    assert!(starts_nothing(
        &json!({"event": "issue", "action": "deleted", "workspace_id": WORKSPACE, "data": {"id": ISSUE}})
    ));
    assert!(starts_nothing(
        &json!({"event": "cycle", "action": "created", "workspace_id": WORKSPACE, "data": {}})
    ));
    assert!(starts_nothing(&with(comment(), "/action", json!("updated"))));
    assert!(starts_nothing(&json!({"version": "v9", "event": "x", "workspace_id": WORKSPACE})));
}

#[test]
fn a_comment_is_told_by_its_own_id() {
    let event = one(&comment());
    assert_eq!(event.point, LaunchPoint::PlaneComment);
    assert_eq!(event.subject, Subject::Issue { id: id_of(ISSUE), sequence: None });
    assert_eq!(event.actor, Some(Actor::Plane(id_of(PERSON))));
    assert_eq!(event.facts.comment.as_deref(), Some("/agent go"));
    let in_v2 = one(&v2("workitem.comment.created", json!({})));
    assert_eq!(in_v2.semantic_key, event.semantic_key);
}

/// By its mark, for the key it was written with may be anybody's.
#[test]
fn an_own_comment_starts_nothing() {
    for mut document in [comment(), v2("workitem.comment.created", json!({}))] {
        let of_comment = if document["version"] == "v2" { "/data/comment" } else { "/data" };
        let holder = document.pointer_mut(of_comment).and_then(Value::as_object_mut).unwrap();
        holder.insert("external_source".to_owned(), json!("orch"));
        assert!(starts_nothing(&document), "{document}");
        document.pointer_mut(of_comment).unwrap()["external_source"] = json!("importer");
        one(&document);
    }
}

#[test]
fn v2_updates_tell_each_change() {
    let created = one(&v2("workitem.created", json!({})));
    let in_v1 = one(&issue("created", Value::Null, Value::Null, Value::Null));
    assert_eq!(created.semantic_key, in_v1.semantic_key);
    assert_eq!(created.actor, Some(Actor::Plane(id_of(PERSON))));

    let observed =
        observed(&v2("workitem.updated", json!({"state_id": OTHER, "label_ids": ["l2"], "name": "x"})))
            .unwrap();
    let told: Vec<_> = observed.events.iter().map(|event| (event.point, event.facts.field)).collect();
    assert_eq!(
        told,
        [(LaunchPoint::PlaneStateChanged, Some("state")), (LaunchPoint::PlaneLabelsChanged, Some("labels"))]
    );
    assert_eq!(observed.events[0].facts.state_id, Some(id_of(STATE)));
    assert_eq!(observed.events[1].facts.labels, [Label { id: "l1".to_owned(), name: None }]);
    assert!(starts_nothing(&v2("workitem.updated", json!({"name": "x"}))));
    assert!(starts_nothing(&v2("workitem.updated", json!({}))));
    assert!(starts_nothing(&v2("workitem.page_link.created", json!({}))));
}

#[test]
fn an_enums_name_is_no_event_name() {
    let document = v2("WebhookScope.ScopeChoices.WORK_ITEM_UPDATED", json!({"state_id": OTHER}));
    let observed = observe("workitem.updated", document.as_object().unwrap()).unwrap();
    assert_eq!(observed.events[0].point, LaunchPoint::PlaneStateChanged);
}

#[test]
fn a_body_without_a_project_belongs_to_its_workspace() {
    let workspace = Place::Workspace(id_of(WORKSPACE));
    for absent in [Value::Null, json!("None"), json!("")] {
        let document = with(v2("workitem.created", json!({})), "/data/project_id", absent);
        assert_eq!(observed(&document), Ok(Observed::nothing(workspace.clone())));
    }
    let document = with(comment(), "/data/project", Value::Null);
    assert_eq!(observed(&document), Ok(Observed::nothing(workspace)));
}

#[test]
fn what_cannot_be_used_is_refused() {
    let created = || issue("created", Value::Null, Value::Null, Value::Null);
    let identifier = [
        with(created(), "/workspace_id", json!("bob1b192-f988-4bf9-b569-825de8cb0678")),
        with(created(), "/data/id", json!("../../x")),
        with(created(), "/data/project", json!("7")),
        with(created(), "/data/state/id", json!("7")),
        with(created(), "/data/updated_at", json!("a\u{0}b")),
        with(created(), "/activity/actor/id", json!("me")),
        with(comment(), "/data/issue", json!("x")),
    ];
    for document in identifier {
        assert_eq!(observed(&document), Err(Refusal::Identifier), "{document}");
    }
    let shape = [
        json!({}),
        with(created(), "/workspace_id", Value::Null),
        with(created(), "/workspace_id", json!(7)),
        with(created(), "/event", json!(["issue"])),
        with(created(), "/data", Value::Null),
        with(created(), "/data", json!("x")),
        with(created(), "/data/labels", json!("x")),
        with(created(), "/data/sequence_id", json!("12")),
        with(created(), "/activity", json!("x")),
        with(v2("workitem.comment.created", json!({})), "/data/comment", Value::Null),
        with(v2("workitem.updated", json!({"state_id": OTHER})), "/event_id", Value::Null),
    ];
    for document in shape {
        assert_eq!(observed(&document), Err(Refusal::Shape), "{document}");
    }
}

#[test]
fn a_change_shows_the_field_it_tells_of_and_a_new_issue_everything() {
    let shown = |document: &Value| {
        let observed = observe("issue", document.as_object().unwrap()).unwrap();
        let told = observed.sightings.iter().map(|told| format!("{}={}", told.name.aspect, told.value));
        (told.collect::<Vec<_>>(), observed.events[0].sighting.clone().unwrap().aspect.to_string())
    };
    let all = |first: &str| {
        let rest = [format!("state={STATE}"), "labels=l1,l2".to_owned(), format!("assignees={PERSON}")];
        [first.to_owned()].into_iter().chain(rest).collect::<Vec<_>>()
    };
    let created = issue("created", Value::Null, Value::Null, Value::Null);
    assert_eq!(shown(&created), (all("created=1"), "created".to_owned()));
    // The data is of a later moment than the move that the activity tells of.
    let moved = issue("updated", json!("state_id"), json!(OTHER), json!(STATE));
    assert_eq!(shown(&moved), (vec![format!("state={OTHER}")], "state".to_owned()));
    let labels = issue("updated", json!("label_ids"), json!(["l1", "l2"]), json!(["l2"]));
    assert_eq!(shown(&labels), (vec!["labels=l1,l2".to_owned()], "labels".to_owned()));
}
