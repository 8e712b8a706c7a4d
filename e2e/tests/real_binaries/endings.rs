//! Every way in which an agent can end, and what becomes of its job.

use std::time::Duration;

use e2e::harness::until;
use serde_json::Value;

use crate::shop::{Ledger, WITHIN, enqueue, run, shop, spent, verdicts};

#[tokio::test]
async fn a_crash_is_tried_again_until_the_attempts_are_spent() -> anyhow::Result<()> {
    let stack = shop().env("ORCH_MAX_ATTEMPTS", "2").start().await?;
    let job = run(&stack, "then=crash:1", "failed").await?;
    assert_eq!(spent(&job), [2, 0, 0, 2], "{job:#}");
    assert_eq!(verdicts(&job), [("permanent", "agent_failure"); 2], "{job:#}");
    assert_eq!(job["runs"][0]["exit_code"], 1);
    assert!(
        job["job"]["failure"].as_str().is_some_and(|failure| failure.contains("failed 2 times")),
        "{job:#}"
    );

    let killed = run(&stack, "then=signal:9", "failed").await?;
    assert_eq!((spent(&killed), &killed["runs"][0]["exit_code"]), ([2, 0, 0, 2], &Value::from(-9)));
    assert_eq!(verdicts(&killed), [("permanent", "crash"); 2], "{killed:#}");

    // Exit 0 without a result is no success, and one good try mends it.
    let counter = stack.folder().join("silent").display().to_string();
    let silent = run(&stack, &format!("first=1:{counter}:no_result"), "done").await?;
    assert_eq!(spent(&silent), [1, 0, 0, 2], "{silent:#}");
    assert_eq!(verdicts(&silent)[0].0, "permanent", "{silent:#}");
    stack.finish().await
}

#[tokio::test]
async fn what_would_repeat_itself_fails_at_once() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    for (ending, reason) in [("max_turns", "max_turns"), ("400_context", "context_length")] {
        let job = run(&stack, &format!("then={ending}"), "failed").await?;
        assert_eq!(spent(&job), [1, 0, 0, 1], "{job:#}");
        assert_eq!(verdicts(&job), [("permanent", reason)]);
    }
    stack.finish().await
}

#[tokio::test]
async fn a_result_without_an_exit_is_a_success_that_we_end() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let ledger = Ledger::of(&stack);
    let job = run(&stack, &format!("{} deaf=1 then=hang_after_result", ledger.step()), "done").await?;
    assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
    assert!(!ledger.starts()[0].lives());
    stack.finish().await
}

#[tokio::test]
async fn a_deaf_agent_and_its_children_are_dead_within_the_grace_of_a_cancel() -> anyhow::Result<()> {
    let stack = shop().env("ORCH_KILL_GRACE_SECONDS", "2").start().await?;
    let ledger = Ledger::of(&stack);
    let id = enqueue(&stack, &format!("{} deaf=1 child=600 write=ready opentool=1 then=hang", ledger.step()))
        .await?;
    let agent = until("the agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    until("its child", WITHIN, || async { Ok((orphans(&stack) == 1).then_some(())) }).await?;
    stack.orch(&["cancel", &id.to_string()]).await?;
    let job = stack.until_status(id, "cancelled", Duration::from_secs(10)).await?;
    assert!(!agent.lives() && orphans(&stack) == 0, "{:?}", stack.processes());
    assert_eq!((spent(&job), verdicts(&job)[0].0), ([0, 0, 0, 1], "cancelled"));
    stack.finish().await
}

#[tokio::test]
async fn children_left_in_sessions_of_their_own_are_gone_after_the_run() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let job = run(&stack, "child=600 child=600 then=success", "done").await?;
    assert_eq!(orphans(&stack), 0, "{:?}", stack.processes());
    assert_eq!(spent(&job), [0, 0, 0, 1]);
    stack.finish().await
}

#[tokio::test]
async fn twenty_megabytes_of_output_keep_their_head_and_tail() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let loud =
        run(&stack, "garbage=50 longline=300000 chatty=20000000 stderr=100000 then=success:At+last", "done");
    let loud = loud.await?;
    assert_eq!(spent(&loud), [0, 0, 0, 1], "{loud:#}");
    let id = loud["job"]["id"].to_string();
    let logs = stack.orch_output(&["logs", &id]).await?;
    assert!(logs.status.success(), "{}", String::from_utf8_lossy(&logs.stderr));
    let text = String::from_utf8_lossy(&logs.stdout).into_owned();
    let head = text.get(..text.floor_char_boundary(10_000)).unwrap_or_default();
    let tail = text.get(text.ceil_char_boundary(text.len().saturating_sub(200_000))..).unwrap_or_default();
    assert!(head.contains("\"init\""), "the head is gone");
    assert!(tail.contains("At last") && tail.contains("\"type\":\"result\""), "the tail is gone");
    assert!(loud["runs"][0]["log_bytes"].as_u64().is_some_and(|bytes| bytes > 20_000_000), "{loud:#}");
    stack.finish().await
}

#[tokio::test]
async fn an_agent_starts_from_an_empty_environment() -> anyhow::Result<()> {
    let stack = shop()
        .env("PLANTED", "planted-value")
        .env("GIT_AUTHOR_NAME", "planted-value")
        .env("ORCH_AGENT_ENV", "ORCH_E2E,LET_THROUGH")
        .env("LET_THROUGH", "as told")
        .start()
        .await?;
    let dump = stack.folder().join("dump.json");
    let job = run(&stack, &format!("dump={}", dump.display()), "done").await?;
    let given: Value = serde_json::from_slice(&std::fs::read(&dump)?)?;
    let environment = given["env"].as_object().expect("an environment");
    let text = given["env"].to_string();
    assert!(!text.contains("planted-value") && !text.contains("a secret of"), "{text}");
    let ours: Vec<&str> =
        environment.keys().map(String::as_str).filter(|name| name.starts_with("ORCH_")).collect();
    for name in &ours {
        let known = ["ORCH_E2E", "ORCH_JOB_ID", "ORCH_RUN_ID"].contains(name) || name.contains("MARK");
        assert!(known, "{name} reaches the agent: {ours:?}");
    }
    let expected = [
        ("TZ", "UTC"),
        ("LET_THROUGH", "as told"),
        ("ORCH_JOB_ID", &job["job"]["id"].to_string()),
        ("ORCH_RUN_ID", job["runs"][0]["run_id"].as_str().unwrap_or_default()),
    ];
    for (name, value) in expected {
        assert_eq!(environment.get(name).and_then(Value::as_str), Some(value), "{name}");
    }
    for name in ["PATH", "HOME", "LANG"] {
        assert!(environment.get(name).is_some_and(|value| value != ""), "{name}");
    }
    assert_ne!(
        environment.get("HOME"),
        Some(&Value::from(stack.folder().join("home").display().to_string()))
    );
    let argv = given["argv"].to_string();
    assert!(argv.contains("\"-p\"") && argv.contains("stream-json") && argv.contains("--verbose"), "{argv}");
    assert!(!argv.contains("dump="), "the prompt is told on stdin alone: {argv}");
    let work = stack.folder().join("runner-0/work");
    assert!(given["cwd"].as_str().is_some_and(|cwd| cwd.starts_with(&*work.to_string_lossy())), "{given:#}");
    stack.finish().await
}

fn orphans(stack: &e2e::harness::Stack) -> usize {
    stack.processes().iter().filter(|(_, command)| command.starts_with("fake-claude-orphan")).count()
}
