//! Whole runs per second with `/bin/true` as the agent: claim, launch, confirm, shim, spawn, outcome, finalize.
//!
//! `/bin/true` prints no result, so each run ends as an agent failure; with one attempt allowed each job has
//! exactly one run.

use std::path::Path;
use std::time::Duration;

use e2e::harness::{Service, Stack, get, until};
use tokio::time::Instant;

use crate::bare::spawn_rate;
use crate::load::{Connection, ORCH_TOML, SECRET, push};
use crate::report::row;

const JOBS: usize = 400;
const SLOTS: usize = 8;
const ALL_WITHIN: Duration = Duration::from_mins(5);

/// Ours beside a bare loop that spawns the same program at the same concurrency, output piped.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let program = Path::new("/bin/true");
    let stack = Stack::builder()
        .orch_toml(ORCH_TOML)
        .env("ORCH_GITEA_WEBHOOK_SECRET", SECRET)
        .env("ORCH_CLAUDE_BIN", "/bin/true")
        .env("ORCH_MAX_ATTEMPTS", "1")
        .env("ORCH_MAX_CONCURRENCY", &SLOTS.to_string())
        .env("ORCH_RUNNER_SLOTS", &SLOTS.to_string())
        .start()
        .await?;
    std::fs::write(stack.folder().join("review.md"), "Review {{ title }}.\n")?;
    stack.orch(&["pause"]).await?;
    let mut connection = Connection::open(stack.addr(Service::Ingest)).await?;
    for _ in 0..JOBS {
        connection.post(&push()).await?;
    }
    let limit = spawn_rate(program, JOBS, SLOTS).await?;
    let begun = Instant::now();
    stack.orch(&["resume"]).await?;
    until("every job ran", ALL_WITHIN, || async {
        let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
        Ok((queue["counts"]["failed"].as_u64() == Some(JOBS as u64)).then_some(()))
    })
    .await?;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let rate = JOBS as f64 / begun.elapsed().as_secs_f64();
    row("runs_limit_bare_spawn_c8", limit, "runs/s", None);
    row("runs_bin_true_slots8_sqlite_full", rate, "runs/s", Some(limit));
    stack.finish().await
}
