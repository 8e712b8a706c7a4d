//! The scheduler dies again and again while nothing runs, and a webhook is taken meanwhile: its job starts as soon as
//! the next scheduler is there, under the default times, in which a runner renews every five seconds.

use anyhow::ensure;

use super::{DEFAULT, LOAD, Story};
use crate::harness::{Service, boot_ms, until};
use crate::shop::{Ledger, WITHIN, webhook};

const ROUNDS: usize = 25;

pub(super) async fn play() -> anyhow::Result<Story> {
    let mut stack = DEFAULT.shop(2).start().await?;
    let (mut story, ledger) = (Story::begin(), Ledger::of(&stack));
    let mut after_ms = Vec::new();
    for round in 0..ROUNDS {
        stack.process(Service::Scheduler).kill().await?;
        let text = format!("fake: {}", ledger.step());
        let delivery = webhook(&stack, "gitea.pull_request", round as u64 + 1, &text);
        let answer = stack.deliver(&delivery).await?;
        ensure!(answer.status.is_success(), "{answer:?}");
        let job = answer.json()?["job_ids"][0].as_i64().unwrap_or_default();

        let began_ms = boot_ms();
        stack.process(Service::Scheduler).start().await?;
        let spawn =
            until("the job's agent", WITHIN, || async { Ok(ledger.starts().get(round).cloned()) }).await?;
        ensure!(spawn.job == job, "the agent of job {} and not of {job}", spawn.job);
        after_ms.push(spawn.boot_ms - began_ms);
        stack.until_status(job, "done", WITHIN).await?;
    }
    after_ms.sort_unstable();
    let (median, most) = (after_ms[ROUNDS / 2], after_ms[ROUNDS - 1]);
    let told = format!(
        "{ROUNDS} restarts, from the scheduler's start to the agent's: median {median} ms, most {most} ms"
    );
    story.at(boot_ms(), &told);
    ensure!(u128::try_from(most)? < LOAD.as_millis(), "{told}");
    stack.finish().await?;
    Ok(story)
}
