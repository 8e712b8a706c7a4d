//! SIGKILL of any part while agents run: every agent goes on, is never started twice, and its job ends once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;
use e2e::harness::{Service, Stack, StackBuilder, until};

use crate::shop::{Ledger, WITHIN, enqueue, runner_of, shop, spent, verdicts};

const AGENTS: usize = 20;
pub(crate) const RUNNERS: [Service; 2] = [Service::Runner(0), Service::Runner(1)];

/// Twenty agents that run until they are let go, half of them at a time.
pub(crate) struct Fleet {
    pub(crate) stack: Stack,
    ledger: Ledger,
    jobs: Vec<i64>,
    doors: [PathBuf; 2],
}

impl Fleet {
    async fn start() -> anyhow::Result<Self> {
        Self::start_on(shop()).await
    }

    pub(crate) async fn start_on(builder: StackBuilder) -> anyhow::Result<Self> {
        let stack = builder
            .runners(RUNNERS.len())
            .env("ORCH_RUNNER_SLOTS", "10")
            .env("ORCH_MAX_CONCURRENCY", "20")
            .start()
            .await?;
        let ledger = Ledger::of(&stack);
        let doors = ["first", "second"].map(|name| stack.folder().join(name));
        let mut jobs = Vec::new();
        for number in 0..AGENTS {
            let door = doors[number % 2].display();
            jobs.push(enqueue(&stack, &format!("{} say=2 await={door} tool=1", ledger.step())).await?);
        }
        until("twenty agents", WITHIN, || async { Ok((ledger.starts().len() == AGENTS).then_some(())) })
            .await
            .with_context(|| format!("{} have started", ledger.starts().len()))?;
        Ok(Self { stack, ledger, jobs, doors })
    }

    async fn kill(&mut self, parts: &[Service]) -> anyhow::Result<()> {
        for part in parts {
            self.stack.process(*part).kill().await?;
        }
        Ok(())
    }

    /// Lets half of the agents end, and waits until they have.
    pub(crate) async fn let_first_half_go(&self) -> anyhow::Result<()> {
        std::fs::write(&self.doors[0], b"")?;
        let ended = || async { Ok((self.ledger.ends() == AGENTS / 2).then_some(())) };
        until("the first half's end", WITHIN, ended).await
    }

    pub(crate) async fn let_all_go_and_check(self) -> anyhow::Result<()> {
        std::fs::write(&self.doors[0], b"")?;
        std::fs::write(&self.doors[1], b"")?;
        for id in &self.jobs {
            let job = self.stack.until_status(*id, "done", WITHIN).await?;
            assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
            assert_eq!(job["job"]["epoch"], 1, "{job:#}");
            assert_eq!(verdicts(&job)[0].0, "success", "{job:#}");
        }
        assert_eq!((self.ledger.starts().len(), self.ledger.ends()), (AGENTS, AGENTS));
        let sample = self.stack.orch_output(&["logs", &self.jobs[0].to_string()]).await?;
        let text = String::from_utf8_lossy(&sample.stdout).into_owned();
        assert!(
            text.contains("\"init\"") && text.contains("\"type\":\"result\""),
            "the log is whole: {text}"
        );
        self.stack.finish().await
    }

    /// The parts are killed, half of the agents end while they are away, and then they come back.
    pub(crate) async fn survives_the_loss_of(mut self, parts: &[Service]) -> anyhow::Result<()> {
        let before = self.ledger.starts();
        self.kill(parts).await?;
        assert!(before.iter().all(crate::shop::Spawn::lives), "an agent died with {parts:?}");
        self.let_first_half_go().await?;
        for part in parts {
            self.stack.process(*part).spawn()?;
        }
        for part in parts {
            self.stack.process(*part).ready().await?;
        }
        let still = before.iter().filter(|agent| agent.lives()).count();
        assert_eq!(still, AGENTS / 2, "the others go on");
        self.let_all_go_and_check().await
    }
}

#[tokio::test]
async fn the_scheduler_killed_while_twenty_agents_run() -> anyhow::Result<()> {
    Fleet::start().await?.survives_the_loss_of(&[Service::Scheduler]).await
}

#[tokio::test]
async fn both_runners_killed_while_twenty_agents_run() -> anyhow::Result<()> {
    Fleet::start().await?.survives_the_loss_of(&RUNNERS).await
}

#[tokio::test]
async fn all_services_killed_while_twenty_agents_run() -> anyhow::Result<()> {
    let parts =
        [Service::Scheduler, Service::Runner(0), Service::Runner(1), Service::Ingest, Service::Console];
    Fleet::start().await?.survives_the_loss_of(&parts).await
}

/// Kills fall wherever the work happens to be: between claim and launch, launch and start, end and record.
#[tokio::test]
async fn work_flows_on_through_a_storm_of_kills() -> anyhow::Result<()> {
    const JOBS: usize = 60;
    const VICTIMS: [Service; 4] =
        [Service::Scheduler, Service::Runner(0), Service::Scheduler, Service::Runner(1)];
    let mut stack = shop()
        .runners(RUNNERS.len())
        .env("ORCH_RUNNER_SLOTS", "3")
        .env("ORCH_MAX_CONCURRENCY", "6")
        .start()
        .await?;
    stack.orch(&["pause"]).await?;
    let ledger = Ledger::of(&stack);
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(enqueue(&stack, &format!("{} say=1 sleep=0.05", ledger.step())).await?);
    }
    stack.orch(&["resume"]).await?;
    for (round, victim) in VICTIMS.into_iter().cycle().take(16).enumerate() {
        let goal = (round + 1) * 3;
        until("progress", WITHIN, || async { Ok((ledger.starts().len() >= goal).then_some(())) }).await?;
        stack.process(victim).kill().await?;
        stack.process(victim).spawn()?;
    }
    for service in [Service::Scheduler, Service::Runner(0), Service::Runner(1)] {
        stack.process(service).ready().await?;
    }
    let mut lost = 0;
    for id in jobs {
        let job = stack.until_status(id, "done", WITHIN).await?;
        let [attempts, transient, infra, runs] = spent(&job);
        assert_eq!((attempts, transient), (0, 0), "a kill of ours is nobody's failure: {job:#}");
        assert!(runs > infra, "{job:#}");
        assert_eq!(verdicts(&job).iter().filter(|(class, _)| *class == "success").count(), 1, "{job:#}");
        lost += infra;
    }
    let starts = ledger.starts();
    let runs: BTreeSet<&str> = starts.iter().map(|spawn| spawn.run.as_str()).collect();
    assert_eq!(runs.len(), starts.len(), "a run was spawned twice");
    eprintln!("{} spawns for {JOBS} jobs, {lost} runs lost to the kills", starts.len());
    stack.finish().await
}

#[tokio::test]
async fn a_shim_killed_costs_one_infra_try_and_never_two_agents_at_once() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let (ledger, door) = (Ledger::of(&stack), stack.folder().join("door"));
    let id = enqueue(&stack, &format!("{} await={}", ledger.step(), door.display())).await?;
    let first = until("the first agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;

    let shims = stack.shims();
    assert_eq!(shims.len(), 1, "{:?}", stack.processes());
    assert!(stack.kill_process(shims[0]), "the shim is there to be killed");

    until("another agent", WITHIN, || async { Ok(ledger.starts().get(1).cloned()) }).await?;
    assert!(!first.lives(), "two agents at once");
    std::fs::write(&door, b"")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [0, 0, 1, 2], "{job:#}");
    assert_eq!(verdicts(&job)[0], ("lost", "shim_lost"), "{job:#}");
    assert_eq!(ledger.starts().len(), 2);
    stack.finish().await
}

#[tokio::test]
async fn a_runner_gone_past_its_lease_loses_its_job_and_its_agent_is_dead_before() -> anyhow::Result<()> {
    let mut stack = shop()
        .runners(RUNNERS.len())
        .env("ORCH_RUNNER_LEASE_SECONDS", "4")
        .env("ORCH_KILL_GRACE_SECONDS", "1")
        .env("ORCH_LEASE_SECONDS", "8")
        .env("ORCH_RENEW_SECONDS", "1")
        .env("ORCH_UNREACHABLE_SECONDS", "3")
        .start()
        .await?;
    let (ledger, door) = (Ledger::of(&stack), stack.folder().join("door"));
    // Deaf and with a deaf child: the kill has to be a real one.
    let id = enqueue(&stack, &format!("{} deaf=1 child=600 await={}", ledger.step(), door.display())).await?;
    let first = until("the first agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    let gone = runner_of(&stack, id).await?;
    stack.process(gone).kill().await?;
    assert!(first.lives(), "the agent outlives its runner");

    let watched =
        until("another agent", WITHIN, || async { Ok((ledger.starts().len() > 1).then(|| first.lives())) });
    assert!(!watched.await?, "two agents at once");
    std::fs::write(&door, b"")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [0, 0, 1, 2], "{job:#}");
    assert_eq!(verdicts(&job), [("lost", "lease_expired"), ("success", "none")], "{job:#}");
    assert_ne!(job["runs"][0]["runner"], job["runs"][1]["runner"]);

    // The late report of the fenced run changes nothing.
    stack.process(gone).start().await?;
    let late = stack.job(id).await?;
    assert_eq!((spent(&late), &late["job"]["status"]), ([0, 0, 1, 2], &job["job"]["status"]));
    stack.finish().await
}
