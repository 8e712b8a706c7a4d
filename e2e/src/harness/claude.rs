//! The pinned real `claude` CLI, started so that it can reach nothing but a stub on loopback.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::ensure;
use serde_json::Value;
use tokio::process::Command;

use crate::stub_api::{Credential, StubApi};

/// What keeps the CLI from talking to anybody but its API, and from waiting for minutes by itself.
pub const QUIET: [(&str, &str); 5] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("CLAUDE_CODE_MAX_RETRIES", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_TELEMETRY", "1"),
];

/// Where `./dev claude` puts the CLI, or what `ORCH_TEST_CLAUDE_BIN` names.
///
/// # Errors
/// It is not there; the message names the command that installs it.
pub fn real_claude() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("ORCH_TEST_CLAUDE_BIN").map_or_else(cached, PathBuf::from);
    ensure!(path.is_file(), "the claude CLI is not at {}: run `./dev claude`", path.display());
    Ok(path)
}

fn cached() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path: &OsString| !path.is_empty())
        .map_or_else(home, PathBuf::from);
    cache.join("orch-dev/claude-2.1.330/node_modules/.bin/claude")
}

/// The agent's settings for a stub: a made-up credential and a base URL that is always there, since
/// without one the CLI would turn to its provider.
pub fn stub_settings(stub: &StubApi, credential: Credential) -> Vec<(&'static str, String)> {
    let mut settings: Vec<_> = QUIET.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    settings.push(("ANTHROPIC_BASE_URL", stub.base_url()));
    match credential {
        Credential::Key => settings.push(("ANTHROPIC_API_KEY", "sk-ant-api03-fake".into())),
        Credential::Bearer => settings.push(("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-fake".into())),
        Credential::None => {}
    }
    settings
}

/// A command with Orch's flags, an empty environment, and `folder` as home and working directory.
pub fn agent_command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-p", "--output-format", "stream-json", "--verbose"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", folder)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The events of a stream-json output; lines that are no JSON are left out.
pub fn events(output: &[u8]) -> Vec<Value> {
    output.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
