//! Makes an outcome of text that was kept somewhere, for `orch classify`: any of the CLI's three output formats.

use serde_json::{Deserializer, Value};

use super::squeeze::without_escapes;
use super::text;
use crate::Timestamp;
use crate::agent_output::{Reader, cut, cut_front};
use crate::outcome::{
    AgentReport, EndedBy, Exit, Outcome, RESULT_TEXT_BYTES_MAX, ResultEvent, TAIL_BYTES_MAX,
};

/// The outcome of a program that printed `text` and ended with `exit`, as if it had ended at `now`.
///
/// Text without any event is the text format: with exit code 0 it is the answer, unless it is nothing but an error.
pub fn outcome_of_text(text: &str, exit: Exit, now: Timestamp) -> Outcome {
    let mut report = report_of(text);
    if exit == Exit::Code(0) && is_quoted(text, &report) {
        report = AgentReport::default();
    }
    if exit == Exit::Code(0) && is_answer(text, &report, now) {
        report.result = Some(ResultEvent {
            subtype: "success".to_owned(),
            text: cut(text, RESULT_TEXT_BYTES_MAX),
            ..ResultEvent::default()
        });
    }
    Outcome {
        ended_by: EndedBy::Agent,
        exit: Some(exit),
        report,
        tail: cut_front(text, TAIL_BYTES_MAX),
        log_bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
        spawned_at: None,
        ended_at: now,
        steps: Vec::new(),
    }
}

fn report_of(text: &str) -> AgentReport {
    let plain = without_escapes(text);
    let mut reader = Reader::new();
    reader.push(plain.as_bytes());
    reader.finish();
    if reader.report().result.is_none()
        && let Some(found) = reflowed(&plain)
    {
        return found;
    }
    reader.into_report()
}

/// Reads JSON that is not one event a line: pretty-printed, in an array, or wrapped in the middle of its strings.
fn reflowed(text: &str) -> Option<AgentReport> {
    let joined: String = text.lines().collect();
    [text, &joined].into_iter().find_map(|text| {
        let start = text.find(['{', '['])?;
        let mut reader = Reader::new();
        for value in Deserializer::from_str(&text[start..]).into_iter::<Value>().map_while(Result::ok) {
            let events = if let Value::Array(events) = value { events } else { vec![value] };
            for event in events {
                reader.push(event.to_string().as_bytes());
                reader.finish();
            }
        }
        let report = reader.into_report();
        report.result.is_some().then_some(report)
    })
}

/// Whether the failed result is one that an answer shows, not the program's own: prose comes first and no session is named.
fn is_quoted(text: &str, report: &AgentReport) -> bool {
    report.result.as_ref().is_some_and(|result| result.is_error)
        && report.usage.session_id.is_none()
        && !text.trim_start().starts_with(['{', '['])
}

fn is_answer(text: &str, report: &AgentReport, now: Timestamp) -> bool {
    *report == AgentReport::default()
        && !text.trim().is_empty()
        && !text.contains("\"session_id\":\"")
        && text::whole_error(text, now).is_none()
}
