//! Asks a program for its version: `--version` and nothing else, within a deadline, and leaves no process behind.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use domain::runner::Preflight;
use domain::{Timestamp, cli_version};
use rustix::process::{Pid, Signal, kill_process_group};
use service::Clock;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::program::{Program, not_found};
use crate::config::AgentCommand;
use crate::contain::User;
use crate::shim::PATH_DEFAULT;

/// How long `--version` may take: old versions needed four seconds on a busy host.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The most of its answer that is read.
const ANSWER_BYTES_MAX: u64 = 4096;
/// The most of its first line that is kept.
const VERSION_BYTES_MAX: usize = 200;

/// Looks now whether the agent can be run. `home` is the HOME it runs with.
pub(crate) async fn check(agent: &AgentCommand, home: &Path, user: Option<User>, clock: &Clock) -> Preflight {
    let program = Program::find(&agent.program);
    let answer = match &program {
        None => Err(not_found(&agent.program)),
        Some(program) => supported(program, &agent.leading_args, home, user).await,
    };
    let checked_at = Timestamp::from_ms(clock.now_ms());
    let program = program.map(|program| program.path.display().to_string());
    let looked = Preflight { checked_at, program, ..Preflight::default() };
    match answer {
        Ok((version, note)) => Preflight { ok: true, version: Some(version), note, ..looked },
        Err(error) => Preflight { error: Some(error), ..looked },
    }
}

/// The version, when agents can be run with it, and what a person should know of it.
async fn supported(
    program: &Program,
    leading_args: &[String],
    home: &Path,
    user: Option<User>,
) -> Result<(String, Option<String>), String> {
    let version = version(program, leading_args, home, user).await?;
    let note = cli_version::check(&version)
        .map_err(|error| format!("{} --version: {error}, or set ORCH_CLAUDE_BIN", program.path.display()))?;
    Ok((version, note))
}

/// The first line that `program --version` prints; else what is wrong and what to do.
async fn version(
    program: &Program,
    leading_args: &[String],
    home: &Path,
    user: Option<User>,
) -> Result<String, String> {
    let name = program.path.display();
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    let mut command = Command::new(&program.path);
    command.args(leading_args).arg("--version");
    command.env_clear().env("HOME", home).env("TZ", "UTC").env("PATH", path).env("DISABLE_AUTOUPDATER", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid).current_dir(home);
    }
    let child = command.spawn();
    let mut asked = Asked(child.map_err(|error| {
        format!("{name} could not be executed: {error}: reinstall it, or set ORCH_CLAUDE_BIN")
    })?);
    let answered = tokio::time::timeout(ANSWER_WITHIN, asked.answer()).await;
    let (status, answer) = answered
        .map_err(|_| {
            let seconds = ANSWER_WITHIN.as_secs();
            format!("{name} --version did not answer within {seconds} s: run it by hand to see why, or set ORCH_CLAUDE_BIN")
        })?
        .map_err(|error| format!("{name} --version could not be read: {error}"))?;
    let version = String::from_utf8_lossy(&answer);
    let version = version.lines().next().unwrap_or_default().trim();
    if !status.success() || version.is_empty() {
        let said = if status.success() { "printed nothing".to_owned() } else { format!("failed ({status})") };
        return Err(format!("{name} --version {said}: reinstall it, or set ORCH_CLAUDE_BIN"));
    }
    Ok(domain::agent_output::cut(version, VERSION_BYTES_MAX))
}

/// The process that was asked. Dropped before its end it is killed with all it started, whoever stopped waiting.
struct Asked(Child);

impl Asked {
    async fn answer(&mut self) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)> {
        let mut answer = Vec::new();
        if let Some(stdout) = self.0.stdout.take() {
            stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        }
        Ok((self.0.wait().await?, answer))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Not waited for yet, so its number, which is its group's too, is still its own.
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
