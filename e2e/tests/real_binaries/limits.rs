//! Limits are schedules: they put work off, spend no attempt, and hold an account where they concern all of it.

use e2e::harness::{Stack, until};
use serde_json::Value;

use crate::shop::{WITHIN, enqueue, run, shop, spent, verdicts};

#[tokio::test]
async fn a_rate_limit_is_waited_out_without_an_attempt() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    for (limit, reason) in [("429", "rate_limit"), ("529", "overloaded"), ("network", "network")] {
        let counter = stack.folder().join(format!("count-{reason}"));
        let job = run(&stack, &format!("first=1:{}:{limit}", counter.display()), "done").await?;
        assert_eq!(spent(&job), [0, 1, 0, 2], "{limit}: {job:#}");
        assert_eq!(verdicts(&job)[0], ("transient", reason), "{limit}");
    }
    stack.finish().await
}

#[tokio::test]
async fn a_usage_limit_holds_the_whole_account_until_its_reset() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let counter = stack.folder().join("count").display().to_string();
    let limited = enqueue(&stack, &format!("first=1:{counter}:usage:6")).await?;
    let held = until("the hold", WITHIN, || async {
        Ok(hold(&stack).await?.filter(|hold| hold["held_until"].is_string()))
    });
    let held = held.await?;
    let reset = held["held_until"].as_str().unwrap_or_default().to_owned();
    let other = enqueue(&stack, "then=success").await?;
    let waiting = until("the reason", WITHIN, || async {
        let job = stack.job(other).await?;
        Ok(job["job"]["waiting"]["reason"]
            .as_str()
            .map(str::to_owned)
            .zip(job["job"]["waiting"]["until"].as_str().map(str::to_owned)))
    });
    let (reason, waits_until) = waiting.await?;
    assert!(reason.contains("limit"), "{reason}");
    assert_eq!(waits_until, reset);

    let first = stack.until_status(limited, "done", WITHIN).await?;
    let second = stack.until_status(other, "done", WITHIN).await?;
    assert_eq!((spent(&first), verdicts(&first)[0]), ([0, 1, 0, 2], ("transient", "usage_limit")));
    assert_eq!(spent(&second), [0, 0, 0, 1]);
    for started in [&first["runs"][1]["started_at"], &second["runs"][0]["started_at"]] {
        assert!(started.as_str() >= Some(&reset), "{started} is before the reset at {reset}");
    }
    stack.finish().await
}

#[tokio::test]
async fn a_refused_key_holds_the_account_until_a_person_resumes_it() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let counter = stack.folder().join("count").display().to_string();
    let id = enqueue(&stack, &format!("first=1:{counter}:401")).await?;
    let held = until("the hold", WITHIN, || hold(&stack)).await?;
    assert!(held["held_until"].is_null(), "{held:#}");
    let job = stack.until_status(id, "queued", WITHIN).await?;
    assert_eq!((spent(&job), verdicts(&job)), ([0, 0, 0, 1], vec![("permanent", "auth")]));
    let why = stack.orch_output(&["why", &id.to_string()]).await?;
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("orch account resume default"), "{why}");

    stack.orch(&["account", "resume", "default"]).await?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [0, 0, 0, 2], "no budget moves: {job:#}");
    assert_eq!(hold(&stack).await?, None);
    stack.finish().await
}

/// The account, when something holds it.
async fn hold(stack: &Stack) -> anyhow::Result<Option<Value>> {
    let listed = stack.orch(&["account"]).await?;
    let accounts = listed["accounts"].as_array().cloned().unwrap_or_default();
    Ok(accounts.into_iter().find(|account| account["held_reason"].is_string()))
}
