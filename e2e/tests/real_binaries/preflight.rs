//! A runner whose agent cannot be started starts none, says why and what to do, holds up nobody else, and goes on by
//! itself once it is mended.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::harness::{Service, Stack, get, program, until};
use serde_json::Value;

use crate::shop::{Ledger, WITHIN, enqueue, shop, spent};

/// The cache time that these stacks run with.
const CACHE_TTL: Duration = Duration::from_secs(2);

/// A copy of the fake that may be broken in any way.
struct Agent(PathBuf);

impl Agent {
    fn install(folder: &Path) -> anyhow::Result<Self> {
        let agent = Self(folder.join("claude"));
        agent.mend()?;
        Ok(agent)
    }

    /// Puts the fake in its place, as an update would: under another name first.
    fn mend(&self) -> anyhow::Result<()> {
        let fresh = self.0.with_extension("new");
        std::fs::copy(program("fake-claude")?, &fresh)?;
        Ok(std::fs::rename(fresh, &self.0)?)
    }

    fn remove(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(&self.0)?)
    }

    fn make_unexecutable(&self) -> anyhow::Result<()> {
        Ok(std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o600))?)
    }

    fn replace(&self, script: &str) -> anyhow::Result<()> {
        let fresh = self.0.with_extension("new");
        std::fs::write(&fresh, format!("#!/bin/sh\n{script}\n"))?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o700))?;
        Ok(std::fs::rename(fresh, &self.0)?)
    }
}

/// Waits until the only runner's preflight fails with these words.
async fn fails_with(stack: &Stack, words: &str) -> anyhow::Result<()> {
    until(&format!("a preflight that says {words:?}"), WITHIN, || async {
        let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
        let preflight = &queue["resilience"]["preflight"][0];
        let says = preflight["error"].as_str().is_some_and(|error| error.contains(words));
        Ok((preflight["ok"] == false && says).then_some(()))
    })
    .await
}

/// Waits until a job says that it waits for these words.
async fn waits_for(stack: &Stack, id: i64, words: &str) -> anyhow::Result<Value> {
    until(&format!("a job that waits for {words:?}"), WITHIN, || async {
        let job = stack.job(id).await?;
        let says = job["job"]["waiting"]["reason"].as_str().is_some_and(|reason| reason.contains(words));
        Ok(says.then_some(job))
    })
    .await
}

#[tokio::test]
async fn whatever_breaks_the_binary_keeps_jobs_queued_with_that_reason_until_it_is_mended()
-> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = Agent::install(folder.path())?;
    let ttl = format!("{}s", CACHE_TTL.as_secs());
    let stack = shop()
        .env("ORCH_CLAUDE_BIN", &agent.0.to_string_lossy())
        .env("ORCH_PREFLIGHT_CACHE_TTL", &ttl)
        .start();
    let stack = stack.await?;
    let ledger = Ledger::of(&stack);
    let breaks: [(&str, &dyn Fn() -> anyhow::Result<()>); 5] = [
        ("was not found as an executable file", &|| agent.remove()),
        ("was not found as an executable file", &|| agent.make_unexecutable()),
        ("names no version", &|| agent.replace("echo 'something else'")),
        ("oldest that is supported", &|| agent.replace("echo '0.2.9 (Claude Code)'")),
        ("did not answer within 10 s", &|| agent.replace("sleep 600 & wait")),
    ];
    for (words, break_it) in breaks {
        let before = ledger.starts().len();
        break_it()?;
        // No look has to come first: the file is not the one that was looked at.
        let id = enqueue(&stack, &format!("{} then=success", ledger.step())).await?;
        fails_with(&stack, words).await?;
        let job = waits_for(&stack, id, words).await?;
        assert_eq!(
            (job["job"]["status"].as_str(), spent(&job)[..3].iter().sum()),
            (Some("queued"), 0),
            "{job:#}"
        );
        let reason = job["job"]["waiting"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("ORCH_CLAUDE_BIN"), "it says what to do: {reason}");
        assert_eq!(ledger.starts().len(), before, "something was spawned while {words}");

        agent.mend()?;
        let mended = tokio::time::Instant::now();
        until("a start after the repair", WITHIN, || async {
            Ok((ledger.starts().len() > before).then_some(()))
        })
        .await?;
        // A look under way ends first; the rest is a busy machine's time to claim and spawn.
        let took = mended.elapsed();
        assert!(took < CACHE_TTL + Duration::from_secs(20), "resumed only after {took:?}");
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(spent(&job)[..3], [0, 0, 0], "{job:#}");
        assert_eq!(ledger.starts().len(), before + 1);
    }
    stack.finish().await
}

#[tokio::test]
async fn one_runner_of_three_without_its_agent_holds_up_no_other() -> anyhow::Result<()> {
    let mut stack = shop().runners(3).env("ORCH_RUNNER_SLOTS", "1").lay_out()?;
    stack.process(Service::Runner(1)).set_env("ORCH_CLAUDE_BIN", "/no/such/claude");
    stack.process(Service::Scheduler).start().await?;
    stack.process(Service::Console).start().await?;
    for number in [0, 2] {
        stack.process(Service::Runner(number)).start().await?;
    }
    stack.process(Service::Runner(1)).spawn()?;
    until("three runners", WITHIN, || async {
        let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
        Ok((queue["resilience"]["preflight"].as_array().map_or(0, Vec::len) == 3).then_some(()))
    })
    .await?;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(enqueue(&stack, "then=success").await?);
    }
    for id in ids {
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(spent(&job), [0, 0, 0, 1], "no offer went to the runner without its agent: {job:#}");
    }
    stack.finish().await
}
