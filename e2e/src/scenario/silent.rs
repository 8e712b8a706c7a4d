//! A host that nothing reaches for a while, under the default times: its runner gets no new work after twenty seconds,
//! and nothing more happens to it. Its agent lives, and the job ends with that one run.

use anyhow::ensure;

use super::{DEFAULT, LOAD, Story};
use crate::harness::{Direction, Service, Stack, boot_ms, until};
use crate::shop::{Ledger, WITHIN, enqueue, runner_of, spent, verdicts};

pub(super) async fn play() -> anyhow::Result<Story> {
    let mut stack = DEFAULT.shop(1).start().await?;
    let (mut story, ledger, door) = (Story::begin(), Ledger::of(&stack), stack.folder().join("door"));
    let id = enqueue(&stack, &format!("{} await={}", ledger.step(), door.display())).await?;
    let agent = until("the agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    story.at(agent.boot_ms, "the agent was spawned");
    let Service::Runner(host) = runner_of(&stack, id).await? else { anyhow::bail!("no runner has the job") };

    stack.host(host).cut(Direction::Both)?;
    let cut_ms = boot_ms();
    story.at(cut_ms, "the link of its host loses every packet, in both directions");
    let unreachable_ms = becomes(&stack, "unreachable").await?;
    story.at(unreachable_ms, "the runner is unreachable");
    let after_ms = unreachable_ms - cut_ms;
    let bound_ms = i64::from(DEFAULT.unreachable) * 1000 + i64::try_from(LOAD.as_millis())?;
    // What it renewed last may be as old as a renew takes to come round.
    let least_ms = i64::from(DEFAULT.unreachable - DEFAULT.renew) * 1000 - 1000;
    ensure!((least_ms..=bound_ms).contains(&after_ms), "{after_ms} ms\n{}", story.lines);

    stack.host(host).heal()?;
    story.at(becomes(&stack, "ready").await?, "the link is whole and the runner is ready again");
    std::fs::write(&door, b"")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    ensure!(spent(&job) == [0, 0, 0, 1], "{job:#}");
    ensure!(verdicts(&job) == [("success", "none")], "{job:#}");
    stack.finish().await?;
    Ok(story)
}

/// When the only runner is seen in a state, in milliseconds of boot time.
async fn becomes(stack: &Stack, wanted: &str) -> anyhow::Result<i64> {
    until(wanted, WITHIN, || async {
        let listed = stack.orch(&["runners"]).await?;
        Ok((listed["runners"][0]["state"] == wanted).then(boot_ms))
    })
    .await
}
