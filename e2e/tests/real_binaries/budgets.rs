//! Budgets: an agent whose stream says that it spends is stopped while it runs, its item asks for a person, and what a person
//! gives lets it go on.

use std::time::Duration;

use e2e::harness::{Service, Stack, until};
use serde_json::Value;
use tokio::time::Instant;

use crate::shop::{WITHIN, enqueue, shop, spent, verdicts};

const BUDGETS: &str = "[[project]]\nname = \"shop\"\nserial = \"none\"\nbudget = { item_tokens = 5000, day_tokens = 20000, \
                       run_tokens = 3000 }\n[[stage]]\nname = \"pushed\"\nrole = \"developer\"\nprompt = \"prompt.md\"\n";

async fn item_of(stack: &Stack, job: &Value) -> anyhow::Result<Value> {
    let listed = stack.orch(&["items"]).await?;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().find(|item| item["key"] == job["job"]["work_item"]).unwrap_or_default())
}

#[tokio::test]
async fn an_agent_that_spends_its_items_budget_is_stopped_while_it_runs() -> anyhow::Result<()> {
    let stack = shop().orch_toml(BUDGETS).start().await?;
    // 250 tokens twice a second, 60,000 in all: the item's 5000 are spent after ten seconds.
    let id = enqueue(&stack, "spend=240:250:500").await?;
    let live = until("usage while it runs", WITHIN, || async {
        let job = stack.job(id).await?;
        Ok((job["runs"][0]["input_tokens"].as_u64() > Some(0) && job["job"]["status"] == "running")
            .then_some(job))
    });
    let live = live.await?;
    assert!(live["runs"][0]["cost_usd"].as_f64() > Some(0.0), "estimated by its tokens: {live:#}");
    let started = Instant::now();
    let job = stack.until_status(id, "failed", WITHIN).await?;
    let took = started.elapsed();
    assert_eq!((spent(&job), verdicts(&job)), ([0, 0, 0, 1], vec![("permanent", "budget")]), "{job:#}");
    let tokens = job["runs"][0]["input_tokens"].as_u64().unwrap_or_default();
    assert!((5_000..30_000).contains(&tokens), "{tokens} tokens of 5000 were spent");
    eprintln!("stopped {took:?} after the first report, {tokens} of 5000 tokens spent");

    let item = item_of(&stack, &job).await?;
    let needs = &item["needs"];
    assert_eq!(
        (item["state"].as_str(), needs["why"].as_str()),
        (Some("needs_you"), Some("budget")),
        "{item:#}"
    );
    let reason = needs["reason"].as_str().unwrap_or_default();
    let key = format!("shop/{}", item["key"].as_str().unwrap_or_default());
    for word in [format!("orch budget raise item '{key}' --tokens 5000"), format!("orch retry {id}")] {
        assert!(reason.contains(&word), "{reason}");
    }
    // Nothing starts, retried or not, until there is more.
    stack.orch(&["retry", &id.to_string()]).await?;
    let again = stack.until_status(id, "failed", WITHIN).await?;
    assert_eq!(spent(&again), [0, 0, 0, 1], "no run: {again:#}");
    stack.orch(&["budget", "raise", "item", &key, "--tokens", "100000"]).await?;
    stack.orch(&["retry", &id.to_string()]).await?;
    let running = until("another run", WITHIN, || async {
        let job = stack.job(id).await?;
        Ok((job["runs"].as_array().map_or(0, Vec::len) == 2).then_some(job))
    });
    running.await?;
    stack.orch(&["cancel", &id.to_string()]).await?;
    stack.until_status(id, "cancelled", WITHIN).await?;
    stack.finish().await
}

#[tokio::test]
async fn no_more_agents_run_side_by_side_than_a_days_budget_has_room_for() -> anyhow::Result<()> {
    let stack = shop()
        .orch_toml(BUDGETS)
        .env("ORCH_MAX_CONCURRENCY", "12")
        .env("ORCH_RUNNER_SLOTS", "12")
        .start()
        .await?;
    // 3000 are set aside for each of twelve: six fit into 20000 side by side, the others start as these end.
    for _ in 0..12 {
        enqueue(&stack, "spend=3:900:300 sleep=2").await?;
    }
    let (mut most, mut reasons) = (0, 0);
    let started = Instant::now();
    loop {
        let queue = stack.orch(&["queue"]).await?;
        let count = |word: &str| queue["counts"][word].as_u64().unwrap_or(0);
        most = most.max(count("running"));
        let recent = queue["recent"].as_array().cloned().unwrap_or_default();
        let waits = |job: &&Value| {
            job["waiting"]["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("set aside for runs that live"))
        };
        reasons = reasons.max(recent.iter().filter(waits).count());
        if count("done") == 12 {
            break;
        }
        assert!(started.elapsed() < WITHIN, "{queue:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("at most {most} agents ran side by side, {reasons} jobs said what they wait for");
    assert!((2..=6).contains(&most), "{most} agents ran side by side");
    assert!(reasons > 0, "the others say what they wait for");
    stack.finish().await
}

/// The order to stop is durable before a node hears of it: a scheduler that is killed between the order and the end of the run
/// goes on with it, and the end is told from a person's cancel.
#[tokio::test]
async fn a_scheduler_that_dies_between_the_order_to_stop_and_the_end_goes_on_with_it() -> anyhow::Result<()> {
    let mut stack = shop().orch_toml(BUDGETS).env("ORCH_KILL_GRACE_SECONDS", "5").start().await?;
    // Deaf to TERM: its end takes the whole grace, in which the scheduler dies.
    let id = enqueue(&stack, "deaf=1 spend=240:1000:500").await?;
    let deadline = Instant::now() + WITHIN;
    while !stack.process(Service::Scheduler).log().contains("a run is ended: its budget is spent") {
        assert!(Instant::now() < deadline, "no order to stop");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Scheduler).start().await?;
    let job = stack.until_status(id, "failed", WITHIN).await?;
    assert_eq!((spent(&job), verdicts(&job)), ([0, 0, 0, 1], vec![("permanent", "budget")]), "{job:#}");
    let item = item_of(&stack, &job).await?;
    assert_eq!((&item["state"], &item["needs"]["why"]), (&Value::from("needs_you"), &Value::from("budget")));
    stack.finish().await
}

/// Several agents of one work item run into its budget at once: all are stopped, each once, and the item asks for a person.
#[tokio::test]
async fn agents_of_one_work_item_that_run_into_its_budget_together_are_all_stopped() -> anyhow::Result<()> {
    const AGENTS: u64 = 4;
    const BUDGET: u64 = 8_000;
    let orch_toml = BUDGETS
        .replace("item_tokens = 5000", &format!("item_tokens = {BUDGET}"))
        .replace("day_tokens = 20000", "day_tokens = 10000000")
        .replace("run_tokens = 3000", "run_tokens = 2000");
    let stack = shop()
        .orch_toml(&orch_toml)
        .env("ORCH_MAX_CONCURRENCY", "4")
        .env("ORCH_RUNNER_SLOTS", "4")
        .start()
        .await?;
    let mut jobs = Vec::new();
    for _ in 0..AGENTS {
        let prompt = "fake: spend=240:500:500";
        let ask = [
            "enqueue",
            "--project",
            "shop",
            "--stage",
            "pushed",
            "--work-item",
            "SHOP-1",
            "--prompt",
            prompt,
        ];
        jobs.extend(stack.orch(&ask).await?["id"].as_i64());
    }
    let all_run = || async {
        let queue = stack.orch(&["queue"]).await?;
        Ok((queue["counts"]["running"].as_u64() == Some(AGENTS)).then_some(()))
    };
    until("all of them to run", WITHIN, all_run).await?;
    let mut tokens = 0;
    for id in &jobs {
        let job = stack.until_status(*id, "failed", WITHIN).await?;
        assert_eq!((spent(&job), verdicts(&job)), ([0, 0, 0, 1], vec![("permanent", "budget")]), "{job:#}");
        tokens += job["runs"][0]["input_tokens"].as_u64().unwrap_or_default();
    }
    eprintln!("{AGENTS} agents spent {tokens} of {BUDGET} tokens before they were stopped");
    // Left alone they would spend 120,000 each.
    assert!((BUDGET..AGENTS * 60_000).contains(&tokens), "{tokens} tokens of {BUDGET} were spent");
    let item = item_of(&stack, &stack.job(jobs[0]).await?).await?;
    assert_eq!((&item["state"], &item["needs"]["why"]), (&Value::from("needs_you"), &Value::from("budget")));
    stack.finish().await
}
