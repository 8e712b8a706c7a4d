//! A host that lost its power and comes back with nothing in its memory: its job is queued again as soon as its
//! runner says so, not when the lease is over.

use anyhow::ensure;

use super::{LOAD, Story, Terms};
use crate::harness::{Service, Stack, boot_ms, until};
use crate::shop::{Ledger, WITHIN, enqueue, runner_of, spent, verdicts};

/// Leases so long that nothing can have waited for one.
const LONG: Terms = Terms { renew: 1, unreachable: 4, runner: 300, grace: 1, scheduler: 420 };

/// What tells that the host's memory is empty.
#[derive(Clone, Copy, PartialEq)]
enum Proof {
    /// Another boot id.
    Boot,
    /// The boot id of before and an empty journal, as of a container that is made anew.
    Journal,
}

pub(super) async fn play() -> anyhow::Result<Story> {
    let mut stack = LONG.shop(2).start().await?;
    let mut story = Story::begin();
    for proof in [Proof::Boot, Proof::Journal] {
        lose_power(&mut stack, proof, &mut story).await?;
    }
    stack.finish().await?;
    Ok(story)
}

async fn lose_power(stack: &mut Stack, proof: Proof, story: &mut Story) -> anyhow::Result<()> {
    let (ledger, door) = (Ledger::of(stack), stack.folder().join("door"));
    let before = ledger.starts().len();
    let id = enqueue(stack, &format!("{} await={}", ledger.step(), door.display())).await?;
    let first = until("the agent", WITHIN, || async { Ok(ledger.starts().get(before).cloned()) }).await?;
    story.at(first.boot_ms, "the agent was spawned");
    let Service::Runner(gone) = runner_of(stack, id).await? else { anyhow::bail!("no runner has the job") };

    stack.power_off(gone).await?;
    ensure!(!first.lives(), "the agent outlives its host");
    story.at(boot_ms(), "its host has lost its power");
    if proof == Proof::Boot {
        stack.host(gone).power_on()?;
    } else {
        stack.host(gone).power_on_same_boot()?;
        std::fs::remove_dir_all(stack.folder().join(format!("runner-{gone}/state/node-0/runs")))?;
    }
    stack.process(Service::Runner(gone)).start().await?;
    let told = if proof == Proof::Boot { "another boot id" } else { "an empty journal" };
    let back_ms = boot_ms();
    story.at(back_ms, &format!("its runner is back, with {told}"));
    let second =
        until("another agent", WITHIN, || async { Ok(ledger.starts().get(before + 1).cloned()) }).await?;
    story.at(second.boot_ms, "the job's next agent was spawned");
    let load_ms = i64::try_from(LOAD.as_millis())?;
    ensure!(second.boot_ms - back_ms < load_ms, "not at once:\n{}", story.lines);

    std::fs::write(&door, b"")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    std::fs::remove_file(&door)?;
    ensure!(spent(&job) == [0, 0, 1, 2], "{job:#}");
    // With its journal the runner itself says that the shim is gone.
    let [(class, reason), ("success", "none")] = verdicts(&job)[..] else { anyhow::bail!("{job:#}") };
    let reasons: &[&str] = if proof == Proof::Boot { &["shim_lost", "node_lost"] } else { &["node_lost"] };
    ensure!(class == "lost" && reasons.contains(&reason), "{job:#}");
    Ok(())
}
