//! An account whose provider falters, or refuses: how few agents are spent on finding out, and who is left alone.

use std::collections::BTreeSet;

use anyhow::Context;
use e2e::harness::{Service, Stack, until};
use e2e::receiver::Receiver;
use serde_json::{Value, json};

use crate::shop::{Ledger, WITHIN, enqueue, shop, spent, verdicts};

const JOBS: usize = 30;
const THRESHOLD: usize = 3;
/// Probes that fail before the provider is well again.
const PROBES: usize = 4;

/// The one account's breaker, as `orch breaker` shows it.
async fn breaker(stack: &Stack) -> anyhow::Result<Value> {
    Ok(stack.orch(&["breaker"]).await?["breaker"][0].clone())
}

#[tokio::test]
async fn thirty_jobs_spend_no_more_agents_on_a_sick_provider_than_threshold_and_probes() -> anyhow::Result<()>
{
    let telegram = Receiver::start().await?;
    let stack = shop()
        .env("ORCH_BREAKER_THRESHOLD", &THRESHOLD.to_string())
        .env("ORCH_BREAKER_PAUSE_SECONDS", "2")
        .env("ORCH_MAX_CONCURRENCY", "3")
        .env("ORCH_RUNNER_SLOTS", "3")
        .env("ORCH_TELEGRAM_BOT_TOKEN", "7777:breaker")
        .env("ORCH_TELEGRAM_CHAT_ID", "-42")
        .env("ORCH_TELEGRAM_API_URL", &telegram.url())
        .start()
        .await?;
    let closed = json!({"account": "default", "state": "closed", "consecutive_transient": 0,
        "threshold": THRESHOLD, "open_until": null});
    assert_eq!(breaker(&stack).await?, closed);
    let (ledger, counter) = (Ledger::of(&stack), stack.folder().join("count"));
    let sick = THRESHOLD + PROBES;
    let directive = format!("{} first={sick}:{}:529", ledger.step(), counter.display());
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(enqueue(&stack, &directive).await?);
    }
    let mut transient = 0;
    let mut probes = 0;
    for id in &jobs {
        let job = stack.until_status(*id, "done", WITHIN).await?;
        let [attempts, put_off, infra, _] = spent(&job);
        assert_eq!((attempts, infra), (0, 0), "a held account costs no attempt: {job:#}");
        transient += usize::try_from(put_off)?;
        let runs = job["runs"].as_array().context("runs")?;
        probes += runs.iter().filter(|run| run["probe"] == true).count();
    }
    assert_eq!((transient, probes), (sick, PROBES + 1), "as many as open it, then one at a time");
    assert_eq!(ledger.starts().len(), sick + JOBS);
    assert_eq!(breaker(&stack).await?, closed);
    let told = until("both alerts", WITHIN, || async {
        let text: String = telegram.taken().iter().map(|seen| seen.field("text")).collect();
        Ok(text.contains("answers again").then_some(text))
    });
    let told = told.await?;
    let count = |part: &str| told.lines().filter(|line| line.contains(part)).count();
    assert_eq!((count("limits in a row"), count("answers again")), (1, 1), "{told}");
    stack.finish().await
}

#[tokio::test]
async fn an_open_breaker_outlives_the_scheduler() -> anyhow::Result<()> {
    let mut stack =
        shop().env("ORCH_BREAKER_THRESHOLD", "2").env("ORCH_MAX_CONCURRENCY", "1").start().await?;
    let (ledger, counter) = (Ledger::of(&stack), stack.folder().join("count"));
    let directive = format!("{} first=2:{}:529", ledger.step(), counter.display());
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(enqueue(&stack, &directive).await?);
    }
    let open = until("an open breaker", WITHIN, || async {
        Ok(Some(breaker(&stack).await?).filter(|breaker| breaker["state"] == "open"))
    });
    let open = open.await?;
    assert!(open["open_until"].is_string() && open["consecutive_transient"] == 2, "{open:#}");
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Scheduler).start().await?;
    assert_eq!(breaker(&stack).await?, open);
    jobs.push(enqueue(&stack, &directive).await?);
    for id in &jobs[2..] {
        let waiting = until("the reason", WITHIN, || async {
            let waiting = stack.job(*id).await?["job"]["waiting"].clone();
            let says = waiting["reason"].as_str().is_some_and(|reason| reason.contains("breaker"));
            Ok(says.then_some(waiting))
        });
        assert_eq!(waiting.await?["until"], open["open_until"]);
    }
    assert_eq!(ledger.starts().len(), 2, "nothing was spawned");
    stack.orch(&["breaker", "reset", "default"]).await?;
    for id in jobs {
        stack.until_status(id, "done", WITHIN).await?;
    }
    stack.finish().await
}

#[tokio::test]
async fn a_refused_key_pauses_its_account_after_one_run_and_no_other() -> anyhow::Result<()> {
    let mut stack = shop().runners(2).start().await?;
    for (number, account) in ["red", "blue"].into_iter().enumerate() {
        let runner = stack.process(Service::Runner(number));
        runner.terminate().await?;
        runner.set_env("ORCH_RUNNER_ACCOUNT", account);
        runner.start().await?;
    }
    let counter = stack.folder().join("count").display().to_string();
    let mut jobs = vec![enqueue(&stack, &format!("first=1:{counter}:401")).await?];
    let held = until("the hold", WITHIN, || async {
        let accounts = stack.orch(&["account"]).await?["accounts"].as_array().cloned().unwrap_or_default();
        let held = accounts.into_iter().find(|account| account["held_reason"] == "auth");
        Ok(held.and_then(|account| account["account"].as_str().map(str::to_owned)))
    });
    let held = held.await?;
    for _ in 0..4 {
        jobs.push(enqueue(&stack, "then=success").await?);
    }
    let mut refused = 0;
    let mut accounts = BTreeSet::new();
    for id in jobs {
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(spent(&job)[..3], [0, 0, 0], "{job:#}");
        refused += verdicts(&job).iter().filter(|verdict| **verdict == ("permanent", "auth")).count();
        let runs = job["runs"].as_array().context("runs")?;
        let last = runs.last().and_then(|run| run["account"].as_str()).context("an account")?;
        accounts.insert(last.to_owned());
    }
    assert_eq!((refused, accounts.len(), accounts.contains(&held)), (1, 1, false), "{held} is left alone");
    stack.finish().await
}
