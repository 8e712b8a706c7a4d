//! Draws the conclusion from an outcome's facts, in the order of DESIGN.md section 8.
//!
//! Did we end it ourselves; what the stream's fields say; only then anchored text of the last lines. A success is never
//! searched for error words, and what nobody knows is a permanent agent failure. What follows from a verdict is
//! `transition`'s business, what trips a breaker the scheduler's.

mod cursor;
mod fault;
mod names;
mod offline;
mod patterns;
mod reset_time;
mod retry_after;
mod squeeze;
mod structured;
mod text;
mod words;

use std::time::Duration;

use crate::outcome::{EndedBy, Exit, Outcome};
use crate::transition::{Conclusion, LostHow, NotTried};
use crate::{Class, PermanentReason, Timestamp, TransientReason, resume, steps};
use fault::{AGENT_FAILURE, CRASH, Fault, Message};

pub use offline::outcome_of_text;
pub use patterns::{BadPattern, Meaning, Pattern, Patterns};

/// The longest a job waits for a time that a message names; a plan's longest window is a month.
pub const WAIT_MAX: Duration = Duration::from_hours(32 * 24);

/// A window's end may be this far past and still be the one meant; an older one gives way to the printed time.
const EPOCH_AGE_MAX: Duration = Duration::from_hours(1);

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict; its `retry_at` is at most [`WAIT_MAX`] ahead.
    pub class: Class,
    /// How many seconds the provider asked us to wait, when it did.
    pub retry_after_s: Option<u64>,
    /// When the limit resets, as named; not capped.
    pub resets_at: Option<Timestamp>,
    /// The reset in the message's own words.
    pub resets_text: Option<String>,
    /// The field or line that decided, in one line for people.
    pub evidence: String,
}

/// Judges what the agent did, whoever ended it. `patterns` are a configuration's own.
pub fn classify(outcome: &Outcome, patterns: &Patterns, now: Timestamp) -> Judgement {
    let report = &outcome.report;
    if let Some(result) = &report.result {
        if structured::is_success(report, result) {
            return plain(Class::Success, format!("result.subtype {}", or_none(&result.subtype)));
        }
        let words = if result.text.is_empty() { &result.errors } else { &result.text };
        let message = Message::new(words, now);
        if let Some((fault, field)) = structured::of_fields(report, result, &message) {
            return judgement(outcome, fault, &message, &field, now);
        }
        return patterned(outcome, words, patterns, now).unwrap_or_else(|| {
            let (fault, field) = structured::of_words(report, &message);
            judgement(outcome, fault, &message, field, now)
        });
    }
    match &outcome.ended_by {
        EndedBy::SpawnFailed { error } | EndedBy::Unready { error } => {
            return plain(CRASH.into_class(None), format!("could not be started: {error}"));
        }
        EndedBy::Workspace { fault, error } => {
            return plain(CRASH.into_class(None), format!("{}: {error}", fault.as_str()));
        }
        EndedBy::MaxRuntime => {
            return permanent(PermanentReason::MaxRuntime, "ran longer than its stage allows");
        }
        EndedBy::Idle => return permanent(PermanentReason::Idle, "was silent longer than its stage allows"),
        EndedBy::DiskLimit { limit_bytes } => {
            return permanent(PermanentReason::DiskLimit, &disk_words(*limit_bytes));
        }
        EndedBy::MemoryLimit { limit_bytes } => {
            return permanent(PermanentReason::MemoryLimit, &memory_words(*limit_bytes));
        }
        EndedBy::Agent
        | EndedBy::AfterResult
        | EndedBy::Cancelled
        | EndedBy::SelfFenced
        | EndedBy::Drained
        | EndedBy::ShimLost => {}
    }
    match outcome.exit {
        Some(exit) if is_kill(exit) => {
            plain(CRASH.into_class(None), format!("{} and no result", shown(exit)))
        }
        Some(exit) => of_output(outcome, exit, patterns, now),
        None => plain(CRASH.into_class(None), "no exit was seen".to_owned()),
    }
}

fn disk_words(limit_bytes: u64) -> String {
    format!("its workspace and HOME took more than {limit_bytes} bytes (ORCH_AGENT_DISK_BYTES of the runner)")
}

fn memory_words(limit_bytes: Option<u64>) -> String {
    match limit_bytes {
        Some(bytes) => {
            format!("wanted more than {bytes} bytes of memory (ORCH_AGENT_MEMORY_BYTES of the runner)")
        }
        None => "its host had no memory left".to_owned(),
    }
}

/// Judges a program that ended by itself and gave no result, by what it printed.
fn of_output(outcome: &Outcome, exit: Exit, patterns: &Patterns, now: Timestamp) -> Judgement {
    let unfinished = structured::of_unfinished(&outcome.report);
    if unfinished.is_none()
        && let Some(judged) = patterned(outcome, &outcome.tail, patterns, now)
    {
        return judged;
    }
    if exit == Exit::Code(0) {
        return match text::whole_error(&outcome.tail, now) {
            Some((fault, message)) => judgement(outcome, fault, &message, "output", now),
            None => plain(AGENT_FAILURE.into_class(None), "exit code 0 without a result".to_owned()),
        };
    }
    let (fault, message) = text::of_failure(&outcome.tail, now);
    match unfinished.filter(|_| fault == AGENT_FAILURE) {
        Some((fault, field)) => judgement(outcome, fault, &Message::new("", now), &field, now),
        None => judgement(outcome, fault, &message, &shown(exit), now),
    }
}

fn patterned(outcome: &Outcome, text: &str, patterns: &Patterns, now: Timestamp) -> Option<Judgement> {
    let found = patterns.find(text, now)?;
    Some(judgement(outcome, found.fault, &found.message, &found.field, now))
}

/// Says what a run's end means for its job, with the evidence. `resumed`: it was told to go on with a conversation.
///
/// Who ended it overrules what it printed, but neither a time limit, a drain nor a cancel undoes a success that was
/// already reported. What the steps after the agent came to overrules its success.
pub fn conclude(
    outcome: &Outcome,
    resumed: bool,
    patterns: &Patterns,
    now: Timestamp,
) -> (Conclusion, String) {
    steps::conclusion(&outcome.steps).unwrap_or_else(|| conclude_agent(outcome, resumed, patterns, now))
}

fn conclude_agent(
    outcome: &Outcome,
    resumed: bool,
    patterns: &Patterns,
    now: Timestamp,
) -> (Conclusion, String) {
    let lost = |how: LostHow| (Conclusion::Lost { how }, how.to_string());
    let judged = || {
        let Judgement { class, evidence, .. } = classify(outcome, patterns, now);
        let conclusion = if resumed && resume::is_refused(&class) {
            Conclusion::NotTried { why: NotTried::SessionRefused }
        } else {
            Conclusion::Judged { class }
        };
        (conclusion, evidence)
    };
    let succeeded = || {
        let report = &outcome.report;
        report.result.as_ref().is_some_and(|result| structured::is_success(report, result))
    };
    match &outcome.ended_by {
        EndedBy::Agent | EndedBy::AfterResult | EndedBy::SpawnFailed { .. } => judged(),
        EndedBy::MaxRuntime
        | EndedBy::Idle
        | EndedBy::Drained
        | EndedBy::Cancelled
        | EndedBy::DiskLimit { .. }
        | EndedBy::MemoryLimit { .. }
            if succeeded() =>
        {
            judged()
        }
        EndedBy::DiskLimit { limit_bytes } => {
            let class = Class::Permanent { reason: PermanentReason::DiskLimit };
            (Conclusion::Judged { class }, disk_words(*limit_bytes))
        }
        EndedBy::MemoryLimit { limit_bytes } => {
            let class = Class::Permanent { reason: PermanentReason::MemoryLimit };
            (Conclusion::Judged { class }, memory_words(*limit_bytes))
        }
        EndedBy::MaxRuntime => {
            let class = Class::Permanent { reason: PermanentReason::MaxRuntime };
            (Conclusion::Judged { class }, "ran longer than its stage allows".to_owned())
        }
        EndedBy::Idle => {
            let class = Class::Permanent { reason: PermanentReason::Idle };
            (Conclusion::Judged { class }, "was silent longer than its stage allows".to_owned())
        }
        EndedBy::Unready { error } => (Conclusion::NotTried { why: NotTried::Preflight }, error.clone()),
        EndedBy::Workspace { fault, error } => {
            (Conclusion::Unprepared { fault: *fault }, format!("{}: {error}", fault.as_str()))
        }
        EndedBy::Cancelled => (Conclusion::Cancelled, "cancelled".to_owned()),
        EndedBy::Drained => (Conclusion::Drained, "drained".to_owned()),
        EndedBy::SelfFenced => lost(LostHow::SelfFenced),
        EndedBy::ShimLost => lost(LostHow::ShimLost),
    }
}

impl Fault {
    const fn into_class(self, retry_at: Option<Timestamp>) -> Class {
        match self {
            Self::Transient(reason) => Class::Transient { reason, retry_at },
            Self::Permanent(reason) => Class::Permanent { reason },
        }
    }
}

/// Adds the times: the window's own epoch before the printed time, a printed wait before a guessed one.
fn judgement(outcome: &Outcome, fault: Fault, message: &Message, field: &str, now: Timestamp) -> Judgement {
    let printed = message.reset.as_ref();
    let (resets_at, resets_text) = if fault == Fault::Transient(TransientReason::UsageLimit) {
        let window = structured::rejected_window(&outcome.report);
        let fresh = window.filter(|at| at.plus(EPOCH_AGE_MAX) >= now);
        (fresh.or(printed.map(|reset| reset.at)).or(window), printed.map(|reset| reset.text.clone()))
    } else {
        (None, None)
    };
    let retry_after_s = match fault {
        Fault::Transient(reason) => message.retry_after_s.or_else(|| retry_header(outcome, reason)),
        Fault::Permanent(_) => None,
    };
    let wait = match fault {
        Fault::Transient(_) => retry_after_s.map(Duration::from_secs).or_else(|| retry_hint(outcome)),
        Fault::Permanent(_) => None,
    };
    let named = resets_at.or_else(|| wait.map(|wait| now.plus(wait)));
    let retry_at = named.map(|at| at.clamp(now, now.plus(WAIT_MAX)));
    let evidence = match message.text.headline(EVIDENCE_CHARS_MAX) {
        line if line.is_empty() => field.to_owned(),
        line => format!("{field}: {line}"),
    };
    Judgement { class: fault.into_class(retry_at), retry_after_s, resets_at, resets_text, evidence }
}

/// The CLI waits exactly as long as a `retry-after` header asks; its own back-off is never whole seconds.
fn retry_header(outcome: &Outcome, reason: TransientReason) -> Option<u64> {
    let delay_ms = outcome.report.api_retry_delay_ms?;
    (reason == TransientReason::RateLimit && delay_ms > 0 && delay_ms % 1000 == 0).then_some(delay_ms / 1000)
}

/// The wait that a `retry-after` header asked for, up to a fifth too long: newer versions add jitter to it, so only
/// its length shows that it is no back-off of the CLI's own, which doubles from half a second.
fn retry_hint(outcome: &Outcome) -> Option<Duration> {
    const OWN_FIRST_MS: u64 = 500;
    const OWN_DOUBLINGS_MAX: u64 = 6;
    let (delay_ms, attempt) = (outcome.report.api_retry_delay_ms?, outcome.report.api_retry_attempt?);
    let own_ms = OWN_FIRST_MS << attempt.saturating_sub(1).min(OWN_DOUBLINGS_MAX);
    (delay_ms > own_ms * 3 / 2).then(|| Duration::from_millis(delay_ms))
}

/// Ended by a signal, told by the shell or by the system, or could not be executed.
const fn is_kill(exit: Exit) -> bool {
    match exit {
        Exit::Signal(_) => true,
        Exit::Code(code) => matches!(code, 126 | 127 | 129..=192),
    }
}

fn shown(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// The most of a message that evidence quotes, in characters.
const EVIDENCE_CHARS_MAX: usize = 200;

fn or_none(word: &str) -> &str {
    if word.is_empty() { "none" } else { word }
}

fn permanent(reason: PermanentReason, evidence: &str) -> Judgement {
    plain(Class::Permanent { reason }, evidence.to_owned())
}

const fn plain(class: Class, evidence: String) -> Judgement {
    Judgement { class, retry_after_s: None, resets_at: None, resets_text: None, evidence }
}

#[cfg(test)]
mod tests;
