//! The project that the tests' jobs and webhooks belong to: its `orch.toml`, one body for each of the eight
//! launch points, and what a test asks of a stack again and again.

mod ledger;

use std::time::Duration;

use crate::harness::{Outside, Service, Stack, StackBuilder, Webhook};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

pub use ledger::{Ledger, Poured, Spawn};

/// Longest wait for anything that needs no more than a busy machine's time.
pub const WITHIN: Duration = Duration::from_mins(1);

/// The shop's workspace in Plane.
pub const WORKSPACE: &str = "00000000-0000-4000-8000-000000000001";
/// The shop's project in Plane.
pub const PLANE_PROJECT: &str = "00000000-0000-4000-8000-000000000002";
const PERSON: &str = "00000000-0000-4000-8000-000000000005";
const STATE: &str = "00000000-0000-4000-8000-000000000006";

const PROMPT: &str = "Work on {{ work_item }} as {{ role }}.\n\n{{ body }}\n";

/// The launch points, each with the stage of its own that it starts.
pub const LAUNCH_POINTS: [(&str, &str); 8] = [
    ("plane.issue_created", "created"),
    ("plane.state_changed", "moved"),
    ("plane.comment", "commented"),
    ("plane.labels_changed", "relabelled"),
    ("gitea.push", "pushed"),
    ("gitea.pull_request", "opened"),
    ("gitea.review", "reviewed"),
    ("gitea.ci", "checked"),
];

fn orch_toml() -> String {
    let project = format!(
        "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\nplane_workspace_id = \"{WORKSPACE}\"\n\
         plane_project_id = \"{PLANE_PROJECT}\"\nplane_identifier = \"SHOP\"\nserial = \"none\"\n"
    );
    let stages = LAUNCH_POINTS.map(|(point, stage)| {
        format!(
            "[[stage]]\nname = \"{stage}\"\nrole = \"developer\"\nprompt = \"prompt.md\"\n\
             [[trigger]]\non = \"{point}\"\nstage = \"{stage}\"\n"
        )
    });
    format!("{project}{}", stages.concat())
}

/// A stack with the shop's pipeline and short waits between tries.
pub fn shop() -> StackBuilder {
    Stack::builder()
        .orch_toml(&orch_toml())
        .file("prompt.md", PROMPT)
        .env("ORCH_BACKOFF_BASE_SECONDS", "1")
        .env("ORCH_BACKOFF_MAX_SECONDS", "2")
        .env("ORCH_QUEUE_POLL_INTERVAL", "500ms")
        .env("ORCH_PREFLIGHT_CACHE_TTL", "1s")
}

/// The signed webhook of a launch point; `number` tells work items apart, `text` reaches the prompt.
///
/// # Panics
/// There is no such launch point.
pub fn webhook(stack: &Outside, point: &str, number: u64, text: &str) -> Webhook {
    let (repository, sender) =
        (json!({"id": 17, "full_name": "acme/shop"}), json!({"id": 5, "login": "jane"}));
    let (before, after) = (format!("{number:040x}"), format!("{:040x}", number + 0x1_0000_0000));
    let pull_request = |action: &str, review: Value| {
        json!({"action": action, "number": number, "repository": repository, "sender": sender, "review": review,
            "pull_request": {"number": number, "title": "Fix the total", "body": text, "user": sender,
                "merged": false, "updated_at": "2026-11-20T09:15:00Z",
                "base": {"ref": "main", "sha": before, "repo_id": 17, "repo": repository},
                "head": {"ref": "fix", "sha": after, "repo_id": 17, "repo": repository}}})
    };
    let issue_id = format!("00000000-0000-4000-9000-{number:012x}");
    let issue = |action: &str, activity: Value| {
        json!({"event": "issue", "action": action, "webhook_id": STATE, "workspace_id": WORKSPACE, "activity": activity,
            "data": {"id": issue_id, "project": PLANE_PROJECT, "sequence_id": number, "name": "Total is wrong",
                "description_stripped": text, "updated_at": "2026-11-20T09:15:00Z", "created_by": PERSON,
                "state": {"id": STATE, "name": "In Progress", "group": "started"}, "assignees": [],
                "labels": [{"id": "l1", "name": "agent"}]}})
    };
    let activity = |field: Value, new: Value, old: Value| json!({"field": field, "new_value": new, "old_value": old, "actor": {"id": PERSON, "display_name": "jane"}});
    match point {
        "plane.issue_created" => {
            stack.plane("issue", &issue("created", activity(Value::Null, Value::Null, Value::Null)))
        }
        "plane.state_changed" => {
            stack.plane("issue", &issue("updated", activity(json!("state_id"), json!(STATE), json!(PERSON))))
        }
        "plane.labels_changed" => {
            stack.plane("issue", &issue("updated", activity(json!("label_ids"), json!(["l1"]), json!([]))))
        }
        "plane.comment" => stack.plane(
            "issue_comment",
            &json!({"event": "issue_comment", "action": "created", "workspace_id": WORKSPACE,
                "data": {"id": format!("00000000-0000-4000-a000-{number:012x}"), "issue": issue_id,
                    "project": PLANE_PROJECT, "comment_html": format!("<p>{text}</p>"), "actor": PERSON},
                "activity": activity(Value::Null, Value::Null, Value::Null)}),
        ),
        "gitea.push" => stack.gitea(
            "push",
            "push",
            &json!({"ref": format!("refs/heads/feature-{number}"), "before": before, "after": after,
                "commits": [{"message": text}], "repository": repository, "pusher": sender, "sender": sender}),
        ),
        "gitea.pull_request" => {
            stack.gitea("pull_request", "pull_request", &pull_request("opened", Value::Null))
        }
        "gitea.review" => {
            let kind = "pull_request_review_rejected";
            let review = json!({"type": kind, "content": text});
            stack.gitea("pull_request_rejected", kind, &pull_request("reviewed", review))
        }
        "gitea.ci" => stack.gitea(
            "status",
            "status",
            &json!({"sha": after, "state": "failure", "context": "ci/test", "description": text,
                "repository": repository, "sender": sender}),
        ),
        _ => panic!("no such launch point: {point}"),
    }
}

/// Posts a webhook that starts exactly one job, and returns the job's id.
///
/// # Errors
/// No answer, or another one.
pub async fn start(stack: &Outside, point: &str, number: u64, text: &str) -> anyhow::Result<i64> {
    let answer = stack.deliver(&webhook(stack, point, number, text)).await?;
    let body = answer.json()?;
    ensure!(answer.status == 202 && body["decision"] == "enqueued", "{point}: {} {body}", answer.status);
    let jobs = body["job_ids"].as_array().context("job_ids is no list")?;
    ensure!(jobs.len() == 1, "{point}: {body}");
    jobs[0].as_i64().context("a job id is no number")
}

/// Queues a job whose agent does what the directive says.
///
/// # Errors
/// It was not queued.
pub async fn enqueue(stack: &Outside, directive: &str) -> anyhow::Result<i64> {
    let prompt = format!("fake: {directive}");
    let made =
        stack.orch(&["enqueue", "--project", "shop", "--stage", "pushed", "--prompt", &prompt]).await?;
    made["id"].as_i64().with_context(|| format!("no job id: {made}"))
}

/// Queues a job and waits until it has that status.
///
/// # Errors
/// It was not queued, or does not come to that status in time.
pub async fn run(stack: &Outside, directive: &str, status: &str) -> anyhow::Result<Value> {
    let id = enqueue(stack, directive).await?;
    stack.until_status(id, status, WITHIN).await
}

/// `attempts`, `transient_attempts` and `infra_attempts` of a job's record, and its number of runs.
pub fn spent(record: &Value) -> [u64; 4] {
    let count = |name: &str| record["job"][name].as_u64().unwrap_or(u64::MAX);
    let runs = record["runs"].as_array().map_or(u64::MAX, |runs| runs.len() as u64);
    [count("attempts"), count("transient_attempts"), count("infra_attempts"), runs]
}

/// `class` and `reason` of each run, the oldest first.
pub fn verdicts(record: &Value) -> Vec<(&str, &str)> {
    record["runs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|run| (run["class"].as_str().unwrap_or("-"), run["reason"].as_str().unwrap_or("-")))
        .collect()
}

/// Which runner has the latest run of a job.
///
/// # Errors
/// The job has no run, or no runner of the stack listens where its runner says.
pub async fn runner_of(stack: &Stack, id: i64) -> anyhow::Result<Service> {
    let job = stack.job(id).await?;
    let run = job["runs"].as_array().and_then(|runs| runs.last()).context("the job has no run")?;
    let node = &run["runner"];
    let listed = stack.orch(&["runners"]).await?;
    let runners = listed["runners"].as_array().context("no runners")?;
    let runner = runners.iter().find(|runner| runner["id"] == *node);
    let url =
        runner.with_context(|| format!("{node} is not listed: {listed:#}"))?["advertise_url"].to_string();
    (0..stack.runners())
        .map(Service::Runner)
        .find(|runner| url.contains(&stack.addr(*runner).to_string()))
        .with_context(|| format!("no runner listens at {url}"))
}
