//! Judges by what the stream said in fields, before any words are read.
//!
//! Order (DESIGN.md section 8): `is_error` and `subtype`, the CLI's and the API's own words, the status, the windows, the
//! last synthetic message; the text only refines what these leave open.

use super::fault::{
    AGENT_FAILURE, AUTH, BILLING, Fault, INVALID_REQUEST, MAX_TURNS, Message, NETWORK, RATE_LIMIT,
    SERVER_ERROR, UNTRUSTED, USAGE_LIMIT, of_error_type, of_limit, of_message, of_refusal, of_status,
};
use super::words::SESSION_REFUSALS;
use crate::Timestamp;
use crate::outcome::{AgentReport, ResultEvent};

/// Whether `result` reports work that was done: no words of it are read.
pub(super) fn is_success(report: &AgentReport, result: &ResultEvent) -> bool {
    !result.is_error && !result.subtype.starts_with("error_") && !is_cut(report, result)
}

/// Version 2.1.197 reports an answer cut off by a broken stream as a success; the missing stop reason is the only trace.
///
/// Versions that name no terminal reason name no stop reason either.
fn is_cut(report: &AgentReport, result: &ResultEvent) -> bool {
    let may_hide_it = report.cli_version.as_deref().is_none_or(|version| version.starts_with("2.1.1"));
    may_hide_it && result.terminal_reason.as_deref() == Some("completed") && result.stop_reason.is_none()
}

/// What the fields of a failed result say, and which one said it; the message only refines it.
pub(super) fn of_fields(
    report: &AgentReport,
    result: &ResultEvent,
    message: &Message,
) -> Option<(Fault, String)> {
    if !result.is_error && is_cut(report, result) {
        return Some((NETWORK, "result: stop_reason null: the answer was cut off".to_owned()));
    }
    if result.subtype.starts_with("error_") {
        let fault = if ["error_max_turns", "error_max_budget_usd"].contains(&result.subtype.as_str()) {
            MAX_TURNS
        } else if message.text.starts_with_any(SESSION_REFUSALS) {
            INVALID_REQUEST
        } else {
            AGENT_FAILURE
        };
        return Some((fault, format!("result.subtype {}", result.subtype)));
    }
    if let Some(found) = of_terminal_reason(result) {
        return Some(found);
    }
    if let Some(word) = result.api_error.as_deref()
        && let Some(fault) = of_cli_word(word, message)
    {
        return Some((fault, format!("result.api_error {word}")));
    }
    let rejected = rejected_window(report).is_some();
    if let Some(kind) = result.api_error_type.as_deref() {
        let fault = with_window(of_error_type(kind, message), rejected);
        return Some((fault, format!("result.api_error_type {kind}")));
    }
    if let Some(status) = result.api_error_status {
        let fault = with_window(of_status(status, message), rejected);
        return Some((fault, format!("result.api_error_status {status}")));
    }
    let word = report.assistant_error.as_deref()?;
    let fault = of_assistant_error(word, message)?;
    Some((with_window(fault, rejected), format!("assistant.error {word}")))
}

/// What the words of a failed result say where no field does.
pub(super) fn of_words(report: &AgentReport, message: &Message) -> (Fault, &'static str) {
    match of_message(message) {
        Some(fault) => (with_window(fault, rejected_window(report).is_some()), "result text"),
        None => (AGENT_FAILURE, "result.is_error"),
    }
}

/// When the windows that refuse work all have reset, as far as they say.
pub(super) fn rejected_window(report: &AgentReport) -> Option<Timestamp> {
    report
        .rate_limits
        .iter()
        .filter(|limit| limit.status == "rejected")
        .filter_map(|limit| limit.resets_at)
        .max()
}

/// What the last synthetic message of a stream without a result says.
pub(super) fn of_unfinished(report: &AgentReport) -> Option<(Fault, String)> {
    let word = report.assistant_error.as_deref()?;
    let nothing_said = Message::new("", Timestamp::default());
    let fault = of_assistant_error(word, &nothing_said)?;
    Some((with_window(fault, rejected_window(report).is_some()), format!("assistant.error {word}")))
}

/// A rate limit beside a spent window is that window's usage limit.
fn with_window(fault: Fault, rejected: bool) -> Fault {
    if rejected && fault == RATE_LIMIT { USAGE_LIMIT } else { fault }
}

fn of_terminal_reason(result: &ResultEvent) -> Option<(Fault, String)> {
    let reason = result.terminal_reason.as_deref()?;
    let fault = match reason {
        "prompt_too_long" => super::fault::CONTEXT_LENGTH,
        "max_turns" | "budget_exhausted" => MAX_TURNS,
        "image_error" => INVALID_REQUEST,
        aborted if aborted.starts_with("aborted_") => AGENT_FAILURE,
        _ => return None,
    };
    Some((fault, format!("result.terminal_reason {reason}")))
}

fn of_cli_word(word: &str, message: &Message) -> Option<Fault> {
    match word {
        "usage_limit_reached" => {
            let fault = of_limit(message);
            Some(if fault == RATE_LIMIT { USAGE_LIMIT } else { fault })
        }
        "connection_failed" => {
            Some(of_message(message).filter(|fault| *fault == UNTRUSTED).unwrap_or(NETWORK))
        }
        "org_disabled_credential" => Some(AUTH),
        "tool_history_mismatch" | "pdf_too_large" | "max_output_tokens" => Some(INVALID_REQUEST),
        tls if tls.starts_with("tls_") => Some(UNTRUSTED),
        _ => None,
    }
}

fn of_assistant_error(word: &str, message: &Message) -> Option<Fault> {
    match word {
        "authentication_failed" | "oauth_org_not_allowed" => Some(AUTH),
        "billing_error" => Some(BILLING),
        "rate_limit" => Some(of_limit(message)),
        "invalid_request" => Some(of_refusal(message)),
        "model_not_found" | "max_output_tokens" => Some(INVALID_REQUEST),
        // Stands for 5xx, 529, network and timeout alike: only the text tells.
        "server_error" => Some(of_message(message).unwrap_or(SERVER_ERROR)),
        _ => None,
    }
}
