//! Whole runs per second with `/bin/true` as the agent: claim, launch, confirm, shim, spawn, outcome, finalize.
//!
//! `/bin/true` prints no result, so each run ends as an agent failure; with one attempt allowed each job has
//! exactly one run. A line of shell before it answers what a runner asks its program at the start, on every side.

mod bare_shim;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::Context as _;
use domain::Timestamp;
use e2e::harness::{Service, Stack, until};
use store::Access;
use tokio::time::Instant;

use crate::bare::spawn_rate;
use crate::load::{Connection, ORCH_TOML, SECRET, push_to};
use crate::proc::Usage;
use crate::report::{REPETITIONS, beside, median, pair, row};
use bare_shim::BareShims;

const AGENT: &str = "#!/bin/sh\n[ \"$1\" = --version ] && echo '2.1.330 (Claude Code)'\nexec /bin/true\n";
/// Of one repetition.
const JOBS: usize = 200;
const SLOTS: usize = 8;
/// Whose processor time is shown; what is left of a run's is its shim's, its step's and its agent's.
const PARTS: [(&str, Service); 3] =
    [("scheduler", Service::Scheduler), ("runner", Service::Runner(0)), ("ingest", Service::Ingest)];
const ALL_WITHIN: Duration = Duration::from_mins(5);

/// Ours in turn with a loop of the same shim, child and fsyncs, and with one that spawns the child with its output piped.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let program = &folder.path().join("claude");
    std::fs::write(program, AGENT)?;
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))?;
    let mut stack = Stack::builder()
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
    let database = format!("sqlite://{}", stack.folder().join("orch.db").display());
    // Who asks the console sees to it that it has work too.
    let store = store::open(&database, Access::Read).await?;
    let (mut ours, mut bare, mut spawns) = (Vec::new(), Vec::new(), Vec::new());
    let mut parts = PARTS.map(|(name, service)| (name, stack.process(service).pid(), Vec::new()));
    // The first is not counted.
    for repetition in 0..=REPETITIONS {
        stack.orch(&["pause"]).await?;
        for job in 0..JOBS {
            connection.post(&push_to(&format!("feature-{repetition}-{job}"))).await?;
        }
        let spawned = spawn_rate(program, JOBS, SLOTS).await?;
        let kept = shims.rate(JOBS, SLOTS).await?;
        let before = parts.each_ref().map(|(_, pid, _)| cpu(*pid));
        let begun = Instant::now();
        stack.orch(&["resume"]).await?;
        let all = (repetition + 1) * JOBS;
        until("every job ran", ALL_WITHIN, || async {
            Ok((store.overview(Timestamp::default()).await?.counts.failed == all as u64).then_some(()))
        })
        .await?;
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let jobs = JOBS as f64;
        let rate = jobs / begun.elapsed().as_secs_f64();
        if repetition > 0 {
            ours.push(rate);
            bare.push(kept);
            spawns.push(spawned);
            for ((_, pid, spent), before) in parts.iter_mut().zip(before) {
                spent.push(cpu(*pid)?.saturating_sub(before?).as_secs_f64() * 1e6 / jobs);
            }
        }
    }
    store.close().await;
    pair("runs_bin_true_slots8_sqlite_full", &ours, "runs/s", "runs_limit_bare_shim_c8", &bare);
    pair("runs_bin_true_beside_piped_spawn", &ours, "runs/s", "runs_limit_bare_spawn_c8", &spawns);
    beside("bare_shim_beside_piped_spawn", &bare, "runs/s", &spawns);
    for (name, _, spent) in parts {
        row(&format!("runs_cpu_{name}"), median(spent), "us", None);
    }
    stack.finish().await
}

/// The processor time that a process has taken.
fn cpu(pid: Option<u32>) -> anyhow::Result<Duration> {
    Ok(Usage::of(pid.context("a service has ended")?)?.cpu)
}
