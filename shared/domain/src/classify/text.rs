//! Finds the error in plain output: the last statement that starts as the CLI's or an SDK's own errors start.
//!
//! Prose that mentions an error in the middle of a line is nobody's error. What a found statement means is `fault`'s.

use super::fault::{AGENT_FAILURE, CRASH, Fault, INVALID_REQUEST, Message, of_message};
use super::names;
use super::squeeze::{squeezed, without_escapes};
use super::words::SESSION_REFUSALS;
use crate::Timestamp;

/// How many of the last lines are looked at; a stack trace is about forty lines, and more when it is wrapped.
const LINES_MAX: usize = 400;

/// How many lines a statement may have.
const STATEMENT_LINES_MAX: usize = 120;

/// What the plain text of a failed program says, with the statement that said it.
pub(super) fn of_failure(tail: &str, now: Timestamp) -> (Fault, Message) {
    let text = without_escapes(tail);
    let lines = last_lines(&text);
    // A statement runs on: its first line without decoration, the others as they are, for they may be wrapped.
    let statement = |at: usize| {
        let end = lines.len().min(at + STATEMENT_LINES_MAX);
        Message::new(&format!("{}\n{}", unframed(lines[at]), lines[at + 1..end].join("\n")), now)
    };
    let statements: Vec<Message> = (0..lines.len()).map(statement).collect();
    for is_error in [is_cli_error, is_program_error] {
        let starts = |at: &usize| is_error(&statements[*at]) && !is_within_quote(*at, &lines);
        for at in (0..lines.len()).rev().filter(starts) {
            let message = &statements[continued_from(at, &lines, &statements)];
            if let Some(fault) = of_message(message) {
                return (fault, message.clone());
            }
        }
    }
    if let Some(message) = statements.iter().rev().find(|message| is_misuse(message)) {
        return (INVALID_REQUEST, message.clone());
    }
    let all = Message::new(&lines.join("\n"), now);
    if is_crash(&statements, &all) { (CRASH, all) } else { (AGENT_FAILURE, all) }
}

/// Whether a quote is open where the line begins, and closed soon after: what stands there is named and not said, as in
/// ``Handle with `X` `` wrapped within the quote.
fn is_within_quote(at: usize, lines: &[&str]) -> bool {
    const QUOTE_LINES_MAX: usize = 2;
    let above = at.checked_sub(1).map_or("", |above| lines[above]);
    above.matches('`').count() % 2 == 1
        && lines[at..].iter().take(QUOTE_LINES_MAX).any(|line| line.contains('`'))
}

/// Where the sentence starts that the line at `at` may only continue: `API Error: 504` wrapped before `Request timed out`.
fn continued_from(at: usize, lines: &[&str], statements: &[Message]) -> usize {
    const WRAPPED_LINES_MAX: usize = 3;
    let is_start = |at: usize| statements[at].text.starts_with_any(&["API Error"]);
    if is_start(at) {
        return at;
    }
    (at.saturating_sub(WRAPPED_LINES_MAX)..at)
        .rev()
        .take_while(|above| !lines[*above].trim_end().ends_with(['.', ')', '}', '…', '!']))
        .find(|above| is_start(*above))
        .unwrap_or(at)
}

/// Whether the whole of `text` is one error of the CLI and nothing else: some versions exit 0 after one.
///
/// Stricter than [`of_failure`], since the text may as well be the answer of an agent that quotes an error.
pub(super) fn whole_error(text: &str, now: Timestamp) -> Option<(Fault, Message)> {
    /// How such an error starts and how it ends; white space does not count.
    const WHOLE: &[(&str, &[&str])] = &[
        ("API Error: Rate limit reached", &["reached", "reached."]),
        ("API Error: Connection error.", &["error."]),
        ("API Error: Request timed out.", &["out."]),
        ("API Error: Unable to connect to API (", &[")"]),
        ("API Error: Repeated 529 Overloaded errors", &["errors", "errors.", ")", ")."]),
        ("API Error: Request rejected (429) · ", &["later.", "limit.", "increase."]),
        ("Credit balance is too low", &["low"]),
        ("Invalid API key · ", &["key", "/login"]),
        ("Not logged in · Please run /login", &["/login"]),
        ("Prompt is too long", &["long"]),
        ("Request timed out", &["out", "out."]),
        ("Error: Reached max turns (", &[")"]),
        ("Error: Exceeded USD budget (", &[")"]),
    ];
    let message = Message::new(&unframed(&without_escapes(text)), now);
    let text = message.text.as_str();
    let is_known = WHOLE.iter().any(|(head, ends)| {
        message.text.starts_with_any(&[head]) && ends.iter().any(|end| text.ends_with(end))
    });
    let after_status =
        text.strip_prefix("apierror:").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let is_api_body =
        after_status.is_some_and(|body| body.starts_with("{\"type\":\"error\"") && body.ends_with('}'));
    let is_server_side = after_status.is_some()
        && text.len() < 400
        && message.text.has_any(&["This is a server-side issue, usually temporary"])
        && ["moment.", ").", "status.claude.com", "status.claude.com."].iter().any(|end| text.ends_with(end));
    let is_limit = message.reset.as_ref().is_some_and(|reset| {
        let end: String = reset.text.split_whitespace().collect();
        let rest = text.trim_end_matches(['·', '.']);
        rest.ends_with(&end.to_ascii_lowercase())
            && message.text.starts_with_any(LIMIT_STARTS)
            && rest.len() < 120
    });
    if is_known || is_api_body || is_server_side || is_limit {
        of_message(&message).map(|fault| (fault, message))
    } else {
        None
    }
}

const LIMIT_STARTS: &[&str] = &[
    "You've hit your",
    "You've reached your",
    "You're out of",
    "Claude AI usage limit reached",
    "5-hour limit reached",
    "Weekly limit reached",
    "Opus weekly limit reached",
];

/// The last lines that say something; events are no text.
pub(super) fn last_lines(text: &str) -> Vec<&str> {
    let is_text = |line: &&str| !line.trim().is_empty() && !is_event(line);
    let mut lines: Vec<&str> = text.lines().rev().filter(is_text).take(LINES_MAX).collect();
    lines.reverse();
    lines
}

fn is_event(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('{')
        && serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.get("type").is_some())
}

/// Drops bullets, frames, log levels and labels such as `[DEBUG] Output:` from the start of a line.
pub(super) fn unframed(line: &str) -> String {
    let is_mark = |c: char| {
        c.is_whitespace() || ('\u{2500}'..='\u{25ff}').contains(&c) || "⎿●•✗✘✖❌⚠\u{fe0f}".contains(c)
    };
    let mut rest = line.trim_start_matches(is_mark);
    loop {
        let before = rest;
        if let Some((tag, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            && tag.len() <= 40
        {
            rest = after.trim_start_matches(is_mark);
        }
        for label in
            ["Output:", "stdout:", "stderr:", "Result:", "claude:", "Message:", "SDK execution error:"]
        {
            if let Some(after) = rest.strip_prefix(label) {
                rest = after.trim_start_matches(is_mark);
            }
        }
        if let Some(after) = rest.strip_prefix("Error: ")
            && is_cli_error(&Message::new(after, Timestamp::default()))
        {
            rest = after;
        }
        if rest == before {
            return rest.to_owned();
        }
    }
}

/// Starts as what the CLI prints instead of an answer.
fn is_cli_error(message: &Message) -> bool {
    const STARTS: &[&str] = &[
        "API Error",
        "You've hit your",
        "You have hit your",
        "You've reached your",
        "You have reached your",
        "You've used all",
        "You're out of",
        "You are out of",
        "You've run out of",
        "Claude AI usage limit",
        "Claude usage limit",
        "Usage limit reached",
        "Failed to authenticate",
        "Invalid API key",
        "Not logged in",
        "Please run /login",
        "OAuth token",
        "OAuth session",
        "Your ANTHROPIC_API_KEY belongs",
        "Your organization has disabled",
        "Your organization does not have access",
        "Credit balance",
        "Prompt is too long",
        "Context limit reached",
        "Conversation too long",
        "Request too large",
        "Request timed out",
        "Image was too large",
        "PDF too large",
        "There's an issue with the selected model",
        "Error: Reached max",
        "Error: Exceeded USD budget",
        "Interrupted by user",
        "Operation aborted",
    ];
    message.text.starts_with_any(STARTS) || is_window_reached(message)
}

/// `5-hour limit reached · resets …`, `Opus weekly limit reached · …`.
fn is_window_reached(message: &Message) -> bool {
    const HEAD_BYTES: usize = 32;
    let text = message.text.as_str();
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    let end = head.find("limitreached").or_else(|| head.find("limithasbeenreached"));
    let Some(window) = end.map(|at| &head[..at]) else { return false };
    ["hour", "week", "session", "opus", "sonnet", "haiku", "fable", "daily", "monthly"]
        .iter()
        .any(|word| window.contains(word))
        && window.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// Starts as what an SDK or a network program prints when it gives up.
fn is_program_error(message: &Message) -> bool {
    const STARTS: &[&str] = &[
        "Error code: ",
        "curl: (",
        "wget: ",
        "ssh: ",
        "fatal: unable to access",
        "fatal: Authentication failed",
        "error: failed to download",
        "error: failed to fetch",
        "error: failed to get `",
        "warning: spurious network error",
        "npm error network",
        "npm ERR! network",
        "npm error code",
        "npm ERR! code",
        "Unable to connect to",
        "Failed to connect to",
        "TypeError: fetch failed",
        "Error: socket hang up",
        "Error: connect ",
        "Error: read ECONN",
        "Error: getaddrinfo",
        "Error: Connection error",
        "Error: Request timed out",
        "Error: no credentials",
        "Error: Could not resolve authentication method",
        "Connection error",
        "Error: error sending request for url",
        "ERROR: Could not install packages due to an OSError",
        "E: Failed to fetch",
        "error: RPC failed",
    ];
    message.text.starts_with_any(STARTS)
        || names::of(&message.text).is_some()
        || names::after_go_url(&message.text).is_some()
}

/// The program was called wrongly: the same call fails again.
fn is_misuse(message: &Message) -> bool {
    message.text.starts_with_any(&[
        "Error: option ",
        "Error: unknown option",
        "Error: Invalid ",
        "Error processing ",
        "Error: Settings",
        "Invalid MCP",
        "Error: unknown command",
        "Error: missing required argument",
        "Error: too many arguments",
        "Error: Session ID",
        "Session ID ",
        "Error: Input must be provided",
        "Error: When using --",
        "Error: --",
        "Error: MCP config",
        "Error: unexpected argument",
        "Error: Cannot use --",
        "--dangerously-skip-permissions cannot be used",
    ]) || message.text.starts_with_any(SESSION_REFUSALS)
}

/// The program broke rather than reported: a stack, a panic, the system's own refusals.
fn is_crash(statements: &[Message], all: &Message) -> bool {
    const LAST_BYTES: usize = 200;
    const STARTS: &[&str] = &[
        "Traceback (most recent call last)",
        "panic(",
        "panic:",
        "fatal error:",
        "FATAL ERROR:",
        "Segmentation fault",
        "oh no: Bun has crashed",
        "Error: Claude Code process exited with code",
        "Claude Code process exited with code",
        "Error: Claude Code process terminated by signal",
        "Error: spawn ",
        "Error: Cannot find module",
        "Error: ENOSPC",
        "Error: EACCES",
        "Error: ENOENT",
        "Error: EMFILE",
        "Error: ENOMEM",
        "Node.js v",
        "node:internal/",
        "thread 'main'",
        "Exception in thread",
        "Unhandled exception.",
        "PHP Fatal error:",
    ];
    const ENDS: &[&str] = &[
        "no space left on device",
        "permission denied",
        "no such file or directory",
        "command not found",
        "cannot allocate memory",
        "read-only file system",
        "too many open files",
        "disk quota exceeded",
        "input/output error",
        "exec format error",
        "segmentation fault",
        "(core dumped)",
    ];
    let text = all.text.as_str();
    // A failed test shows a trace too, and goes on.
    if statements.iter().any(|statement| statement.text.starts_with_any(&["FAILED ("])) {
        return false;
    }
    let last = &text[text.ceil_char_boundary(text.len().saturating_sub(LAST_BYTES))..];
    statements.iter().any(|statement| statement.text.starts_with_any(STARTS))
        || (last.contains(':') && ENDS.iter().any(|end| last.ends_with(&squeezed(end))))
}
