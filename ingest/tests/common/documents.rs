//! Bodies as Gitea and Plane send them, as small as they can be, and the configuration they belong to.

use serde_json::{Value, json};

pub(crate) const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";
pub(crate) const WORKSPACE: &str = "00000000-0000-4000-8000-000000000001";
pub(crate) const PROJECT: &str = "00000000-0000-4000-8000-000000000002";
pub(crate) const ISSUE: &str = "00000000-0000-4000-8000-000000000003";
pub(crate) const STATE: &str = "00000000-0000-4000-8000-000000000004";
pub(crate) const PERSON: &str = "00000000-0000-4000-8000-000000000005";

pub(crate) const CONFIG: &str = r#"
[identity]
gitea_user_id = 42

[[project]]
name = "shop"
gitea_repo = "acme/shop"
plane_workspace_id = "00000000-0000-4000-8000-000000000001"
plane_project_id = "00000000-0000-4000-8000-000000000002"
plane_identifier = "SHOP"

[[stage]]
name = "one"
role = "developer"
prompt = "p.md"

[[stage]]
name = "two"
role = "reviewer"
prompt = "p.md"

[[trigger]]
on = "plane.issue_created"
stage = "one"
[[trigger]]
on = "plane.state_changed"
stage = "one"
when = { state_group = "started" }
[[trigger]]
on = "plane.comment"
stage = "one"
when = { command = "/agent" }
[[trigger]]
on = "plane.labels_changed"
stage = "one"
when = { label = "agent" }
[[trigger]]
on = "gitea.push"
stage = "one"
when = { branch = "feature/*" }
[[trigger]]
on = "gitea.pull_request"
stage = "one"
[[trigger]]
on = "gitea.review"
stage = "one"
when = { review = "rejected" }
[[trigger]]
on = "gitea.ci"
stage = "one"
when = { ci = "failure" }
[[trigger]]
on = "gitea.ci"
stage = "two"
"#;

pub(crate) fn repository() -> Value {
    json!({"id": 17, "full_name": "acme/shop", "owner": {"id": 3, "login": "acme"}})
}

pub(crate) fn sender() -> Value {
    json!({"id": 5, "login": "alice"})
}

pub(crate) fn push() -> Value {
    json!({"ref": "refs/heads/feature/x", "before": OTHER, "after": SHA, "commits": [], "repository": repository(),
           "sender": sender()})
}

pub(crate) fn pull_request(action: &str, title: &str) -> Value {
    json!({
        "action": action, "number": 12, "repository": repository(), "sender": sender(), "review": null,
        "pull_request": {
            "number": 12, "title": title, "body": "because", "html_url": "https://git.example/12", "user": sender(),
            "base": {"ref": "main", "sha": OTHER, "repo_id": 17, "repo": repository()},
            "head": {"ref": "feature/x", "sha": SHA, "repo_id": 17, "repo": repository()}
        }
    })
}

pub(crate) fn review(content: &str) -> Value {
    let mut document = pull_request("reviewed", "Fix");
    document["review"] = json!({"type": "pull_request_review_rejected", "content": content});
    document
}

pub(crate) fn status(state: &str) -> Value {
    json!({"sha": SHA, "state": state, "context": "ci / test", "repository": repository(), "sender": sender()})
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` makes values")]
pub(crate) fn issue(action: &str, field: Value, new: Value) -> Value {
    json!({
        "event": "issue", "action": action, "workspace_id": WORKSPACE,
        "data": {
            "id": ISSUE, "project": PROJECT, "sequence_id": 12, "name": "Total is wrong", "updated_at": "2026-11-20T09:15:00Z",
            "description_stripped": "It ignores the discount", "state": {"id": STATE, "group": "started"},
            "labels": [{"id": "l1", "name": "agent"}], "assignees": [], "created_by": PERSON
        },
        "activity": {"field": field, "new_value": new, "old_value": [], "actor": {"id": PERSON, "display_name": "jane"}}
    })
}

pub(crate) fn comment() -> Value {
    json!({"event": "issue_comment", "action": "created", "workspace_id": WORKSPACE,
           "data": {"id": PERSON, "issue": ISSUE, "project": PROJECT, "comment_html": "<p>/agent go</p>", "actor": PERSON},
           "activity": null})
}
