//! What `orch dev` says once everything listens: where things are, and what to try next.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::stack::Stack;

/// The scheduler's default address, which commands need not be told.
const SCHEDULER_DEFAULT: &str = "127.0.0.1:7070";

/// Whether the agent's program is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Agent {
    /// It can be started; whether it answers is the runner's preflight to say.
    Found,
    /// It cannot.
    Missing {
        /// As it was looked for.
        program: String,
        /// In the system's words.
        error: String,
    },
}

impl Agent {
    /// Starts the program once, for its version; the answer is not waited for.
    pub(super) async fn look(program: &Path) -> Self {
        let mut command = tokio::process::Command::new(program);
        command
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        match command.spawn() {
            Ok(mut child) => {
                // Only whether it is there was asked.
                let _ = child.kill().await;
                Self::Found
            }
            Err(error) => Self::Missing { program: program.display().to_string(), error: error.to_string() },
        }
    }
}

/// Everything the words are made of.
#[derive(Debug)]
pub(super) struct Welcome<'a> {
    pub(super) stack: &'a Stack,
    pub(super) demo: bool,
    /// How this program is called.
    pub(super) orch: &'a str,
    pub(super) config: PathBuf,
    /// A project and a stage of it, for the first command to try; `None` where there is no project.
    pub(super) example: Option<(String, String)>,
    /// Where each webhook's secret is: a file, or the setting that gave it.
    pub(super) secrets: [String; 2],
    /// The script that posts a first webhook, for the configuration that `dev` wrote.
    pub(super) webhook: Option<PathBuf>,
    pub(super) agent: Agent,
}

impl Welcome<'_> {
    /// The words.
    pub(super) fn text(&self) -> String {
        let Self { stack, demo, orch, config, example, secrets, webhook, agent } = self;
        let mut lines = vec![
            format!("webhooks   http://{0}/webhooks/gitea  http://{0}/webhooks/plane", stack.ingest),
            format!("console    http://{}/", stack.console),
            format!("scheduler  {} (gRPC)   runner  {} (gRPC)", stack.scheduler, stack.runner),
            format!("config     {}", config.display()),
            format!("secrets    {}", secrets.join("  ")),
        ];
        let at = if stack.scheduler.to_string() == SCHEDULER_DEFAULT {
            String::new()
        } else {
            format!(" --scheduler-url {}", stack.scheduler_url)
        };
        if *demo {
            lines.push(
                "DEMO       a demo agent stands in for claude: no model, no network, no cost".to_owned(),
            );
        } else {
            lines.push(match example {
                Some((project, stage)) => format!(
                    "try        {orch} enqueue{at} --project {project} --stage {stage} --prompt 'Say hello.'"
                ),
                None => format!("try        add a [[project]] to {}: it has none", config.display()),
            });
            if let Some(webhook) = webhook {
                lines.push(format!("           sh {}    (curl, signed with openssl)", webhook.display()));
            }
            lines.push(format!("           {orch} queue{at}"));
        }
        if let Agent::Missing { program, error } = agent {
            lines.push(format!("MISSING    {program}: {error}. Jobs stay queued until it is there: npm install -g @anthropic-ai/claude-code,"));
            lines.push(format!("           or set ORCH_CLAUDE_BIN; `{orch} dev --demo` needs neither"));
        }
        lines.push("Ctrl-C ends everything, agents too unless --keep-agents was given".to_owned());
        lines.join("\n") + "\n\n"
    }
}

/// How to call this program from here.
pub(super) fn command(program: &Path, here: &Path) -> String {
    program.strip_prefix(here).unwrap_or(program).display().to_string()
}
