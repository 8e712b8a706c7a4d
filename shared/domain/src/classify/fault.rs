//! What an error's words mean: one message in, one fault out.
//!
//! Only for text that is known to be an error: the text of a failed result, or a line that `text` found by its anchor.
//! Numbers count only where the message puts a status, never anywhere else: a port may contain 429.

use super::names;
use super::reset_time::{self, Reset};
use super::squeeze::Squeezed;
use super::words::{
    ABORTED, AUTH_STARTS, BILLING_WORDS, CERTIFICATE, CONTEXT_WORDS, LIMIT_THAT_WAITING_DOES_NOT_LIFT,
    PHRASES,
};
use crate::{PermanentReason, Timestamp, TransientReason};

/// A class without its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Transient(TransientReason),
    Permanent(PermanentReason),
}

use Fault::{Permanent, Transient};

pub(super) const RATE_LIMIT: Fault = Transient(TransientReason::RateLimit);
pub(super) const USAGE_LIMIT: Fault = Transient(TransientReason::UsageLimit);
pub(super) const OVERLOADED: Fault = Transient(TransientReason::Overloaded);
pub(super) const SERVER_ERROR: Fault = Transient(TransientReason::ServerError);
pub(super) const NETWORK: Fault = Transient(TransientReason::Network);
pub(super) const TIMEOUT: Fault = Transient(TransientReason::Timeout);
pub(super) const AUTH: Fault = Permanent(PermanentReason::Auth);
pub(super) const BILLING: Fault = Permanent(PermanentReason::Billing);
pub(super) const INVALID_REQUEST: Fault = Permanent(PermanentReason::InvalidRequest);
pub(super) const CONTEXT_LENGTH: Fault = Permanent(PermanentReason::ContextLength);
pub(super) const MAX_TURNS: Fault = Permanent(PermanentReason::MaxTurns);
pub(super) const CRASH: Fault = Permanent(PermanentReason::Crash);
pub(super) const UNTRUSTED: Fault = Permanent(PermanentReason::Network);
pub(super) const AGENT_FAILURE: Fault = Permanent(PermanentReason::AgentFailure);

/// An error's text with the times it names.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) text: Squeezed,
    pub(super) reset: Option<Reset>,
    pub(super) retry_after_s: Option<u64>,
}

impl Message {
    pub(super) fn new(source: &str, now: Timestamp) -> Self {
        let text = Squeezed::new(source);
        let reset = reset_time::find(&text, now);
        let retry_after_s = super::retry_after::find(&text);
        Self { text, reset, retry_after_s }
    }

    fn has(&self, phrases: &[&str]) -> bool {
        self.text.has_any(phrases)
    }

    fn starts(&self, phrases: &[&str]) -> bool {
        self.text.starts_with_any(phrases)
    }
}

/// What the message alone says; `None`: nothing we know.
pub(super) fn of_message(message: &Message) -> Option<Fault> {
    if message.text.is_empty() {
        return None;
    }
    if message.starts(ABORTED) {
        return Some(AGENT_FAILURE);
    }
    if is_plan_limit(message) {
        return Some(of_plan_limit(message));
    }
    if message.has(CERTIFICATE) {
        return Some(UNTRUSTED);
    }
    if message.starts(AUTH_STARTS) {
        return Some(AUTH);
    }
    if let Some(kind) = error_type(message) {
        // A gateway wraps one status in another; the API's own word is the better one, unless it is the vaguest.
        return Some(of_error_type(kind, message));
    }
    if let Some(status) = status(message) {
        return Some(of_status(status, message));
    }
    of_phrase(message)
}

/// What an HTTP status says, refined by the message.
pub(super) fn of_status(status: u16, message: &Message) -> Fault {
    match status {
        401 | 403 => AUTH,
        402 => BILLING,
        408 => TIMEOUT,
        409 => SERVER_ERROR,
        429 => of_limit(message),
        529 => OVERLOADED,
        400..=499 => of_refusal(message),
        500.. => SERVER_ERROR,
        // A good status with an error: the answer was empty or not the API's.
        _ => of_phrase(message).unwrap_or(SERVER_ERROR),
    }
}

/// What the API's `error.type` says, refined by the message.
pub(super) fn of_error_type(kind: &str, message: &Message) -> Fault {
    match kind {
        "rate_limit_error" => of_limit(message),
        "overloaded_error" => OVERLOADED,
        "authentication_error" | "permission_error" => AUTH,
        "billing_error" => BILLING,
        "api_error" | "timeout_error" => SERVER_ERROR,
        _ => of_refusal(message),
    }
}

/// The 429 family: billing first, unless a reset is printed; then usage limits; else it is a rate limit.
pub(super) fn of_limit(message: &Message) -> Fault {
    if message.reset.is_some() {
        return USAGE_LIMIT;
    }
    if message.has(BILLING_WORDS) || message.has(LIMIT_THAT_WAITING_DOES_NOT_LIFT) {
        return BILLING;
    }
    if is_plan_limit(message) { of_plan_limit(message) } else { RATE_LIMIT }
}

/// The API refuses the request as it is: 400 and its kin.
pub(super) fn of_refusal(message: &Message) -> Fault {
    if message.has(&["API usage limits", "regain access"]) {
        return if message.reset.is_some() { USAGE_LIMIT } else { BILLING };
    }
    if message.has(BILLING_WORDS) {
        return BILLING;
    }
    if message.has(CONTEXT_WORDS) {
        return CONTEXT_LENGTH;
    }
    if message.has(&["disabled organization", "organization has been disabled", "organization has disabled"])
    {
        return AUTH;
    }
    INVALID_REQUEST
}

fn of_plan_limit(message: &Message) -> Fault {
    let spent = message.has(&["out of", "spend limit", "spending limit"]);
    if message.reset.is_none() && spent { BILLING } else { USAGE_LIMIT }
}

/// Whether it starts as the CLI's announcements of a subscription's limits do.
fn is_plan_limit(message: &Message) -> bool {
    const HEAD_BYTES: usize = 48;
    if message.starts(&[
        "You've hit your",
        "You have hit your",
        "You've reached your",
        "You have reached your",
        "You've used all",
        "You're out of",
        "You are out of",
        "You've run out of",
        "Claude AI usage limit reached",
        "Claude usage limit reached",
        "Usage limit reached",
    ]) {
        return message.has(&["limit", "usage", "credits"]);
    }
    // `5-hour limit reached`, `Opus weekly limit reached`: the window comes first.
    let text = message.text.as_str();
    let head = &text[..text.floor_char_boundary(HEAD_BYTES)];
    let windowed =
        ["hour", "session", "week", "opus", "sonnet", "haiku", "fable", "dai", "month", "usage", "model"];
    ["limitreached", "limithit", "limithasbeenreached"].iter().any(|reached| head.contains(reached))
        && windowed.iter().any(|word| head.contains(word))
        && !head.contains("error")
        && !head.contains("rate")
}

/// The status in its own place: `API Error: 529 …`, `(429)`, `api.example | 504: …`, `Error code: 429 - …`.
fn status(message: &Message) -> Option<u16> {
    let rest = message.text.without_prefix(&[
        "API Error",
        "API Error: Request rejected",
        "API Error: Repeated",
        "Error code",
        "Failed to authenticate. API Error",
    ]);
    let elsewhere = || {
        let named = names::of(&message.text).map(|(_, rest)| rest);
        named.or_else(|| names::after_go_url(&message.text)).or_else(|| names::after_git_error(&message.text))
    };
    // A gateway's answer comes with the model's name: `API Error (us.anthropic.…): 429 …`.
    let rest = rest.map(without_model).or_else(elsewhere)?;
    let rest = rest.trim_start_matches([':', '(', '[']);
    let rest = rest.strip_prefix("errorcode:").unwrap_or(rest);
    leading_status(rest).or_else(|| {
        // An HTML page's title: the host, a bar, the status.
        let (host, title) = rest.split_once('|')?;
        let is_host = host.len() <= 64 && host.contains('.') && !host.contains(['{', '"']);
        if is_host { leading_status(title) } else { None }
    })
}

fn without_model(rest: &str) -> &str {
    const MODEL_BYTES_MAX: usize = 100;
    let inner = rest.strip_prefix('(').and_then(|inner| inner.split_once("):"));
    inner.filter(|(model, _)| model.len() <= MODEL_BYTES_MAX).map_or(rest, |(_, after)| after)
}

fn leading_status(text: &str) -> Option<u16> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 3 {
        return None;
    }
    text[..3].parse().ok().filter(|status| (200..600).contains(status))
}

/// The API's own `error.type`, quoted in a JSON or Python body.
fn error_type(message: &Message) -> Option<&'static str> {
    const TYPES: &[&str] = &[
        "overloaded_error",
        "rate_limit_error",
        "authentication_error",
        "permission_error",
        "billing_error",
        "invalid_request_error",
        "not_found_error",
        "request_too_large",
        "timeout_error",
        "api_error",
    ];
    let text = message.text.as_str();
    // JSON, and how Python, Ruby and Java show a map.
    TYPES.iter().copied().find(|kind| {
        [
            format!("\"type\":\"{kind}\""),
            format!("'type':'{kind}'"),
            format!("type:\"{kind}\""),
            format!("type={kind}"),
        ]
        .iter()
        .any(|shown| text.contains(shown))
    })
}

/// What the words say where neither a status nor a type is given.
fn of_phrase(message: &Message) -> Option<Fault> {
    if let Some((_, fault)) = PHRASES.iter().find(|(phrases, _)| message.has(phrases)) {
        let limited = *fault == RATE_LIMIT;
        return Some(if limited { of_limit(message) } else { *fault });
    }
    let (name, _) = names::of(&message.text)?;
    let fault = names::fault_of(&name)?;
    if fault == RATE_LIMIT {
        return Some(of_limit(message));
    }
    Some(if fault == INVALID_REQUEST { of_refusal(message) } else { fault })
}
