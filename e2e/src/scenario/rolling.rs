//! Every part is restarted in turn, gracefully, while webhooks come in and agents work: nothing is lost or doubled,
//! and no budget moves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::{SHORT, Story};
use crate::harness::{Outside, Service, boot_ms, until};
use crate::shop::{Ledger, WITHIN, spent, verdicts, webhook};

const HOSTS: usize = 3;
/// How many agents are spawned between two restarts, at least.
const SPAWNS_BETWEEN: usize = 5;
/// Between two webhooks.
const PAUSE: Duration = Duration::from_millis(150);

pub(super) async fn play() -> anyhow::Result<Story> {
    let stack = SHORT.shop(HOSTS).env("ORCH_RUNNER_SLOTS", "3").env("ORCH_MAX_CONCURRENCY", "9");
    let mut stack = stack.start().await?;
    let (mut story, ledger) = (Story::begin(), Ledger::of(&stack));
    let enough = Arc::new(AtomicBool::new(false));
    let mut sender = JoinSet::new();
    sender.spawn(send(Outside::clone(&stack), ledger.step(), Arc::clone(&enough)));

    let runners = (0..HOSTS).map(Service::Runner);
    let parts = [Service::Ingest, Service::Scheduler, Service::Console].into_iter().chain(runners);
    for (round, part) in parts.enumerate() {
        let goal = (round + 1) * SPAWNS_BETWEEN;
        let work = || async { Ok((ledger.starts().len() >= goal).then_some(())) };
        until("work between two restarts", WITHIN, work).await?;
        let process = stack.process(part);
        ensure!(process.terminate().await?.success(), "{part:?} did not stop cleanly");
        process.start().await?;
        story.at(boot_ms(), &format!("{part:?} was restarted"));
    }
    enough.store(true, Ordering::SeqCst);
    let jobs = sender.join_next().await.context("the sender is gone")???;
    story.at(boot_ms(), &format!("{} webhooks were taken meanwhile", jobs.len()));
    for id in &jobs {
        let job = stack.until_status(*id, "done", WITHIN).await?;
        ensure!(spent(&job)[..3] == [0, 0, 0], "a budget moved: {job:#}");
        ensure!(verdicts(&job).iter().filter(|(class, _)| *class == "success").count() == 1, "{job:#}");
    }
    let started: Vec<i64> = ledger.starts().iter().map(|spawn| spawn.job).collect();
    ensure!(started.len() == jobs.len(), "{} agents for {} jobs", started.len(), jobs.len());
    ensure!(started.into_iter().collect::<BTreeSet<_>>() == jobs, "an agent of another job");
    story.at(boot_ms(), "every job is done, each by one agent");
    stack.finish().await?;
    Ok(story)
}

/// Sends webhooks until it is enough, each as often as it takes to be acknowledged; returns the jobs.
async fn send(stack: Outside, step: String, enough: Arc<AtomicBool>) -> anyhow::Result<BTreeSet<i64>> {
    let mut jobs = BTreeSet::new();
    let mut number = 0_u32;
    while !enough.load(Ordering::SeqCst) {
        number += 1;
        let text = format!("fake: {step} say=1 sleep={}", 0.2 * f64::from(number % 8));
        let delivery = webhook(&stack, "gitea.pull_request", u64::from(number), &text);
        let answer = loop {
            match stack.deliver(&delivery).await {
                Ok(answer) if answer.status.is_success() => break answer.json()?,
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let id = answer["job_ids"][0].as_i64().with_context(|| answer.to_string())?;
        ensure!(jobs.insert(id), "two deliveries have one job: {answer}");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(jobs)
}
