//! How the agent is called, or the program of a gate: arguments and the whole environment, as pure functions of the run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use domain::containment::Tier;

use crate::contain::EGRESS_PORT;
use crate::contain::sweep::MARKER_VARIABLE;
use crate::run_dir::{Assignment, Intent, ProgramKind};

/// Tools that wait for a person, who is not there, or for a later turn, which will not come.
const HOSTILE_TOOLS: &str = "AskUserQuestion,CronCreate,EnterPlanMode,ExitPlanMode,ScheduleWakeup";

/// Tools that reach the network. Any command of a shell does, so there is no shell. This asks the CLI, and contains nothing.
const NETWORK_TOOLS: &str = "Bash,WebFetch,WebSearch";

/// The mode in which the CLI asks nobody; see [`environment`] about root.
pub(crate) const BYPASS: &str = "bypassPermissions";

/// Settings of the CLI itself: fail fast and let the scheduler wait, never update or phone home in a run.
const CLI_SETTINGS: [(&str, &str); 5] = [
    ("CLAUDE_CODE_MAX_RETRIES", "2"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_TELEMETRY", "1"),
];

/// The agent's arguments, the program's leading ones included.
pub(super) fn arguments(assignment: &Assignment, intent: &Intent) -> Vec<OsString> {
    let mut arguments = intent.leading_args.clone();
    if intent.kind == ProgramKind::Gate {
        return arguments.into_iter().map(OsString::from).collect();
    }
    arguments.extend(["-p", "--output-format", "stream-json", "--verbose"].map(str::to_owned));
    if let Some(session) = &assignment.resume_session {
        arguments.extend(["--resume".to_owned(), session.clone()]);
    }
    if let Some(model) = &assignment.model {
        arguments.extend(["--model".to_owned(), model.clone()]);
    }
    if let Some(turns) = assignment.max_turns {
        arguments.extend(["--max-turns".to_owned(), turns.to_string()]);
    }
    arguments.extend(["--permission-mode", &intent.permission_mode].map(str::to_owned));
    let tools = if assignment.untrusted {
        format!("{HOSTILE_TOOLS},{NETWORK_TOOLS}")
    } else {
        HOSTILE_TOOLS.to_owned()
    };
    arguments.extend(["--disallowedTools".to_owned(), tools]);
    arguments.into_iter().map(OsString::from).collect()
}

/// The agent's environment, from empty. `inherited` looks a variable up in the shim's own.
pub(crate) fn environment(
    assignment: &Assignment,
    kind: ProgramKind,
    home: &Path,
    agent_env: &[String],
    permission_mode: &str,
    root: bool,
    inherited: impl Fn(&str) -> Option<OsString>,
) -> Vec<(OsString, OsString)> {
    let text = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let is_agent = kind == ProgramKind::Agent;
    let settings = CLI_SETTINGS.into_iter().filter(|_| is_agent);
    let mut environment: Vec<(OsString, OsString)> =
        settings.map(|(name, value)| text(name, value)).collect();
    if is_agent && root && permission_mode == BYPASS {
        // The CLI refuses this mode to root unless it is told that the host is meant for it.
        environment.push(text("IS_SANDBOX", "1"));
    }
    let passed = agent_env
        .iter()
        .filter(|_| is_agent)
        .filter_map(|name| Some((OsString::from(name), inherited(name)?)));
    environment.extend(passed);
    // What follows is ours whatever was asked to be passed on.
    if assignment.tier >= Tier::Sandbox {
        let scratch = scratch(home).into_os_string();
        environment.extend(["TMPDIR", "CLAUDE_CODE_TMPDIR"].map(|name| (name.into(), scratch.clone())));
    }
    if assignment.tier >= Tier::Sealed {
        let way_out = format!("http://127.0.0.1:{EGRESS_PORT}");
        environment.extend(PROXY_VARIABLES.map(|name| text(name, &way_out)));
    }
    environment.extend([
        (OsString::from("PATH"), inherited("PATH").unwrap_or_else(|| OsStr::new(PATH_DEFAULT).to_owned())),
        (OsString::from("HOME"), home.as_os_str().to_owned()),
        text("LANG", "C.UTF-8"),
        text("TZ", "UTC"),
        text("ORCH_RUN_ID", &assignment.run.to_string()),
        text("ORCH_JOB_ID", &assignment.job.to_string()),
        text(MARKER_VARIABLE, &assignment.marker()),
    ]);
    environment
}

/// How programs are told of a proxy; some know only the one case, some only the other.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// Where an agent that sees no `/tmp` of the host's puts what is for a while.
pub(crate) fn scratch(home: &Path) -> PathBuf {
    home.join(".orch-tmp")
}

/// Where programs are looked for when the runner itself was started without a PATH.
pub(crate) const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";
