//! A signed webhook becomes a job, the job a run, the run an outcome, and all of it can be seen.

use std::collections::BTreeSet;

use e2e::harness::{Service, Stack, get};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{LAUNCH_POINTS, WITHIN, shop, spent, start, verdicts};

#[tokio::test]
async fn a_signed_webhook_ends_done_and_everything_about_it_can_be_seen() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let from_gitea =
        start(&stack, "gitea.pull_request", 12, "fake: tool=1 then=success:The+total+is+right").await?;
    let from_plane = start(&stack, "plane.issue_created", 7, "fake: then=success:Understood").await?;
    let job = stack.until_status(from_gitea, "done", WITHIN).await?;
    let other = stack.until_status(from_plane, "done", WITHIN).await?;

    assert_eq!(job["job"]["work_item"], "acme/shop#12");
    assert_eq!(other["job"]["work_item"], "SHOP-7");
    for record in [&job, &other] {
        assert_eq!(spent(record), [0, 0, 0, 1], "{record:#}");
        assert_eq!(verdicts(record)[0].0, "success");
    }
    let run = &job["runs"][0];
    assert_eq!(run["state"], "ended");
    assert_eq!(run["exit_code"], 0);
    assert_eq!(run["turns"], 2);
    assert_eq!(run["output_tokens"], 10);
    assert!(run["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0), "{run:#}");
    assert!(run["session_id"].as_str().is_some_and(|id| Uuid::parse_str(id).is_ok()), "{run:#}");
    let (offered, started, ended) = (&run["offered_at"], &run["started_at"], &run["ended_at"]);
    assert!(offered.as_str() <= started.as_str() && started.as_str() <= ended.as_str(), "{run:#}");

    for of in [from_gitea.to_string().as_str(), run["run_id"].as_str().unwrap_or_default()] {
        let logs = stack.orch_output(&["logs", of]).await?;
        let text = String::from_utf8(logs.stdout)?;
        assert_eq!(run["log_bytes"], text.len(), "the log is whole");
        assert!(text.contains("\"The total is right\"") && text.contains("tool_use"), "{text}");
    }
    the_queue_document_is_complete(&stack).await?;
    stack.finish().await
}

#[tokio::test]
async fn each_of_the_eight_launch_points_runs_its_stage() -> anyhow::Result<()> {
    let stack = shop().env("ORCH_RUNNER_SLOTS", "4").start().await?;
    let mut jobs = Vec::new();
    for (number, (point, stage)) in (20..).zip(LAUNCH_POINTS) {
        jobs.push((start(&stack, point, number, "please").await?, stage));
    }
    for (id, stage) in jobs {
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(job["job"]["stage"], stage);
        assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
    }
    let listed = stack.orch(&["jobs", "--status", "done"]).await?;
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(LAUNCH_POINTS.len()));
    stack.finish().await
}

#[tokio::test]
async fn webhook_claim_launch_and_run_are_one_trace() -> anyhow::Result<()> {
    let mut stack = shop().start().await?;
    let job = start(&stack, "gitea.pull_request", 12, "please").await?;
    stack.until_status(job, "done", WITHIN).await?;
    let mut trace_of = |service, said: &str| {
        let log = stack.process(service).log();
        let line =
            log.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("no {said:?}: {log}"));
        let id = line.split_once("trace_id=").map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
        id.map_or_else(|| panic!("no trace id: {line}"), ToOwned::to_owned)
    };
    let webhook = trace_of(Service::Ingest, "webhook taken");
    assert_eq!(webhook.len(), 32, "{webhook}");
    assert_eq!(trace_of(Service::Scheduler, "job claimed"), webhook);
    assert_eq!(trace_of(Service::Runner(0), "spawned"), webhook);
    assert_eq!(trace_of(Service::Scheduler, "run ended"), webhook);
    stack.finish().await
}

/// `GET /queue` has every field of the design, at its top no other, and says what `orch queue` says.
async fn the_queue_document_is_complete(stack: &Stack) -> anyhow::Result<()> {
    let answer = get(stack.addr(Service::Console), "/queue").await?;
    assert_eq!(answer.status, 200);
    let queue = answer.json()?;
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
    };
    let exactly = |place: &str, expected: &[&str]| {
        let found = queue.pointer(place).unwrap_or_else(|| panic!("{place} is missing: {queue:#}"));
        assert_eq!(names(found), expected.iter().map(|name| (*name).to_owned()).collect(), "{place}");
    };
    let top = [
        "counts",
        "paused",
        "max_concurrency",
        "oldest_ready_seconds",
        "recent",
        "resilience",
        "reaper",
        "runners",
        "alerts",
        "needs_you",
        "config_error",
        "paused_parts",
    ];
    exactly("", &top);
    exactly("/counts", &["queued", "running", "done", "failed", "cancelled"]);
    exactly("/resilience", &["breaker", "preflight", "quota"]);
    let closed = json!({"account": "default", "state": "closed", "consecutive_transient": 0, "threshold": 5, "open_until": null});
    assert_eq!(queue["resilience"]["breaker"], json!([closed]));
    assert_eq!(queue["resilience"]["quota"], json!([]));
    // A job, a runner, its preflight and the reaper may say more than the design asks for.
    let preflight = ["runner", "ok", "version", "checked_at", "error"];
    let reaper = ["last_tick_at", "reaped_total", "impossible_queued_total", "sanitize_enabled"];
    let job = [
        "id",
        "project",
        "work_item",
        "stage",
        "status",
        "attempts",
        "transient_attempts",
        "available_at",
        "run_id",
        "waiting",
    ];
    let runner = ["id", "state", "slots", "busy", "last_seen_at"];
    for (place, expected) in [
        ("/recent/0", &job[..]),
        ("/runners/0", &runner),
        ("/reaper", &reaper),
        ("/resilience/preflight/0", &preflight),
    ] {
        let found = names(&queue.pointer(place).cloned().unwrap_or_default());
        assert!(expected.iter().all(|name| found.contains(*name)), "{place}: {found:?}");
    }

    assert_eq!(queue["counts"], json!({"queued": 0, "running": 0, "done": 2, "failed": 0, "cancelled": 0}));
    assert_eq!((&queue["paused"], &queue["max_concurrency"]), (&json!(false), &json!(4)));
    assert_eq!(queue["resilience"]["preflight"][0]["ok"], true);
    assert_eq!(queue["resilience"]["preflight"][0]["version"], "2.1.330 (Claude Code)");
    assert_eq!(queue["runners"][0]["state"], "ready");
    assert_eq!(steady(stack.orch(&["queue"]).await?), steady(queue));
    Ok(())
}

/// The document without the instants that pass between two looks.
fn steady(mut queue: Value) -> Value {
    for place in ["/reaper/last_tick_at", "/resilience/preflight/0/checked_at", "/runners/0/last_seen_at"] {
        let instant = queue.pointer_mut(place).unwrap_or_else(|| panic!("{place} is missing"));
        assert!(instant.as_str().is_none_or(|text| text.ends_with('Z')), "{place}: {instant}");
        *instant = Value::Null;
    }
    queue
}
