//! The shop under the built-in pipeline, with agents that play a [`Stage`]'s scripts, and the events that move it.

use serde_json::{Value, json};

use super::script::{PLAY_SETTING, Stage};
use crate::harness::{Outside, Stack, StackBuilder, Webhook};
use crate::shop::{PLANE_PROJECT, WORKSPACE};

/// The shop's project, and no stage or trigger of its own.
pub const PROJECT: &str = "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\n\
    plane_workspace_id = \"00000000-0000-4000-8000-000000000001\"\nplane_project_id = \"00000000-0000-4000-8000-000000000002\"\n\
    plane_identifier = \"SHOP\"\n";
const PERSON: &str = "00000000-0000-4000-8000-000000000005";

/// A stack whose agents play and note what they are given.
pub fn watched(stage: &Stage, orch_toml: &str) -> StackBuilder {
    Stack::builder()
        .orch_toml(orch_toml)
        .env(PLAY_SETTING, &stage.folder().to_string_lossy())
        .env("ORCH_AGENT_ENV", &format!("ORCH_E2E,{PLAY_SETTING}"))
        .env("ORCH_RUNNER_SLOTS", "6")
        .env("ORCH_MAX_CONCURRENCY", "6")
        .env("ORCH_QUEUE_POLL_INTERVAL", "500ms")
}

fn issue_id(number: usize) -> String {
    format!("00000000-0000-4000-9000-{number:012x}")
}

/// Somebody gives issue `SHOP-number` the label `agent`.
pub fn labelled(stack: &Outside, number: usize) -> Webhook {
    stack.plane(
        "issue",
        &json!({"event": "issue", "action": "updated", "workspace_id": WORKSPACE,
            "data": {"id": issue_id(number), "project": PLANE_PROJECT, "sequence_id": number, "name": "Total is wrong",
                "description_stripped": "It ignores the discount.", "updated_at": "2026-11-20T09:15:00Z", "created_by": PERSON,
                "state": {"id": PERSON, "name": "Backlog", "group": "backlog"}, "assignees": [],
                "labels": [{"id": "l1", "name": "agent"}]},
            "activity": {"field": "label_ids", "new_value": ["l1"], "old_value": [], "actor": {"id": PERSON}}}),
    )
}

/// Somebody called `by` comments on issue `SHOP-number`, which an event before has made known; `words` tells comments apart.
pub fn commented(stack: &Outside, number: usize, by: &str, round: usize, words: &str) -> Webhook {
    stack.plane(
        "issue_comment",
        &json!({"event": "issue_comment", "action": "created", "workspace_id": WORKSPACE,
            "data": {"id": format!("00000000-0000-4000-a000-{round:012x}"), "issue": issue_id(number), "project": PLANE_PROJECT,
                "comment_html": format!("<p>{words}</p>"), "actor": PERSON},
            "activity": {"field": null, "new_value": null, "old_value": null, "actor": {"id": PERSON, "display_name": by}}}),
    )
}

/// A pull request from `orch/item`, opened or brought to another commit.
pub fn pull_request(
    stack: &Outside,
    action: &str,
    item: &str,
    number: usize,
    head: &str,
    title: &str,
) -> Webhook {
    let (sender, repository) =
        (json!({"id": 5, "login": "jane"}), json!({"id": 17, "full_name": "acme/shop"}));
    let side = |reference: String, sha: &str| json!({"ref": reference, "sha": sha, "repo_id": 17, "repo": repository});
    let kind = if action == "synchronized" { "pull_request_sync" } else { "pull_request" };
    stack.gitea(
        "pull_request",
        kind,
        &json!({"action": action, "number": number, "repository": repository, "sender": sender, "review": Value::Null,
            "pull_request": {"number": number, "title": title, "body": "because", "user": sender,
                "base": side("main".to_owned(), &"0a".repeat(20)), "head": side(format!("orch/{item}"), head)}}),
    )
}
