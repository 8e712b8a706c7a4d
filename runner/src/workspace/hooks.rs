//! The project's commands around a run: trusted as `orch.toml` is, and given what the agent is given, so that neither a hook nor
//! what it starts has more than that.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use domain::agent_output::cut_front;
use domain::workspace::WorkspaceFault;
use tokio::process::Command;

use super::Unprepared;
use crate::command::{self, Bounds, NotEnded};
use crate::contain::User;

/// The most that is kept of what a hook prints on each stream.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// The most that evidence quotes of it.
const WORDS_BYTES_MAX: usize = 2000;

/// Where a hook runs and what it may take.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The agent's whole environment, and `ORCH_WORKSPACE`.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whom the agent runs as; none: as the runner.
    pub(crate) user: Option<User>,
    pub(crate) timeout: Duration,
}

/// Runs a hook in the workspace; one without a program is none.
pub(crate) async fn run(
    name: &str,
    argv: &[String],
    workspace: &Path,
    surroundings: &Surroundings,
) -> Result<(), Unprepared> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let began = tokio::time::Instant::now();
    let mut hook = Command::new(program);
    hook.args(arguments)
        .env_clear()
        .envs(surroundings.environment.iter().cloned())
        .current_dir(workspace)
        .stdin(Stdio::null());
    if let Some(user) = surroundings.user {
        hook.uid(user.uid).gid(user.gid);
    }
    let bounds = Bounds { within: surroundings.timeout, output_bytes_max: OUTPUT_BYTES_MAX };
    let failed =
        |error: String| Unprepared { fault: WorkspaceFault::Hook, error: format!("hook {name}: {error}") };
    match command::run(hook, bounds).await {
        Ok(ended) if ended.succeeded() => {
            tracing::info!(hook = name, duration_ms = began.elapsed().as_millis(), "hook done");
            Ok(())
        }
        Ok(ended) => {
            let said = format!("{}\n{}", ended.stdout.text(), ended.stderr.text());
            Err(failed(format!("{:?}: {}", ended.exit, cut_front(said.trim(), WORDS_BYTES_MAX))))
        }
        Err(NotEnded::TooLong(within, said)) => {
            let words = cut_front(said.text().trim(), WORDS_BYTES_MAX);
            Err(failed(format!("took longer than {} s and was ended: {words}", within.as_secs_f32())))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}
