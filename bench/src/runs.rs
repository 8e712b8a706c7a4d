//! Whole runs per second with `/bin/true` as the agent: claim, launch, confirm, shim, spawn, outcome, finalize.
//!
//! `/bin/true` prints no result, so each run ends as an agent failure; with one attempt allowed each job has
//! exactly one run. A line of shell before it answers what a runner asks its program at the start, on every side.

mod bare_shim;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use e2e::harness::{Service, Stack, get, until};
use tokio::time::Instant;

use crate::bare::spawn_rate;
use crate::load::{Connection, ORCH_TOML, SECRET, push_to};
use crate::report::{REPETITIONS, beside, pair};
use bare_shim::BareShims;

const AGENT: &str = "#!/bin/sh\n[ \"$1\" = --version ] && echo '2.1.330 (Claude Code)'\nexec /bin/true\n";
/// Of one repetition.
const JOBS: usize = 200;
const SLOTS: usize = 8;
const ALL_WITHIN: Duration = Duration::from_mins(5);

/// Ours in turn with a loop of the same shim, child and fsyncs, and with one that spawns the child with its output piped.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = &folder.path().join("claude");
    std::fs::write(program, AGENT)?;
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))?;
    let stack = Stack::builder()
        .orch_toml(ORCH_TOML)
        .env("ORCH_GITEA_WEBHOOK_SECRET", SECRET)
        .env("ORCH_CLAUDE_BIN", &program.display().to_string())
        .env("ORCH_MAX_ATTEMPTS", "1")
        .env("ORCH_MAX_CONCURRENCY", &SLOTS.to_string())
        .env("ORCH_RUNNER_SLOTS", &SLOTS.to_string())
        .start()
        .await?;
    std::fs::write(stack.folder().join("review.md"), "Review {{ title }}.\n")?;
    let shims = BareShims::new(stack.folder(), program)?;
    let mut connection = Connection::open(stack.addr(Service::Ingest)).await?;
    let (mut ours, mut bare, mut spawns) = (Vec::new(), Vec::new(), Vec::new());
    // The first is not counted.
    for repetition in 0..=REPETITIONS {
        stack.orch(&["pause"]).await?;
        for job in 0..JOBS {
            connection.post(&push_to(&format!("feature-{repetition}-{job}"))).await?;
        }
        let spawned = spawn_rate(program, JOBS, SLOTS).await?;
        let kept = shims.rate(JOBS, SLOTS).await?;
        let begun = Instant::now();
        stack.orch(&["resume"]).await?;
        let all = (repetition + 1) * JOBS;
        until("every job ran", ALL_WITHIN, || async {
            let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
            Ok((queue["counts"]["failed"].as_u64() == Some(all as u64)).then_some(()))
        })
        .await?;
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let rate = JOBS as f64 / begun.elapsed().as_secs_f64();
        if repetition > 0 {
            ours.push(rate);
            bare.push(kept);
            spawns.push(spawned);
        }
    }
    pair("runs_bin_true_slots8_sqlite_full", &ours, "runs/s", "runs_limit_bare_shim_c8", &bare);
    pair("runs_bin_true_beside_piped_spawn", &ours, "runs/s", "runs_limit_bare_spawn_c8", &spawns);
    beside("bare_shim_beside_piped_spawn", &bare, "runs/s", &spawns);
    stack.finish().await
}
