//! A try that was cut off from outside goes on where it stopped: the same conversation, on the same runner and in the
//! same folder, with a short word instead of the whole task. Where that cannot be, the next try begins afresh.

use std::path::Path;
use std::time::Duration;

use e2e::harness::{Stack, until};
use serde_json::Value;

use crate::shop::{WITHIN, enqueue, run, shop, spent, verdicts};

fn word<'a>(run: &'a Value, field: &str) -> Option<&'a str> {
    run[field].as_str()
}

#[tokio::test]
async fn a_transient_fault_goes_on_with_the_conversation() -> anyhow::Result<()> {
    let stack = shop().runners(3).start().await?;
    let (counter, dump) = (stack.folder().join("count"), stack.folder().join("dump.json"));
    let (counter, shown) = (counter.display(), dump.display());
    let directive = format!("dump={shown} tool=2 retry=2:529 first=2:{counter}:529 then=success");
    let job = run(&stack, &directive, "done").await?;
    assert_eq!(spent(&job), [0, 2, 0, 3], "{job:#}");
    let runs = job["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let session = word(&runs[0], "session_id").expect("the first try names its session");
    assert_eq!(word(&runs[0], "resumed_session"), None);
    for run in &runs[1..] {
        assert_eq!((word(run, "resumed_session"), word(run, "session_id")), (Some(session), Some(session)));
        assert_eq!(run["runner"], runs[0]["runner"], "it lies on that runner alone");
    }
    let given: Value = serde_json::from_slice(&std::fs::read(&dump)?)?;
    assert!(given["argv"].to_string().contains(&format!("\"--resume\",\"{session}\"")), "{given:#}");
    let prompt = given["prompt"].as_str().unwrap_or_default();
    assert!(
        prompt.contains("cut off") && !prompt.contains("fake:"),
        "a continuation, not the task: {prompt}"
    );

    // What each try did not have to spend again is all that the ones before it had spent.
    let tokens =
        |run: &Value| run["input_tokens"].as_u64().unwrap_or(0) + run["output_tokens"].as_u64().unwrap_or(0);
    let (first, second) = (tokens(&runs[0]), tokens(&runs[1]));
    let saved: Vec<_> = runs.iter().map(|run| run["tokens_saved"].as_u64()).collect();
    assert!(first > 0 && second > 0, "{job:#}");
    assert_eq!(saved, [Some(0), Some(first), Some(first + second)]);
    assert_eq!(job["tokens_saved"].as_u64(), Some(2 * first + second));
    assert!(runs.iter().all(|run| run["api_retries"] == 2), "{job:#}");
    let text = stack.orch_output(&["job", &job["job"]["id"].to_string()]).await?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("(resumed)") && text.contains("RETRIES") && text.contains("saved"), "{text}");
    stack.finish().await
}

#[tokio::test]
async fn a_failure_of_its_own_begins_afresh() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let counter = stack.folder().join("count");
    let job = run(&stack, &format!("tool=1 first=1:{}:crash:1", counter.display()), "done").await?;
    assert_eq!(spent(&job), [1, 0, 0, 2], "{job:#}");
    assert!(job["runs"][1]["resumed_session"].is_null(), "{job:#}");
    assert_ne!(job["runs"][1]["session_id"], job["runs"][0]["session_id"]);
    assert_eq!(job["tokens_saved"], 0);
    stack.finish().await
}

#[tokio::test]
async fn a_conversation_that_is_gone_costs_no_budget_and_is_not_asked_for_again() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let counter = stack.folder().join("count");
    let id = enqueue(&stack, &format!("tool=1 first=1:{}:429:3", counter.display())).await?;
    until("the first try's end", WITHIN, || async {
        let job = stack.job(id).await?;
        Ok((job["job"]["transient_attempts"] == 1).then_some(()))
    })
    .await?;
    forget_conversations(&stack.folder().join("runner-0/state/homes"))?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    // The task is whole again in the third prompt, so the fake counts that spawn, too.
    assert_eq!(spent(&job), [0, 1, 0, 3], "{job:#}");
    assert_eq!(verdicts(&job)[1..], [("withdrawn", "session_refused"), ("success", "none")]);
    let evidence = word(&job["runs"][1], "evidence").unwrap_or_default();
    assert!(evidence.contains("No conversation found with session ID"), "{evidence}");
    assert_eq!(job["runs"][1]["resumed_session"], job["runs"][0]["session_id"]);
    assert!(job["runs"][2]["resumed_session"].is_null(), "{job:#}");
    assert_eq!(job["tokens_saved"], 0);
    stack.finish().await
}

/// Removes every `.claude` folder below `homes`, as somebody who tidies up might.
fn forget_conversations(homes: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(homes)? {
        let path = entry?.path();
        if path.ends_with(".claude") {
            std::fs::remove_dir_all(path)?;
        } else if path.is_dir() {
            forget_conversations(&path)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_busy_runner_is_waited_for_only_so_long() -> anyhow::Result<()> {
    let stack = shop().runners(2).env("ORCH_RUNNER_SLOTS", "1").env("ORCH_RESUME_WAIT", "3s").start().await?;
    let file = |name: &str| stack.folder().join(name);
    let release = |name: &str| std::fs::write(file(name), "");
    // Two agents hold both runners; a third job takes the place of the first one as soon as that is put off.
    let (go, counter) = (file("go"), file("count"));
    let directive = format!("tool=1 await={} first=1:{}:529", go.display(), counter.display());
    let cut_off = enqueue(&stack, &directive).await?;
    running(&stack, cut_off).await?;
    let other = enqueue(&stack, &format!("await={}", file("other").display())).await?;
    running(&stack, other).await?;
    let taker = enqueue(&stack, &format!("await={}", file("taker").display())).await?;
    release("go")?;
    running(&stack, taker).await?;
    release("other")?;
    let reason = until("the wait for its runner", WITHIN, || async {
        let job = stack.job(cut_off).await?;
        let reason = job["job"]["waiting"]["reason"].as_str().unwrap_or_default().to_owned();
        Ok(reason.contains("has its conversation").then_some(job))
    });
    assert!(reason.await?["job"]["waiting"]["until"].is_string(), "it says until when");
    let job = stack.until_status(cut_off, "done", WITHIN + Duration::from_secs(3)).await?;
    assert_eq!(spent(&job), [0, 1, 0, 2], "{job:#}");
    assert!(job["runs"][1]["resumed_session"].is_null(), "{job:#}");
    assert_ne!(job["runs"][1]["runner"], job["runs"][0]["runner"]);
    release("taker")?;
    for id in [other, taker] {
        stack.until_status(id, "done", WITHIN).await?;
    }
    stack.finish().await
}

async fn running(stack: &Stack, id: i64) -> anyhow::Result<()> {
    until("a started run", WITHIN, || async {
        let job = stack.job(id).await?;
        let runs = job["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(runs.iter().any(|run| run["state"] == "started").then_some(()))
    })
    .await
}
