//! What is kept, in Gitea's shapes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ZERO;
use super::state::{Comment, Issue, PullRequest, ReviewState, State, Status, User};

/// The id of the one repository.
const REPOSITORY_ID: i64 = 17;

pub(super) fn user(user: &User, url: &str) -> Value {
    json!({"id": user.id, "login": user.login, "login_name": "", "source_id": 0, "full_name": "",
        "email": format!("{}@noreply.localhost", user.login), "avatar_url": "", "html_url": format!("{url}/{}", user.login),
        "language": "", "is_admin": false, "last_login": "0001-01-01T00:00:00Z", "created": "2025-01-10T08:00:00Z",
        "restricted": false, "active": false, "prohibit_login": false, "location": "", "website": "", "description": "",
        "visibility": "public", "followers_count": 0, "following_count": 0, "starred_repos_count": 0,
        "username": user.login})
}

pub(super) fn user_of(login: &str, kept: &State, url: &str) -> Value {
    kept.users.iter().find(|known| known.login == login).map_or(Value::Null, |known| user(known, url))
}

pub(super) fn repository(kept: &State, url: &str) -> Value {
    let full_name = kept.full_name();
    json!({"id": REPOSITORY_ID, "owner": user_of(&kept.owner, kept, url), "name": kept.name, "full_name": full_name,
        "description": "", "empty": false, "private": true, "fork": false, "template": false, "mirror": false,
        "html_url": format!("{url}/{full_name}"), "url": format!("{url}/api/v1/repos/{full_name}"),
        "clone_url": format!("{url}/{full_name}.git"), "default_branch": "main", "archived": false,
        "created_at": "2025-01-10T08:05:00Z", "updated_at": "2025-01-10T08:05:00Z",
        "archived_at": "1970-01-01T00:00:00Z", "permissions": {"admin": true, "push": true, "pull": true},
        "has_issues": true, "has_pull_requests": true, "object_format_name": "sha1"})
}

fn kind(issue: &Issue) -> &'static str {
    if issue.pull.is_some() { "pulls" } else { "issues" }
}

fn labels(issue: &Issue) -> Vec<Value> {
    let shown = issue.labels.iter().zip(1..);
    shown
        .map(|(name, id)| {
            json!({"id": id, "name": name, "exclusive": false, "is_archived": false, "color": "ee0701",
        "description": "", "url": ""})
        })
        .collect()
}

pub(super) fn issue(issue: &Issue, kept: &State, url: &str) -> Value {
    let (full_name, number) = (kept.full_name(), issue.number);
    let comments = kept.comments.iter().filter(|comment| comment.number == number).count();
    let pull = issue.pull.as_ref().map(|pull| {
        json!({"merged": pull.merged.is_some(), "merged_at": null,
        "draft": false, "html_url": format!("{url}/{full_name}/pulls/{number}")})
    });
    json!({"id": number, "url": format!("{url}/api/v1/repos/{full_name}/issues/{number}"),
        "html_url": format!("{url}/{full_name}/{}/{number}", kind(issue)), "number": number,
        "user": user_of(&issue.by, kept, url), "original_author": "", "original_author_id": 0, "title": issue.title,
        "body": issue.body, "ref": "", "labels": labels(issue), "milestone": null, "assignee": null,
        "assignees": null, "state": if issue.open { "open" } else { "closed" }, "is_locked": issue.locked,
        "comments": comments, "created_at": at(issue.created_at), "updated_at": at(issue.updated_at),
        "closed_at": (!issue.open).then(|| at(issue.updated_at)), "due_date": null, "pull_request": pull,
        "repository": {"id": REPOSITORY_ID, "name": kept.name, "owner": kept.owner, "full_name": full_name}})
}

pub(super) fn pull(issue: &Issue, pull: &PullRequest, kept: &State, url: &str) -> Value {
    let (full_name, number) = (kept.full_name(), issue.number);
    let html_url = format!("{url}/{full_name}/pulls/{number}");
    let side = |name: &str, sha: &str| {
        json!({"label": name, "ref": name, "sha": sha, "repo_id": REPOSITORY_ID,
        "repo": repository(kept, url)})
    };
    json!({"id": number, "url": html_url, "number": number, "user": user_of(&issue.by, kept, url),
        "title": issue.title, "body": issue.body, "labels": labels(issue), "milestone": null, "assignee": null,
        "assignees": null, "requested_reviewers": null, "state": if issue.open { "open" } else { "closed" },
        "draft": false, "is_locked": issue.locked, "comments": 0, "review_comments": pull.reviews.len(),
        "additions": 1, "deletions": 0, "changed_files": 1, "html_url": html_url,
        "diff_url": format!("{html_url}.diff"), "patch_url": format!("{html_url}.patch"), "mergeable": issue.open,
        "merged": pull.merged.is_some(), "merged_at": pull.merged.as_ref().map(|_| at(issue.updated_at)),
        "merge_commit_sha": pull.merged, "merged_by": null, "allow_maintainer_edit": false,
        "base": side(&pull.base, &pull.base_sha), "head": side(&pull.head, &pull.head_sha),
        "merge_base": pull.base_sha, "due_date": null, "created_at": at(issue.created_at),
        "updated_at": at(issue.updated_at), "closed_at": (!issue.open).then(|| at(issue.updated_at)),
        "pin_order": 0})
}

pub(super) fn comment(comment: &Comment, kept: &State, url: &str) -> Value {
    let full_name = kept.full_name();
    let on = kept.issue(comment.number).map_or("issues", kind);
    let holder = format!("{url}/{full_name}/{on}/{}", comment.number);
    let (issue_url, pull_request_url) = if on == "pulls" { ("", &*holder) } else { (&*holder, "") };
    json!({"id": comment.id, "html_url": format!("{holder}#issuecomment-{}", comment.id), "issue_url": issue_url,
        "pull_request_url": pull_request_url, "user": user_of(&comment.by, kept, url), "original_author": "",
        "original_author_id": 0, "body": comment.body, "assets": [], "created_at": at(comment.created_at),
        "updated_at": at(comment.updated_at)})
}

pub(super) fn review(at_index: usize, pull: &PullRequest, kept: &State, url: &str) -> Value {
    let Some((by, state, body, commit)) = pull.reviews.get(at_index) else { return Value::Null };
    let state = match state {
        ReviewState::Approved => "APPROVED",
        ReviewState::Rejected => "REQUEST_CHANGES",
        ReviewState::Comment => "COMMENT",
    };
    json!({"id": at_index + 1, "user": user_of(by, kept, url), "team": null, "state": state, "body": body,
        "commit_id": commit, "stale": *commit != pull.head_sha, "official": true, "dismissed": false,
        "comments_count": 0})
}

pub(super) fn status(status: &Status, kept: &State, url: &str) -> Value {
    json!({"id": status.id, "status": status.state, "target_url": status.target_url,
        "description": status.description, "url": format!("{url}/api/v1/repos/{}/statuses/{}", kept.full_name(), status.sha),
        "context": status.context, "creator": user_of(&status.by, kept, url), "created_at": at(status.created_at),
        "updated_at": at(status.created_at)})
}

/// The worst of the newest statuses of a commit decides.
pub(super) fn combined(sha: &str, kept: &State, url: &str) -> Value {
    let latest = kept.latest_statuses(sha);
    let any = |words: &[&str]| latest.iter().any(|status| words.contains(&status.state.as_str()));
    let state = if latest.is_empty() {
        ""
    } else if any(&["error", "failure"]) {
        "failure"
    } else if any(&["pending"]) {
        "pending"
    } else {
        "success"
    };
    let statuses: Vec<Value> = latest.iter().map(|shown| status(shown, kept, url)).collect();
    json!({"state": state, "sha": sha, "total_count": statuses.len(), "statuses": statuses,
        "repository": repository(kept, url), "commit_url": "", "url": ""})
}

pub(super) fn branch(name: &str, sha: &str, kept: &State) -> Value {
    let at_push = kept.pushed_at.get(name).copied().unwrap_or_default();
    json!({"name": name, "commit": {"id": sha, "message": "a change\n", "url": "", "timestamp": at(at_push)}, "protected": false,
        "required_approvals": 0, "enable_status_check": false, "status_check_contexts": [], "user_can_push": true,
        "user_can_merge": true})
}

pub(super) fn commit(sha: &str, by: &User) -> Value {
    if sha == ZERO {
        return Value::Null;
    }
    let who =
        json!({"name": by.login, "email": format!("{}@noreply.localhost", by.login), "username": by.login});
    json!({"id": sha, "message": "a change\n", "url": "", "author": who, "committer": who, "verification": null,
        "timestamp": "2026-11-20T09:15:00Z", "added": [], "removed": [], "modified": ["src/cart.rs"]})
}

/// Whole seconds, as Gitea writes them.
pub(super) fn at(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
