//! Does the program that will really be spawned exist, and does `--version` answer? No tokens, never a prompt.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use domain::Timestamp;
use domain::runner::Preflight;
use rustix::fs::Access;
use service::Clock;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::config::AgentCommand;
use crate::shim::PATH_DEFAULT;

/// How long `--version` may take: old versions needed four seconds on a busy host.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The most of its answer that is read.
const ANSWER_BYTES_MAX: u64 = 4096;
/// The most of its first line that is kept.
const VERSION_BYTES_MAX: usize = 200;

/// The file that is executed for `program`, by the rules of a shell; none when there is none.
pub(crate) fn resolve(program: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let executable = |file: &PathBuf| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok();
    if program.as_os_str().as_bytes().contains(&b'/') {
        return std::path::absolute(program).ok().filter(executable);
    }
    std::env::split_paths(path.unwrap_or(OsStr::new(PATH_DEFAULT)))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(executable)
}

/// Looks now. `home` is the HOME it runs with.
pub(crate) async fn check(agent: &AgentCommand, home: &Path, clock: &Clock) -> Preflight {
    let answer = ask(agent, home).await;
    let checked_at = Timestamp::from_ms(clock.now_ms());
    match answer {
        Ok(version) => Preflight { ok: true, version: Some(version), checked_at, error: None },
        Err(error) => Preflight { ok: false, version: None, checked_at, error: Some(error) },
    }
}

async fn ask(agent: &AgentCommand, home: &Path) -> Result<String, String> {
    let name = agent.program.display();
    let path = std::env::var_os("PATH");
    let Some(program) = resolve(&agent.program, path.as_deref()) else {
        let place = if agent.program.components().count() > 1 { "as an executable file" } else { "on PATH" };
        return Err(format!(
            "{name} was not found {place}: install it (npm install -g @anthropic-ai/claude-code) or set ORCH_CLAUDE_BIN"
        ));
    };
    let mut command = Command::new(&program);
    command.args(&agent.leading_args).arg("--version").env_clear().env("HOME", home).env("TZ", "UTC");
    command.env("PATH", path.unwrap_or_else(|| PATH_DEFAULT.into())).env("DISABLE_AUTOUPDATER", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child =
        command.spawn().map_err(|error| format!("{} could not be executed: {error}", program.display()))?;
    let mut answer = Vec::new();
    let answered = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        }
        child.wait().await
    };
    let program = program.display();
    let status = tokio::time::timeout(ANSWER_WITHIN, answered)
        .await
        .map_err(|_| {
            format!(
                "{program} --version did not answer within {} s: run it by hand to see why",
                ANSWER_WITHIN.as_secs()
            )
        })?
        .map_err(|error| format!("{program} --version could not be read: {error}"))?;
    let version = String::from_utf8_lossy(&answer);
    let version = version.lines().next().unwrap_or_default().trim();
    if !status.success() || version.is_empty() {
        return Err(format!("{program} --version failed ({status}): reinstall it, or set ORCH_CLAUDE_BIN"));
    }
    Ok(domain::agent_output::cut(version, VERSION_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(dir: &Path, name: &str, text: &str) -> AgentCommand {
        let program = dir.join(name);
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        AgentCommand { program, leading_args: vec!["lead".to_owned()] }
    }

    #[tokio::test]
    async fn the_version_is_the_first_line_and_a_failure_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(7);
        let good = script(dir.path(), "good", "#!/bin/sh\necho \"$1 $2 2.1.330 (Claude Code)\"\necho more\n");
        let version = Some("lead --version 2.1.330 (Claude Code)".to_owned());
        let checked_at = Timestamp::from_ms(7);
        assert_eq!(
            check(&good, dir.path(), &clock).await,
            Preflight { ok: true, version, checked_at, error: None }
        );

        let bad = script(dir.path(), "bad", "#!/bin/sh\nexit 3\n");
        let error = check(&bad, dir.path(), &clock).await.error.unwrap();
        assert!(error.contains("--version failed (exit status: 3)"), "{error}");

        let missing = AgentCommand { program: "no-such-agent".into(), leading_args: vec![] };
        let error = check(&missing, dir.path(), &clock).await.error.unwrap();
        assert_eq!(
            error,
            "no-such-agent was not found on PATH: install it (npm install -g @anthropic-ai/claude-code) or set ORCH_CLAUDE_BIN"
        );
    }

    #[test]
    fn a_name_is_looked_up_and_a_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let there = script(dir.path(), "agent", "").program;
        std::fs::write(dir.path().join("plain"), "").unwrap();
        let path = Some(dir.path().as_os_str());
        assert_eq!(resolve(Path::new("agent"), path), Some(there.clone()));
        assert_eq!(resolve(&there, None), Some(there));
        assert_eq!(resolve(Path::new("plain"), path), None);
        assert_eq!(resolve(Path::new("./agent"), path), None);
    }
}
