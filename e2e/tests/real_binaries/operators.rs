//! What a person can do with jobs and runners, by the commands alone.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::Context;
use e2e::harness::{Service, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::shop::{Ledger, WITHIN, enqueue, run, shop, spent, verdicts};

#[tokio::test]
async fn pause_holds_the_queue_cancel_ends_a_queued_job_and_retry_brings_it_back() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    stack.orch(&["pause"]).await?;
    let kept = enqueue(&stack, "then=success").await?;
    let dropped = enqueue(&stack, "then=success").await?;
    let answer = stack.orch(&["cancel", &dropped.to_string()]).await?;
    assert_eq!(answer["job"]["status"], "cancelled");
    let waiting = until("the reason", WITHIN, || async {
        Ok(stack.job(kept).await?["job"]["waiting"]["reason"].as_str().map(str::to_owned))
    });
    assert!(waiting.await?.contains("paused"));
    let queue = stack.orch(&["queue"]).await?;
    assert_eq!((&queue["paused"], &queue["counts"]["cancelled"]), (&json!(true), &json!(1)));

    stack.orch(&["resume"]).await?;
    assert_eq!(spent(&stack.until_status(kept, "done", WITHIN).await?), [0, 0, 0, 1]);
    let cancelled = stack.job(dropped).await?;
    assert_eq!((spent(&cancelled), &cancelled["job"]["run_id"]), ([0, 0, 0, 0], &Value::Null));
    stack.orch(&["retry", &dropped.to_string()]).await?;
    assert_eq!(spent(&stack.until_status(dropped, "done", WITHIN).await?), [0, 0, 0, 1]);

    let refused = stack.orch_output(&["cancel", &dropped.to_string()]).await?;
    assert_eq!(refused.status.code(), Some(1), "a job that is over cannot be cancelled");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("done"), "{refused:?}");
    stack.finish().await
}

#[tokio::test]
async fn a_failed_job_is_retried_with_fresh_budgets_and_its_history() -> anyhow::Result<()> {
    let stack = shop().env("ORCH_MAX_ATTEMPTS", "1").start().await?;
    let counter = stack.folder().join("count").display().to_string();
    let failed = run(&stack, &format!("first=1:{counter}:crash:2"), "failed").await?;
    assert_eq!(spent(&failed), [1, 0, 0, 1]);
    let id = failed["job"]["id"].as_i64().context("a job id")?;
    stack.orch(&["retry", &id.to_string()]).await?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [0, 0, 0, 2], "{job:#}");
    assert_eq!(job["job"]["epoch"], 2);
    stack.finish().await
}

#[tokio::test]
async fn a_running_agent_that_listens_ends_with_its_cancel() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let ledger = Ledger::of(&stack);
    let id = enqueue(&stack, &format!("{} then=hang", ledger.step())).await?;
    until("the agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    let answer = stack.orch(&["cancel", &id.to_string()]).await?;
    assert!(answer["job"]["cancel_requested_at"].is_string(), "{answer:#}");
    let job = stack.until_status(id, "cancelled", WITHIN).await?;
    assert_eq!((spent(&job), verdicts(&job)[0].0), ([0, 0, 0, 1], "cancelled"));
    assert_eq!(ledger.ends(), 1, "SIGTERM came first, and there was time to write it down");
    stack.finish().await
}

#[tokio::test]
async fn logs_are_followed_to_the_end_of_the_job() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let door = stack.folder().join("door");
    let counter = stack.folder().join("count");
    let directive = format!("say=1 await={} first=1:{}:crash:1", door.display(), counter.display());
    let id = enqueue(&stack, &directive).await?;
    let mut command = stack.command("orch")?;
    let mut follower = command.args(["logs", "-f", &id.to_string()]).stderr(Stdio::null()).spawn()?;
    let mut lines = BufReader::new(follower.stdout.take().context("stdout is piped")?).lines();
    let mut text = String::new();
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("I will run a command") {
                // Seen while the agent waits: now it may go on.
                std::fs::write(&door, b"")?;
            }
            text.push_str(&line);
            text.push('\n');
        }
        anyhow::Ok(follower.wait().await?)
    };
    let status = tokio::time::timeout(WITHIN, reading).await.context("the log did not end")??;
    assert!(status.success(), "{status}");
    let count = |what: &str| text.matches(what).count();
    assert_eq!((count("\"init\""), count("\"type\":\"result\"")), (2, 1), "both runs, each once: {text}");
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [1, 0, 0, 2]);
    let whole = stack.orch_output(&["logs", &id.to_string()]).await?;
    assert_eq!(String::from_utf8_lossy(&whole.stdout), text);
    stack.finish().await
}

#[tokio::test]
async fn a_drained_runner_ends_what_it_has_and_takes_nothing_new() -> anyhow::Result<()> {
    let stack = shop().runners(2).start().await?;
    let (ledger, door) = (Ledger::of(&stack), stack.folder().join("door"));
    let long = enqueue(&stack, &format!("{} await={}", ledger.step(), door.display())).await?;
    until("the agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    let job = stack.job(long).await?;
    let node = job["runs"][0]["runner"].as_str().context("a runner")?.to_owned();
    assert_eq!(stack.orch(&["drain", &node]).await?["live"], 1);

    for _ in 0..3 {
        let other = run(&stack, "then=success", "done").await?;
        assert_ne!(other["runs"][0]["runner"], node.as_str(), "a drained runner took a job");
    }
    let drained = until("the drained state", WITHIN, || async {
        let listed = stack.orch(&["runners"]).await?;
        let states: BTreeSet<_> = listed["runners"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|runner| (runner["id"] == node.as_str(), runner["state"].as_str().unwrap_or_default()))
            .collect();
        Ok((states == [(true, "draining"), (false, "ready")].into()).then_some(()))
    });
    drained.await?;
    std::fs::write(&door, b"")?;
    assert_eq!(spent(&stack.until_status(long, "done", WITHIN).await?), [0, 0, 0, 1]);
    stack.finish().await
}

#[tokio::test]
async fn every_service_ends_on_sigterm_and_agents_outlive_their_runner() -> anyhow::Result<()> {
    let mut stack = shop().start().await?;
    let (ledger, door) = (Ledger::of(&stack), stack.folder().join("door"));
    let id = enqueue(&stack, &format!("{} await={}", ledger.step(), door.display())).await?;
    let agent = until("the agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    for service in [Service::Runner(0), Service::Console, Service::Ingest, Service::Scheduler] {
        let begun = tokio::time::Instant::now();
        let status = stack.process(service).terminate().await?;
        assert!(status.success(), "{service:?}: {status}");
        assert!(begun.elapsed().as_secs() < 6, "{service:?} took {:?}", begun.elapsed());
    }
    assert!(agent.lives(), "a graceful stop hands over");
    for service in [Service::Scheduler, Service::Runner(0), Service::Console, Service::Ingest] {
        stack.process(service).start().await?;
    }
    std::fs::write(&door, b"")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!((spent(&job), ledger.starts().len()), ([0, 0, 0, 1], 1), "{job:#}");
    stack.finish().await
}

#[tokio::test]
async fn no_service_shows_a_secret() -> anyhow::Result<()> {
    let stack = shop().lay_out()?;
    for program in ["orch-scheduler", "orch-runner", "orch-ingest", "orch-console"] {
        let output = stack.command(program)?.arg("--print-config").output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("ORCH_"), "{program}: {output:?}");
        assert!(!text.contains("a secret of"), "{program}: {text}");
        let help = stack.command(program)?.arg("--help").output().await?;
        assert!(help.status.success() && !help.stdout.is_empty(), "{program} --help");
    }
    stack.finish().await
}
