//! The webhooks of a change: names of both kinds, and bodies.

use serde_json::{Value, json};

use super::ZERO;
use super::state::{Changed, ReviewState, State, User};
use super::view;
use crate::forges::hooks::Event;

pub(super) fn webhooks(kept: &State, url: &str, by: &User, change: &Changed) -> Vec<Event> {
    let (sender, repository) = (view::user(by, url), view::repository(kept, url));
    let event = |event: &'static str, kind: &'static str, mut body: Value| {
        body["repository"] = repository.clone();
        body["sender"] = sender.clone();
        Event { by: by.login.clone(), grouped: event, kind, body: format!("{body:#}") }
    };
    let pull_of = |number: u64| {
        let issue = kept.issue(number)?;
        Some(view::pull(issue, issue.pull.as_ref()?, kept, url))
    };
    let issue_of = |number: u64| kept.issue(number).map(|issue| view::issue(issue, kept, url));
    match change {
        Changed::Issue { number, action } => {
            let body =
                json!({"action": action, "number": number, "issue": issue_of(*number), "commit_id": ""});
            vec![event("issues", "issues", body)]
        }
        Changed::Pull { number, action } => {
            let kind = if *action == "synchronized" { "pull_request_sync" } else { "pull_request" };
            let body = json!({"action": action, "number": number, "pull_request": pull_of(*number),
                "requested_reviewer": null, "commit_id": "", "review": null});
            vec![event("pull_request", kind, body)]
        }
        Changed::Labels { number } => {
            let mut body = json!({"action": "label_updated", "number": number, "commit_id": ""});
            if let Some(pull) = pull_of(*number) {
                body["pull_request"] = pull;
                body["review"] = Value::Null;
                return vec![event("pull_request", "pull_request_label", body)];
            }
            body["issue"] = json!(issue_of(*number));
            vec![event("issues", "issue_label", body)]
        }
        Changed::Comment { id, action } => {
            let Some(comment) = kept.comment_of(*id) else { return Vec::new() };
            let pull = pull_of(comment.number);
            let is_pull = pull.is_some();
            let kind = if is_pull { "pull_request_comment" } else { "issue_comment" };
            let body = json!({"action": action, "issue": issue_of(comment.number), "pull_request": pull,
                "comment": view::comment(comment, kept, url), "is_pull": is_pull});
            vec![event("issue_comment", kind, body)]
        }
        Changed::Review { number } => {
            let issue = kept.issue(*number);
            let last = issue.and_then(|issue| issue.pull.as_ref()?.reviews.last().cloned());
            let Some((_, review, content, _)) = last else { return Vec::new() };
            let (grouped, kind) = match review {
                ReviewState::Approved => ("pull_request_approved", "pull_request_review_approved"),
                ReviewState::Rejected => ("pull_request_rejected", "pull_request_review_rejected"),
                ReviewState::Comment => ("pull_request_comment", "pull_request_review_comment"),
            };
            let body = json!({"action": "reviewed", "number": number, "pull_request": pull_of(*number),
                "requested_reviewer": null, "commit_id": "", "review": {"type": kind, "content": content}});
            vec![event(grouped, kind, body)]
        }
        Changed::Status { id } => {
            let Some(status) = kept.statuses.iter().find(|status| status.id == *id) else {
                return Vec::new();
            };
            let body = json!({"commit": view::commit(&status.sha, by), "context": status.context,
                "created_at": view::at(status.created_at), "description": status.description, "id": status.id,
                "sha": status.sha, "state": status.state, "target_url": status.target_url,
                "updated_at": view::at(status.created_at)});
            vec![event("status", "status", body)]
        }
        Changed::Push { branch, before, after } => {
            let mut events = Vec::new();
            let named =
                |sha: &str| json!({"ref": branch, "ref_type": "branch", "sha": sha, "pusher_type": "user"});
            if after == ZERO {
                // A branch that goes has no push.
                return vec![event("delete", "delete", named(before))];
            }
            if before == ZERO {
                events.push(event("create", "create", named(after)));
            }
            let commit = view::commit(after, by);
            let body = json!({"ref": format!("refs/heads/{branch}"), "before": before, "after": after,
                "compare_url": format!("{url}/{}/compare/{before}...{after}", kept.full_name()),
                "commits": [commit], "total_commits": 1, "head_commit": commit, "pusher": sender});
            events.push(event("push", "push", body));
            events
        }
    }
}
