//! From `orch cancel` to the death of the agent: of agents that end at the first word, and of agents that are deaf to it
//! and have to be killed after their grace.

use std::time::Duration;

use anyhow::Context;
use e2e::harness::{Stack, boot_ms, program, until};
use e2e::shop::{Ledger, Spawn, enqueue, shop};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::report::{quantile_ms, row};

/// Agents that are cancelled at the same time; runner slots.
const SIDE_BY_SIDE: usize = 4;
/// The grace of the measurement.
const GRACE: Duration = Duration::from_secs(1);
const SPAWNED_WITHIN: Duration = Duration::from_mins(1);
const BARE: usize = 20;

/// Measures.
pub(crate) async fn measure(short: bool) -> anyhow::Result<()> {
    let (deaf, mild) = if short { (80, 40) } else { (400, 200) };
    let slots = SIDE_BY_SIDE.to_string();
    let stack = shop()
        .env("ORCH_KILL_GRACE_SECONDS", &GRACE.as_secs().to_string())
        .env("ORCH_MAX_CONCURRENCY", &slots)
        .env("ORCH_RUNNER_SLOTS", &slots)
        .start()
        .await?;
    let mut bare = bare_deaths().await?;
    let mut mild = cancels(&stack, mild, "hang").await?;
    let mut deaf = cancels(&stack, deaf, "deaf").await?;
    let bound = (GRACE + Duration::from_millis(250)).as_secs_f64() * 1e3;
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("most", 1.0)] {
        let limit = quantile_ms(&mut bare, share);
        row(&format!("cancel_limit_bare_term_grace_kill_{name}"), limit, "ms", None);
        row(&format!("cancel_deaf_to_dead_{name}"), quantile_ms(&mut deaf, share), "ms", Some(limit));
        row(&format!("cancel_mild_to_dead_{name}"), quantile_ms(&mut mild, share), "ms", None);
    }
    row("cancel_deaf_to_dead_p99_of_grace_plus_250_ms", quantile_ms(&mut deaf, 0.99), "ms", Some(bound));
    stack.finish().await
}

/// Cancels `count` jobs, a few at a time, each once its agent lives; the time of each from the command to the death.
async fn cancels(stack: &Stack, count: usize, manner: &str) -> anyhow::Result<Vec<Duration>> {
    stream::iter(0..count)
        .map(|number| cancel(stack, number, manner))
        .buffer_unordered(SIDE_BY_SIDE)
        .try_collect()
        .await
}

async fn cancel(stack: &Stack, number: usize, manner: &str) -> anyhow::Result<Duration> {
    let ledger = Ledger::of(stack);
    let steps = if manner == "deaf" { "deaf=yes " } else { "" };
    let id = enqueue(stack, &format!("{steps}{} say=1 then=hang", ledger.step())).await?;
    let spawn: Spawn = until(&format!("agent {number} of job {id}"), SPAWNED_WITHIN, || async {
        Ok(ledger.starts().into_iter().find(|spawn| spawn.job == id))
    })
    .await?;
    let death = spawn.death();
    let asked_ms = boot_ms();
    stack.orch(&["cancel", &id.to_string()]).await?;
    let died_ms = death.await??;
    stack.until_status(id, "cancelled", SPAWNED_WITHIN).await?;
    Ok(Duration::from_millis(u64::try_from(died_ms - asked_ms).unwrap_or(0)))
}

/// SIGTERM, the grace, SIGKILL, with nothing around a deaf child of our own.
async fn bare_deaths() -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(BARE);
    for _ in 0..BARE {
        let mut child = Command::new(program("bench")?).arg("deaf").kill_on_drop(true).spawn()?;
        let pid =
            child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).context("it lives")?;
        // Deaf from its first moments on, which a busy machine puts off.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let asked_ms = boot_ms();
        kill_process(pid, Signal::TERM)?;
        tokio::time::sleep(GRACE).await;
        kill_process(pid, Signal::KILL)?;
        child.wait().await?;
        took.push(Duration::from_millis(u64::try_from(boot_ms() - asked_ms).unwrap_or(0)));
    }
    Ok(took)
}

/// A process that takes no notice of SIGTERM.
pub(crate) async fn deaf() -> anyhow::Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        term.recv().await;
    }
}
