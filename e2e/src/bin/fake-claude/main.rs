//! A stand-in for the `claude` CLI whose behaviour the prompt chooses, so that a test can ask for any fault.
//!
//! It takes the real CLI's flags (unknown ones are ignored), reads the prompt on stdin and prints the
//! real stream-json shape. It never opens a network connection and runs no command but git.
//!
//! # The directive
//!
//! Every `fake:` in the prompt starts a directive that runs to the end of its line: words `step=value`,
//! executed from left to right; the first word that is no step ends it. A prompt without one succeeds.
//! `--resume` does what all prompts of that conversation ask for, the earlier ones' steps again.
//!
//! | step | what happens |
//! |---|---|
//! | `sleep=SECONDS` | silence; fractions are accepted |
//! | `await=FILE` | silence until FILE exists |
//! | `say=N` | N short assistant messages |
//! | `spend=N:TOKENS:MILLISECONDS` | N messages of that many input tokens each, that far apart, each printed twice as the real CLI does |
//! | `quota=SHARE:SECONDS` | says that this share of the subscription's window (`five_hour`) is used, which resets in SECONDS |
//! | `tool=N` | N Bash tool calls with their results |
//! | `opentool=N` | N tool calls that get no result (follow it with `sleep`) |
//! | `chatty=BYTES` | at least that much output in ordinary assistant messages |
//! | `flood=BYTES` | that many bytes of numbered lines (`e2e::flood`) on stdout, as fast as they are taken; notes a `flood` line with ` BYTES LONGEST_WRITE_US ALL_MS` in the ledger |
//! | `longline=BYTES` | one assistant message on one line of about that length |
//! | `zeros=BYTES` | one event on one line of about that length, made of as many values as fit |
//! | `garbage=N` | N lines of invalid UTF-8, ANSI colours, NUL bytes and broken JSON |
//! | `stderr=BYTES` | at least that much on stderr |
//! | `retry=N` or `retry=N:STATUS` | N `system/api_retry` events |
//! | `deaf=1` | SIGTERM is ignored from here on |
//! | `child=SECONDS` | leaves a child in its own session that ignores SIGTERM and lives that long |
//! | `dump=FILE` | writes argv, environment, cwd and prompt as JSON into FILE |
//! | `ledger=FILE` | appends `start PID STARTTIME RUN_ID JOB_ID BOOT_MS`, and at the end such an `end` line with ` EXIT` |
//! | `beat=MILLISECONDS` | appends a `beat` line to the ledger (named before) that often, as long as it lives |
//! | `alone=FOLDER` | holds a lock of its job in FOLDER while it lives; when another holds it, a `double` line |
//! | `reveal=FILE` | an assistant message of what is in FILE, and the same on stderr in two pieces |
//! | `write=FILE` | creates FILE, relative to the working directory |
//! | `commit=FILE` | appends a line to FILE and commits everything with git, as whoever the repository says |
//! | `first=N:FILE:ENDING` | the first N spawns counted in FILE end with ENDING instead; FILE has no colon |
//! | `then=ENDING` | how it ends (default `success`) |
//!
//! | ending | what happens |
//! |---|---|
//! | `success` or `success:TEXT` | result, exit 0; `+` stands for a space in TEXT |
//! | `429` or `429:SECONDS` | rate limit of an API key; with SECONDS an `api_retry` hints at the wait |
//! | `usage:SECONDS` or `usage:SECONDS:WINDOW` | subscription limit that resets in SECONDS (`five_hour`) |
//! | `529` `500` `401` `billing` `400_context` `network` | the API failure of that name |
//! | `max_turns` | `error_max_turns` |
//! | `crash:CODE` | a stack trace on stderr, no result, that exit code |
//! | `no_result` | exit 0 without a result |
//! | `signal:NUMBER` | kills itself with that signal |
//! | `hang_after_result` | prints a success and never exits |
//! | `hang` | prints nothing more and never exits |
//!
//! With `FAKE_CLAUDE_PLAY` set it follows no directive and plays the part that a script in that folder gives it.
//!
//! SIGTERM ends it with 143 and no result, as it does the real CLI.

mod act;
mod cli;
mod directive;
mod ending;
mod flood;
mod marks;
mod play;
mod session;
mod stream;

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::cli::Invocation;

/// What `--version` prints, in the words of the pinned CLI.
const VERSION: &str = "2.1.330 (Claude Code)";

fn main() -> ExitCode {
    let invocation = match Invocation::parse(std::env::args().skip(1)) {
        Ok(invocation) => invocation,
        Err(message) => return refuse(&message),
    };
    if invocation.version {
        return match writeln!(std::io::stdout(), "{VERSION}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if let Some(lifetime) = invocation.orphan {
        return act::live_as_orphan(lifetime);
    }
    let mut prompt = Vec::new();
    if let Err(error) = std::io::stdin().lock().read_to_end(&mut prompt) {
        return refuse(&format!("Error: could not read the prompt: {error}"));
    }
    let prompt = String::from_utf8_lossy(&prompt).into_owned();
    if prompt.trim().is_empty() && invocation.prompt.is_none() {
        return refuse(
            "Error: Input must be provided either through stdin or as a prompt argument when using --print",
        );
    }
    let whole = format!("{}\n{prompt}", invocation.prompt.as_deref().unwrap_or_default());
    let Some(conversation) = session::converse(&invocation, &whole) else {
        return act::refuse_session(&invocation);
    };
    if let Some(stage) = play::stage() {
        return play::run(&invocation, &prompt, &stage);
    }
    match directive::parse(&conversation) {
        Ok(plan) => act::run(&invocation, &whole, &plan),
        Err(message) => refuse(&format!("fake-claude: {message}")),
    }
}

/// Misuse is told on stderr alone with exit code 1, as the real CLI does.
fn refuse(message: &str) -> ExitCode {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}
