use domain::launch::{Actor, LaunchEvent, Scope, Subject};
use domain::pipeline::{CiResult, LaunchPoint, PullRequestAction, ReviewVerdict, Trust};
use serde_json::{Value, json};

use super::*;

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn repository() -> Value {
    json!({"id": 17, "full_name": "Acme/shop", "owner": {"id": 3, "login": "acme"}})
}

fn user(id: i64) -> Value {
    json!({"id": id, "login": format!("user{id}")})
}

fn push() -> Value {
    json!({
        "ref": "refs/heads/feature/x", "before": OTHER, "after": SHA, "commits": [{"message": "one\n"}, {"message": "two"}],
        "compare_url": "https://git.example/compare", "repository": repository(), "pusher": user(5), "sender": user(5)
    })
}

fn pull_request(action: &str) -> Value {
    json!({
        "action": action, "number": 12, "repository": repository(), "sender": user(5), "review": null,
        "pull_request": {
            "number": 12, "title": "Fix", "body": "because", "html_url": "https://git.example/12", "user": user(6),
            "merged": false, "merge_commit_sha": null, "updated_at": "2026-11-20T09:15:00Z", "assignees": null,
            "base": {"ref": "main", "sha": OTHER, "repo_id": 17, "repo": {"id": 17, "full_name": "acme/shop"}},
            "head": {"ref": "orch/SHOP-7", "sha": SHA, "repo_id": 17, "repo": {"id": 17, "full_name": "acme/shop"}}
        }
    })
}

/// `document` with the value at `pointer` replaced.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    *document.pointer_mut(pointer).expect("the pointer names a value") = value;
    document
}

fn observed(event: &str, document: &Value) -> Result<Observed, Refusal> {
    observe(event, document.as_object().expect("an object"))
}

/// The one event of a body.
fn one(event: &str, document: &Value) -> LaunchEvent {
    let mut observed = observed(event, document).expect("the body is taken");
    assert_eq!(observed.events.len(), 1, "{observed:?}");
    observed.events.remove(0)
}

fn starts_nothing(event: &str, document: &Value) -> bool {
    observed(event, document).expect("the body is taken").events.is_empty()
}

#[test]
fn a_push_to_a_branch() {
    let observed = observed("push", &push()).unwrap();
    assert_eq!(observed.place, Place::Project(Scope::Repo("Acme/shop".to_owned())));
    let event = &observed.events[0];
    assert_eq!(event.point, LaunchPoint::GiteaPush);
    assert_eq!(event.subject, Subject::Branch("feature/x".to_owned()));
    assert_eq!(event.actor, Some(Actor::Gitea(5)));
    assert_eq!(event.trust, Trust::Member);
    assert_eq!(event.semantic_key, format!("gitea.push:acme/shop:feature/x:{OTHER}:{SHA}"));
    assert_eq!(observed.account.body.as_deref(), Some("one\n\ntwo"));
}

#[test]
fn pushes_that_start_nothing() {
    let zero = "0".repeat(40);
    assert!(starts_nothing("push", &with(push(), "/after", json!(zero))), "a delete");
    assert!(starts_nothing("push", &with(push(), "/after", json!(OTHER))), "a test delivery");
    assert!(starts_nothing("push", &with(push(), "/ref", json!("refs/tags/v1"))), "a tag");
    assert!(!starts_nothing("push", &with(push(), "/before", json!(zero))), "a new branch is a push");
    assert!(!starts_nothing("push", &with(push(), "/commits", Value::Null)), "commits may be null");
}

#[test]
fn names_that_cannot_be_used_are_refused() {
    let cases = [
        ("push", with(push(), "/after", json!("--output=/etc/cron.d/x"))),
        ("push", with(push(), "/before", json!("$(id)"))),
        ("push", with(push(), "/after", json!(SHA.to_uppercase()))),
        ("push", with(push(), "/ref", json!("refs/heads/../x"))),
        ("push", with(push(), "/ref", json!("refs/heads/"))),
        ("push", with(push(), "/repository/full_name", json!("../shop"))),
        ("pull_request", with(pull_request("opened"), "/pull_request/head/ref", json!("a..b"))),
        ("pull_request", with(pull_request("opened"), "/pull_request/head/ref", json!("a\u{0}b"))),
        ("pull_request", with(pull_request("opened"), "/pull_request/head/sha", json!(""))),
        ("pull_request", with(pull_request("opened"), "/pull_request/base/ref", json!("a b"))),
        ("pull_request", with(pull_request("opened"), "/pull_request/number", json!(0))),
    ];
    for (event, document) in cases {
        assert_eq!(observed(event, &document), Err(Refusal::Identifier), "{document}");
    }
}

#[test]
fn bodies_of_another_shape_are_refused() {
    let cases = [
        ("push", json!({})),
        ("push", with(push(), "/repository", Value::Null)),
        ("push", with(push(), "/after", json!(7))),
        ("pull_request", with(pull_request("opened"), "/pull_request", json!("x"))),
        ("pull_request", with(pull_request("opened"), "/pull_request/head", Value::Null)),
        ("pull_request", with(pull_request("opened"), "/pull_request/number", json!(-1))),
        ("pull_request", with(pull_request("opened"), "/pull_request/number", json!(1e30))),
        ("pull_request", with(pull_request("opened"), "/pull_request/title", json!([1]))),
        ("pull_request", with(pull_request("opened"), "/sender", json!("alice"))),
        ("status", json!({"sha": SHA, "state": null, "repository": repository()})),
        ("workflow_run", json!({"action": "completed", "repository": repository()})),
        ("action_run_failure", json!({"action": "failure", "run": {}})),
    ];
    for (event, document) in cases {
        assert_eq!(observed(event, &document), Err(Refusal::Shape), "{document}");
    }
}

#[test]
fn pull_requests_by_action() {
    let merged = with(pull_request("closed"), "/pull_request/merged", json!(true));
    let merged = with(merged, "/pull_request/merge_commit_sha", json!(OTHER));
    let cases = [
        ("pull_request", pull_request("opened"), PullRequestAction::Opened),
        ("pull_request", pull_request("reopened"), PullRequestAction::Reopened),
        ("pull_request_sync", pull_request("synchronized"), PullRequestAction::Synchronized),
        ("pull_request", merged, PullRequestAction::Merged),
    ];
    for (event, document, action) in cases {
        let event = one(event, &document);
        assert_eq!(event.facts.action, Some(action));
        assert_eq!(event.facts.branch.as_deref(), Some("main"));
        let times = if action == PullRequestAction::Reopened { ":2026-11-20T09:15:00Z" } else { "" };
        let key = format!("gitea.pull_request:acme/shop#12:{SHA}:{}{times}", action.as_str());
        assert_eq!(event.semantic_key, key);
    }
    for action in ["closed", "edited", "label_updated", "deleted", "teleported", ""] {
        assert!(starts_nothing("pull_request", &pull_request(action)), "{action}");
    }
    assert!(starts_nothing("pull_request_label", &pull_request("label_updated")));
    assert!(starts_nothing("pull_request_teleported", &pull_request("opened")));
}

#[test]
fn a_fork_names_no_work_item_and_earns_no_trust() {
    let own = one("pull_request", &pull_request("opened"));
    let subject =
        |own_head: Option<&str>| Subject::PullRequest { number: 12, own_head: own_head.map(str::to_owned) };
    assert_eq!((own.subject, own.trust), (subject(Some("orch/SHOP-7")), Trust::Member));

    let fork =
        with(pull_request("opened"), "/pull_request/head/repo", json!({"id": 99, "full_name": "eve/shop"}));
    let fork = with(fork, "/pull_request/head/repo_id", json!(99));
    let fork = one("pull_request", &fork);
    assert_eq!((fork.subject, fork.trust), (subject(None), Trust::Outsider));

    let gone = with(pull_request("opened"), "/pull_request/head/repo", Value::Null);
    let gone = with(gone, "/pull_request/head/repo_id", json!(-1));
    let gone = with(gone, "/pull_request/head/ref", json!("refs/pull/12/head"));
    assert_eq!(one("pull_request", &gone).subject, subject(None));
}

#[test]
fn a_second_rejection_of_one_head_is_another_review() {
    let review = |kind: &str, content: &str| {
        with(pull_request("reviewed"), "/review", json!({"type": kind, "content": content}))
    };
    let first = one("pull_request_review_rejected", &review("pull_request_review_rejected", "no"));
    assert_eq!(first.point, LaunchPoint::GiteaReview);
    assert_eq!(first.facts.review, Some(ReviewVerdict::Rejected));
    let again = one("pull_request_review_rejected", &review("pull_request_review_rejected", "no"));
    assert_eq!(first.semantic_key, again.semantic_key);
    let other_words =
        one("pull_request_review_rejected", &review("pull_request_review_rejected", "still no"));
    assert_ne!(first.semantic_key, other_words.semantic_key);
    let later = with(
        review("pull_request_review_rejected", "no"),
        "/pull_request/updated_at",
        json!("2026-11-20T10:00:00Z"),
    );
    assert_ne!(first.semantic_key, one("pull_request_review_rejected", &later).semantic_key);

    let by_id = |id: i64| {
        let review = json!({"id": id, "type": "pull_request_review_rejected", "content": "no"});
        one("pull_request_rejected", &with(pull_request("reviewed"), "/review", review)).semantic_key
    };
    assert_ne!(by_id(1), by_id(2));

    let legacy = one("pull_request_review_approved", &review("pull_request_approved", ""));
    assert_eq!(legacy.facts.review, Some(ReviewVerdict::Approved));
    assert!(starts_nothing("pull_request_review_comment", &review("pull_request_review_comment", "hm")));
    assert!(starts_nothing(
        "pull_request_review_approved",
        &review("pull_request_comment", "the body decides")
    ));
}

#[test]
fn final_results_in_three_forms() {
    let status = |state: &str| {
        json!({"sha": SHA, "state": state, "context": "ci / test", "description": "41s", "target_url": "",
               "repository": repository(), "sender": user(5)})
    };
    let workflow = |action: &str, conclusion: Value| {
        json!({"action": action, "repository": repository(), "sender": user(5), "workflow_run": {
            "id": 77, "run_attempt": 2, "head_sha": SHA, "head_branch": "feature/x", "conclusion": conclusion,
            "head_repository": repository()}})
    };
    let action_run = |prettyref: &str| {
        json!({"action": "success", "run": {"id": 88, "repository": repository(), "commit_sha": SHA,
               "prettyref": prettyref, "is_fork_pull_request": false, "stopped": "2026-11-20T09:15:00Z",
               "trigger_user": user(5)}})
    };

    let event = one("status", &status("error"));
    assert_eq!((event.facts.ci, event.subject), (Some(CiResult::Failure), Subject::Commit(SHA.to_owned())));
    assert!(starts_nothing("status", &status("pending")));
    assert!(starts_nothing("status", &status("teleported")));
    // Orch's own, whosever token it was written with.
    assert!(starts_nothing("status", &with(status("failure"), "/context", json!("orch/review"))));
    assert_ne!(
        one("status", &status("success")).semantic_key,
        one("status", &status("failure")).semantic_key
    );

    let event = one("workflow_run", &workflow("completed", json!("success")));
    assert_eq!(event.subject, Subject::Branch("feature/x".to_owned()));
    assert_eq!(event.semantic_key, "gitea.ci:acme/shop:run:77:2:success");
    assert!(starts_nothing("workflow_run", &workflow("in_progress", Value::Null)));
    assert!(starts_nothing("workflow_run", &workflow("completed", Value::Null)));

    let success = one("action_run_success", &action_run("feature/x"));
    let recover = one("action_run_recover", &action_run("feature/x"));
    assert_eq!(success.semantic_key, recover.semantic_key);
    assert_eq!(success.actor, Some(Actor::Gitea(5)));
    assert_eq!(one("action_run_failure", &action_run("feature/x")).facts.ci, Some(CiResult::Failure));
    let on_pull_request = one("action_run_success", &action_run("#3"));
    assert_eq!(on_pull_request.subject, Subject::PullRequest { number: 3, own_head: None });
    assert_eq!(observed("action_run_success", &action_run("a..b")), Err(Refusal::Identifier));
    assert!(starts_nothing("workflow_job", &workflow("completed", json!("failure"))));
}

#[test]
fn events_that_are_none_of_ours_name_their_repository() {
    let known = json!({"repository": repository()});
    let place = |event: &str, document: &Value| observed(event, document).map(|observed| observed.place);
    let shop = Place::Project(Scope::Repo("Acme/shop".to_owned()));
    assert_eq!(place("release", &known), Ok(shop.clone()));
    assert_eq!(place("teleported", &json!({"run": {"repository": repository()}})), Ok(shop));
    assert_eq!(place("teleported", &json!({})), Ok(Place::Unnamed));
    assert_eq!(place("teleported", &json!({"repository": "x"})), Ok(Place::Unnamed));
}

#[test]
fn what_a_body_shows_is_told_whether_it_starts_anything_or_not() {
    let shown = |event: &str, document: &Value| {
        let observed = observed(event, document).expect("the body is taken");
        let line = |told: &domain::sighting::Sighting| {
            format!("{} {}={}", told.name.subject, told.name.aspect, told.value)
        };
        observed.sightings.iter().map(line).collect::<Vec<_>>()
    };
    let labelled = with(pull_request("opened"), "/pull_request", {
        let mut pull = pull_request("opened")["pull_request"].clone();
        pull["labels"] = json!([{"id": 9, "name": "let-in"}, {"id": 3, "name": "bug"}]);
        pull
    });
    let head = format!("acme/shop#12 head={SHA}");
    let (labels, open) = ("acme/shop#12 labels=3,9".to_owned(), "acme/shop#12 open=open".to_owned());
    assert_eq!(shown("pull_request", &labelled), [head.clone(), labels, open.clone()]);
    let again = pull_request("reopened");
    assert_eq!(shown("pull_request", &again), [open, head.clone(), "acme/shop#12 labels=".to_owned()]);
    let aspect = one("pull_request", &again).sighting.map(|name| name.aspect.to_string());
    assert_eq!(aspect.as_deref(), Some("open"));
    let closed = pull_request("closed");
    assert_eq!(shown("pull_request", &closed), ["acme/shop#12 open=closed"]);
    assert!(starts_nothing("pull_request", &closed));
    assert_eq!(
        one("pull_request", &labelled).sighting.map(|name| name.aspect.to_string()).as_deref(),
        Some("head")
    );
    assert_eq!(shown("pull_request_label", &labelled), ["acme/shop#12 labels=3,9"]);
    assert!(starts_nothing("pull_request_label", &labelled));
    let status =
        |state: &str| json!({"sha": SHA, "state": state, "context": "ci/build", "repository": repository()});
    let of = |value: &str| vec![format!("acme/shop@{SHA} status:ci/build={value}")];
    assert_eq!(shown("status", &status("pending")), of("pending"));
    assert!(starts_nothing("status", &status("pending")));
    assert_eq!(shown("status", &status("failure")), of("failure"));
    let pushed = &observed("push", &push()).unwrap().sightings[0];
    assert_eq!((pushed.value.as_str(), pushed.words[0].id.as_str()), (SHA, OTHER));
    assert!(pushed.name.subject.starts_with("acme/shop@refs/heads/"), "{pushed:?}");
    let gone = with(push(), "/after", json!("0".repeat(40)));
    assert_eq!(observed("push", &gone).unwrap().sightings[0].value, "0".repeat(40));
}
