//! A host that nothing reaches any more, without a word: its runner gets no work, and its agent is dead by its own
//! lease before its job starts elsewhere.

use anyhow::ensure;

use super::{LOAD, SHORT, Story};
use crate::harness::{Direction, Service, boot_ms, until};
use crate::shop::{Ledger, WITHIN, enqueue, runner_of, spent, verdicts};

pub(super) async fn play() -> anyhow::Result<Story> {
    let mut stack = SHORT.shop(2).start().await?;
    let (mut story, ledger, door) = (Story::begin(), Ledger::of(&stack), stack.folder().join("door"));
    // Deaf and with a deaf child: the kill has to be a real one.
    let directive = format!("{} deaf=1 child=600 await={}", ledger.step(), door.display());
    let id = enqueue(&stack, &directive).await?;
    let first = until("the first agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    story.at(first.boot_ms, "the agent was spawned");
    let Service::Runner(gone) = runner_of(&stack, id).await? else { anyhow::bail!("no runner has the job") };
    let death = first.death();

    stack.host(gone).cut(Direction::Both)?;
    let cut_ms = boot_ms();
    story.at(cut_ms, "the link of its host loses every packet, in both directions");
    until("unreachable", WITHIN, || async {
        let listed = stack.orch(&["runners"]).await?;
        let states = listed["runners"].as_array().into_iter().flatten();
        Ok(states.into_iter().any(|runner| runner["state"] == "unreachable").then_some(()))
    })
    .await?;
    let unreachable_ms = boot_ms();
    story.at(unreachable_ms, "the runner is unreachable");
    let dead_ms = death.await??;
    story.at(dead_ms, "the agent is dead");
    let second = until("another agent", WITHIN, || async { Ok(ledger.starts().get(1).cloned()) }).await?;
    story.at(second.boot_ms, "the job's next agent was spawned on the other host");

    let load_ms = i64::try_from(LOAD.as_millis())?;
    let [unreachable_after, dead_after] = [unreachable_ms - cut_ms, dead_ms - cut_ms];
    ensure!(unreachable_after <= i64::from(SHORT.unreachable) * 1000 + load_ms, "{}", story.lines);
    ensure!(dead_after <= i64::from(SHORT.runner + SHORT.grace) * 1000 + load_ms, "{}", story.lines);
    ensure!(dead_ms < second.boot_ms, "two agents at once\n{}", story.lines);

    std::fs::write(&door, b"")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    ensure!(spent(&job) == [0, 0, 1, 2], "{job:#}");
    ensure!(verdicts(&job) == [("lost", "lease_expired"), ("success", "none")], "{job:#}");
    ensure!(job["runs"][0]["runner"] != job["runs"][1]["runner"], "{job:#}");

    // What the first run has to say comes late and changes nothing.
    stack.host(gone).heal()?;
    stack.process(Service::Runner(gone)).ready().await?;
    let late = stack.job(id).await?;
    ensure!((spent(&late), &late["job"]["status"]) == ([0, 0, 1, 2], &job["job"]["status"]), "{late:#}");
    stack.finish().await?;
    Ok(story)
}
