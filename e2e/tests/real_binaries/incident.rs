//! What once brought everything to a standstill: a queued row that kept the process id of a dead run, and that id in
//! the hands of a stranger. The row is written past the constraints by another program, as a person would.

use std::process::Stdio;

use anyhow::{Context, ensure};
use e2e::harness::{Service, Stack, get, program, until};
use e2e::pid_reuse;
use e2e::shop::{Ledger, WITHIN, enqueue, shop, spent};
use serde_json::Value;
use tokio::process::Command;

/// Three rounds; `./dev chaos --pid-reuse N` plays more.
#[tokio::test]
async fn a_process_id_that_went_to_a_stranger_costs_the_stranger_nothing_and_the_job_one_try()
-> anyhow::Result<()> {
    assert_eq!(pid_reuse::why_not(), None, "./dev test leaves this test out where it cannot work");
    let output = Command::new(program("chaos")?)
        .args(["--pid-reuse", "3"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, output).await.context("the rounds take too long")??;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{stdout}{stderr}");
    ensure!(stdout.starts_with("3 of 3 rounds"), "{stdout}");
    Ok(())
}

/// One slot, and two jobs that wait for it while the queue is paused.
struct Two {
    stack: Stack,
    jobs: [i64; 2],
}

impl Two {
    async fn start(sanitize: &str) -> anyhow::Result<Self> {
        let stack = shop()
            .env("ORCH_MAX_CONCURRENCY", "1")
            .env("ORCH_IMPOSSIBLE_QUEUED_SANITIZE_ENABLED", sanitize)
            .start()
            .await?;
        stack.orch(&["pause"]).await?;
        let step = Ledger::of(&stack).step();
        let jobs = [enqueue(&stack, &step).await?, enqueue(&stack, &step).await?];
        Ok(Self { stack, jobs })
    }

    /// Gives the first job what a dead run left: a process id that lives, but is this test's.
    async fn plant(&self) -> anyhow::Result<()> {
        let sql = format!(
            "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF; \
             UPDATE jobs SET run_id = 'pid {}' WHERE id = {}; SELECT changes();",
            std::process::id(),
            self.jobs[0]
        );
        let output = Command::new("sqlite3")
            .args(["-cmd", ".timeout 10000"])
            .arg(self.stack.folder().join("orch.db"))
            .arg(sql)
            .output()
            .await
            .context("could not start sqlite3")?;
        ensure!(output.stdout == b"1\n", "nothing was planted: {output:?}");
        Ok(())
    }

    async fn reaper(&self) -> anyhow::Result<Value> {
        Ok(get(self.stack.addr(Service::Console), "/queue").await?.json()?["reaper"].clone())
    }

    async fn repaired(&self) -> anyhow::Result<()> {
        let counted = || async { Ok((self.reaper().await?["impossible_queued_total"] == 1).then_some(())) };
        until("the repair", WITHIN, counted).await
    }

    /// Both jobs run once, each to its end.
    async fn move_on(self) -> anyhow::Result<()> {
        self.stack.orch(&["resume"]).await?;
        for job in self.jobs {
            let record = self.stack.until_status(job, "done", WITHIN).await?;
            assert_eq!(spent(&record), [0, 0, 0, 1], "{record:#}");
        }
        assert_eq!(Ledger::of(&self.stack).starts().len(), 2);
        assert_eq!(self.reaper().await?["impossible_queued_total"], 1);
        self.stack.finish().await
    }
}

#[tokio::test]
async fn the_row_is_repaired_while_everything_runs_and_the_queue_moves() -> anyhow::Result<()> {
    let two = Two::start("true").await?;
    two.plant().await?;
    two.repaired().await?;
    two.move_on().await
}

#[tokio::test]
async fn the_row_is_repaired_before_the_first_claim_after_a_start() -> anyhow::Result<()> {
    let mut two = Two::start("true").await?;
    two.stack.process(Service::Scheduler).kill().await?;
    two.plant().await?;
    two.stack.process(Service::Scheduler).start().await?;
    assert_eq!(two.reaper().await?["impossible_queued_total"], 1);
    two.move_on().await
}

#[tokio::test]
async fn with_the_repair_switched_off_the_row_stays_and_stands_in_nobodys_way() -> anyhow::Result<()> {
    let mut two = Two::start("false").await?;
    two.plant().await?;
    two.stack.orch(&["resume"]).await?;
    two.stack.until_status(two.jobs[1], "done", WITHIN).await?;
    // Others come and go on the one slot, past the older row.
    for _ in 0..3 {
        e2e::shop::run(&two.stack, "say=1", "done").await?;
    }
    let reaper = two.reaper().await?;
    assert_eq!((&reaper["impossible_queued_total"], &reaper["sanitize_enabled"]), (&0.into(), &false.into()));
    let doctor = two.stack.orch_output(&["doctor"]).await?;
    assert_eq!(doctor.status.code(), Some(1), "{}", String::from_utf8_lossy(&doctor.stdout));
    assert_eq!(Ledger::of(&two.stack).starts().len(), 1, "the planted job was claimed");

    two.stack.process(Service::Scheduler).terminate().await?;
    two.stack.process(Service::Scheduler).set_env("ORCH_IMPOSSIBLE_QUEUED_SANITIZE_ENABLED", "true");
    two.stack.process(Service::Scheduler).start().await?;
    two.move_on().await
}
