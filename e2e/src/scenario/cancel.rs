//! Fifty agents that are deaf to SIGTERM are cancelled while the host of ten of them is out of reach: all are dead
//! within the time that is promised, and none of their jobs runs again.

use std::collections::BTreeMap;

use anyhow::ensure;

use super::{LOAD, SHORT, Story};
use crate::harness::{Direction, Service, boot_ms, until};
use crate::shop::{Ledger, Spawn, WITHIN, enqueue, run};

const HOSTS: usize = 5;
const SLOTS: usize = 10;
/// The host that is cut off.
const CUT: usize = 0;
/// What it takes beyond the grace until a killed agent is gone, in the arithmetic of the leases.
const REAP_MS: i64 = 1000;

pub(super) async fn play() -> anyhow::Result<Story> {
    let stack = SHORT
        .shop(HOSTS)
        .env("ORCH_RUNNER_SLOTS", &SLOTS.to_string())
        .env("ORCH_MAX_CONCURRENCY", &(HOSTS * SLOTS).to_string());
    let mut stack = stack.start().await?;
    let (mut story, ledger) = (Story::begin(), Ledger::of(&stack));
    let mut jobs = Vec::new();
    for _ in 0..HOSTS * SLOTS {
        jobs.push(enqueue(&stack, &format!("{} deaf=1 then=hang", ledger.step())).await?);
    }
    let all = || async { Ok((ledger.starts().len() == jobs.len()).then_some(())) };
    until("every agent", WITHIN, all).await?;
    story.at(boot_ms(), "fifty agents are at work");

    // Every slot is taken, so that each host has ten. Who dies when is noted from here on.
    let agents = ledger.starts();
    let deaths: Vec<_> = agents.iter().map(Spawn::death).collect();
    let unreached: Vec<bool> = agents.iter().map(|agent| stack.host_of(agent.pid) == Some(CUT)).collect();
    stack.host(CUT).cut(Direction::Both)?;
    let cut_ms = boot_ms();
    story.at(cut_ms, "the host of ten of them is cut off");
    let mut cancelled_ms = BTreeMap::new();
    for id in &jobs {
        stack.orch(&["cancel", &id.to_string()]).await?;
        cancelled_ms.insert(*id, boot_ms());
    }
    story.at(boot_ms(), "all are cancelled");

    let (mut slowest_ms, mut slowest_unreached_ms, mut count) = (0, 0, 0);
    for ((agent, unreached), death) in agents.iter().zip(unreached).zip(deaths) {
        let dead_ms = death.await??;
        if unreached {
            (slowest_unreached_ms, count) = (slowest_unreached_ms.max(dead_ms - cut_ms), count + 1);
        } else {
            slowest_ms = slowest_ms.max(dead_ms - cancelled_ms[&agent.job]);
        }
    }
    let now_ms = boot_ms();
    story.at(now_ms, "all are dead");
    story.at(now_ms, &format!("the slowest of those in reach: {slowest_ms} ms after its cancel"));
    story.at(now_ms, &format!("the slowest of the others: {slowest_unreached_ms} ms after the cut"));
    let (grace_ms, load_ms) = (i64::from(SHORT.grace) * 1000 + REAP_MS, i64::try_from(LOAD.as_millis())?);
    ensure!(count == SLOTS, "{count} agents were out of reach, of {}", agents.len());
    ensure!(slowest_ms <= grace_ms + load_ms, "{}", story.lines);
    ensure!(slowest_unreached_ms <= i64::from(SHORT.runner) * 1000 + grace_ms + load_ms, "{}", story.lines);

    for id in &jobs {
        stack.until_status(*id, "cancelled", WITHIN).await?;
    }
    story.at(boot_ms(), "all jobs are cancelled");
    stack.host(CUT).heal()?;
    stack.process(Service::Runner(CUT)).ready().await?;
    // A job that comes after them would have to wait for any of them that was queued again.
    run(&stack, &ledger.step(), "done").await?;
    ensure!(ledger.starts().len() == jobs.len() + 1, "a cancelled job ran again");
    stack.finish().await?;
    Ok(story)
}
