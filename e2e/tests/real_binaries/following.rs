//! `orch logs -f` over everything that is restarted meanwhile: nothing is missing, nothing comes twice, and the exit code
//! says how it ended.

use std::process::Output;

use anyhow::Context;
use e2e::harness::{Service, Stack, until};
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;

use crate::shop::{Ledger, WITHIN, enqueue, shop, spent};

/// Somebody who follows.
struct Follower {
    child: Child,
    seen: Vec<u8>,
}

impl Follower {
    fn start(stack: &Stack, of: &str) -> anyhow::Result<Self> {
        let child = stack.command("orch")?.args(["logs", "-f", of]).spawn()?;
        Ok(Self { child, seen: Vec::new() })
    }

    /// Reads until this was printed.
    async fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        let stdout = self.child.stdout.as_mut().context("stdout is piped")?;
        let reading = async {
            while !String::from_utf8_lossy(&self.seen).contains(text) {
                let read = stdout.read_buf(&mut self.seen).await?;
                anyhow::ensure!(read > 0, "it ended without `{text}`");
            }
            Ok(())
        };
        tokio::time::timeout(WITHIN, reading).await.with_context(|| format!("no `{text}`"))?
    }

    /// Reads to its end.
    async fn end(mut self) -> anyhow::Result<Output> {
        let mut stdout = self.child.stdout.take().context("stdout is piped")?;
        let reading = async {
            stdout.read_to_end(&mut self.seen).await?;
            anyhow::Ok(self.child.wait_with_output().await?)
        };
        let output = tokio::time::timeout(WITHIN, reading).await.context("it did not end")??;
        Ok(Output { stdout: self.seen, ..output })
    }
}

#[tokio::test]
async fn a_job_is_followed_over_restarts_of_scheduler_and_runner_and_over_its_retry() -> anyhow::Result<()> {
    let mut stack = shop().start().await?;
    let (door, counter) = (stack.folder().join("door"), stack.folder().join("count"));
    let directive = format!("say=1 await={} say=1 first=1:{}:crash:1", door.display(), counter.display());
    let id = enqueue(&stack, &directive).await?;
    let mut follower = Follower::start(&stack, &id.to_string())?;
    follower.wait_for("I will run a command").await?;
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Scheduler).start().await?;
    stack.process(Service::Runner(0)).terminate().await?;
    stack.process(Service::Runner(0)).start().await?;
    stack.process(Service::Scheduler).terminate().await?;
    stack.process(Service::Scheduler).start().await?;
    std::fs::write(&door, b"")?;
    let output = follower.end().await?;
    let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    assert!(output.status.success(), "{}: {said}", output.status);
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [1, 0, 0, 2]);
    let whole = stack.orch_output(&["logs", &id.to_string()]).await?;
    assert_eq!(String::from_utf8(whole.stdout)?, text, "both tries, each piece once");
    assert_eq!(said.matches("--- run ").count(), 2, "{said}");
    stack.finish().await
}

#[tokio::test]
async fn a_run_is_followed_over_a_graceful_stop_of_the_scheduler() -> anyhow::Result<()> {
    let mut stack = shop().start().await?;
    let door = stack.folder().join("door");
    let id = enqueue(&stack, &format!("say=1 await={} then=success:all+is+well", door.display())).await?;
    let run = until("the run", WITHIN, || async {
        Ok(stack.job(id).await?["runs"][0]["run_id"].as_str().map(str::to_owned))
    });
    let run = run.await?;
    let mut follower = Follower::start(&stack, &run)?;
    follower.wait_for("I will run a command").await?;
    stack.process(Service::Scheduler).terminate().await?;
    stack.process(Service::Scheduler).start().await?;
    std::fs::write(&door, b"")?;
    let output = follower.end().await?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && text.contains("all is well"), "{}: {text}", output.status);
    let whole = stack.orch_output(&["logs", &run]).await?;
    assert_eq!(String::from_utf8(whole.stdout)?, text);
    stack.finish().await
}

#[tokio::test]
async fn a_job_that_ends_badly_is_no_success_to_those_who_follow_it() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let ledger = Ledger::of(&stack);
    let failing = enqueue(&stack, "then=400_context").await?;
    let output = Follower::start(&stack, &failing.to_string())?.end().await?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("failed: context_length") && said.contains("orch why"), "{said}");
    let cancelled = enqueue(&stack, &format!("{} then=hang", ledger.step())).await?;
    let follower = Follower::start(&stack, &cancelled.to_string())?;
    until("the agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    stack.orch(&["cancel", &cancelled.to_string()]).await?;
    let output = follower.end().await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("was cancelled"));
    stack.finish().await
}
