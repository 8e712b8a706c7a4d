//! The parts of Gitea's and Forgejo's bodies that are used. What may be null or missing in any version is optional.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Repository {
    pub(super) full_name: String,
    pub(super) id: Option<i64>,
    pub(super) owner: Option<User>,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) login: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Push {
    #[serde(rename = "ref")]
    pub(super) reference: String,
    pub(super) before: String,
    pub(super) after: String,
    pub(super) compare_url: Option<String>,
    pub(super) commits: Option<Vec<Commit>>,
    pub(super) repository: Repository,
    pub(super) pusher: Option<User>,
    pub(super) sender: Option<User>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Commit {
    pub(super) message: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PullRequestEvent {
    /// Old and trimmed bodies have it here alone.
    pub(super) number: Option<u64>,
    pub(super) pull_request: PullRequest,
    pub(super) repository: Repository,
    pub(super) review: Option<Review>,
    pub(super) sender: Option<User>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PullRequest {
    pub(super) number: Option<u64>,
    pub(super) title: Option<String>,
    pub(super) body: Option<String>,
    pub(super) html_url: Option<String>,
    pub(super) user: Option<User>,
    pub(super) merge_commit_sha: Option<String>,
    pub(super) state: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) review_comments: Option<i64>,
    pub(super) labels: Option<Vec<Label>>,
    pub(super) base: Side,
    pub(super) head: Side,
}

#[derive(Debug, Deserialize)]
pub(super) struct Label {
    pub(super) id: i64,
    pub(super) name: Option<String>,
}

/// One side of a pull request. The head's repository is null once a fork is gone.
#[derive(Debug, Deserialize)]
pub(super) struct Side {
    #[serde(rename = "ref")]
    pub(super) reference: String,
    pub(super) sha: String,
    pub(super) repo_id: Option<i64>,
    pub(super) repo: Option<Repository>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Review {
    pub(super) id: Option<i64>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) content: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) sha: String,
    pub(super) state: String,
    pub(super) context: Option<String>,
    pub(super) description: Option<String>,
    pub(super) target_url: Option<String>,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) repository: Repository,
    pub(super) sender: Option<User>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WorkflowRunEvent {
    pub(super) workflow_run: WorkflowRun,
    pub(super) repository: Repository,
    pub(super) sender: Option<User>,
}

#[derive(Debug, Deserialize)]
pub(super) struct WorkflowRun {
    pub(super) id: i64,
    pub(super) run_attempt: Option<i64>,
    pub(super) display_title: Option<String>,
    pub(super) html_url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) head_sha: String,
    pub(super) head_branch: Option<String>,
    pub(super) head_repository: Option<Repository>,
    pub(super) conclusion: Option<String>,
    pub(super) updated_at: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ActionRunEvent {
    pub(super) run: ActionRun,
}

#[derive(Debug, Deserialize)]
pub(super) struct ActionRun {
    pub(super) id: i64,
    pub(super) title: Option<String>,
    pub(super) repository: Repository,
    pub(super) workflow_id: Option<String>,
    pub(super) prettyref: Option<String>,
    pub(super) commit_sha: String,
    pub(super) is_fork_pull_request: Option<bool>,
    pub(super) stopped: Option<String>,
    pub(super) html_url: Option<String>,
    pub(super) trigger_user: Option<User>,
}
