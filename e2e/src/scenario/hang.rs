//! A shim that stands still, as one does whose disk does not answer: its agent obeys a cancel all the same, and is dead
//! by its lease before its job starts elsewhere.

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::{LOAD, SHORT, Story};
use crate::harness::{Direction, Stack, boot_ms, until};
use crate::shop::{Ledger, Spawn, WITHIN, enqueue, spent, verdicts};

pub(super) async fn play() -> anyhow::Result<Story> {
    let mut stack = SHORT.shop(2).start().await?;
    let mut story = Story::begin();
    let (grace_ms, load_ms) = (i64::from(SHORT.grace) * 1000, i64::try_from(LOAD.as_millis())?);

    let (id, agent, shim) = stand_still(&stack, &mut story).await?;
    let death = agent.death();
    stack.orch(&["cancel", &id.to_string()]).await?;
    let cancelled_ms = boot_ms();
    story.at(cancelled_ms, "its job is cancelled");
    let dead_ms = death.await??;
    story.at(dead_ms, "the agent is dead");
    ensure!(dead_ms - cancelled_ms <= grace_ms + load_ms, "{}", story.lines);
    stack.signal_process(shim, Signal::CONT);
    stack.until_status(id, "cancelled", WITHIN).await?;

    let (id, first, shim) = stand_still(&stack, &mut story).await?;
    let (ledger, death, before) = (Ledger::of(&stack), first.death(), Ledger::of(&stack).starts().len());
    let host = stack.host_of(shim).context("the shim is on no host")?;
    stack.host(host).cut(Direction::Both)?;
    story.at(boot_ms(), "the link of its host loses every packet, in both directions");
    let dead_ms = death.await??;
    story.at(dead_ms, "the agent is dead");
    let second =
        until("another agent", WITHIN, || async { Ok(ledger.starts().get(before).cloned()) }).await?;
    story.at(second.boot_ms, "the job's next agent was spawned on the other host");
    ensure!(dead_ms < second.boot_ms, "two agents at once\n{}", story.lines);
    stack.signal_process(shim, Signal::CONT);
    stack.host(host).heal()?;
    std::fs::write(stack.folder().join("door"), b"")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    ensure!(spent(&job) == [0, 0, 1, 2] && verdicts(&job)[0] == ("lost", "lease_expired"), "{job:#}");
    stack.finish().await?;
    Ok(story)
}

/// A job whose agent, deaf to SIGTERM, works while its shim does not.
async fn stand_still(stack: &Stack, story: &mut Story) -> anyhow::Result<(i64, Spawn, i32)> {
    let (ledger, door) = (Ledger::of(stack), stack.folder().join("door"));
    let before = ledger.starts().len();
    let id = enqueue(stack, &format!("{} deaf=1 child=600 await={}", ledger.step(), door.display())).await?;
    let agent = until("the agent", WITHIN, || async { Ok(ledger.starts().get(before).cloned()) }).await?;
    story.at(agent.boot_ms, "an agent was spawned");
    let shims = until("its shim alone", WITHIN, || async {
        let shims = stack.shims();
        Ok((shims.len() == 1).then_some(shims))
    });
    let shim = shims.await?[0];
    ensure!(stack.signal_process(shim, Signal::STOP), "the shim is gone");
    story.at(boot_ms(), "its shim stands still");
    Ok((id, agent, shim))
}
