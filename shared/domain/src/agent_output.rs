//! Reads what the agent's CLI prints, as it comes: bytes in, an [`AgentReport`] and facts for the watchdogs out.
//!
//! Knows the shape of the stream-json events (and of the single object of the json format) and nothing of what they
//! mean for the job: that is `classify`'s. Holds one line and a few short texts, whatever the agent prints.

mod event;
mod phrase;
mod tally;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Timestamp;
use crate::outcome::{AgentReport, RESULT_TEXT_BYTES_MAX, RateLimit, ResultEvent};
use crate::run::RunUsage;
use tally::Tally;

pub use phrase::phrase;

/// The longest line that is read as an event; a longer one is skipped and counted.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most kept of a word or id that an event names.
pub const WORD_BYTES_MAX: usize = 256;

/// The most rate limit windows kept; there are about six kinds.
pub const RATE_LIMITS_MAX: usize = 16;

/// The most open tool calls counted; beyond it the count stands still.
pub const OPEN_TOOL_CALLS_MAX: usize = 1024;

/// Assembles lines out of pieces and keeps what they say.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    skipping: bool,
    report: AgentReport,
    open_tool_calls: BTreeSet<String>,
    result_is_last: bool,
    events: u64,
    lines_skipped: u64,
    tally: Tally,
}

impl Reader {
    /// Starts at the beginning of the output.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.extend_line(&rest[..end]);
            self.finish();
            rest = &rest[end + 1..];
        }
        self.extend_line(rest);
    }

    /// Takes what was pushed since the last newline as a line of its own; called at the end of the output.
    pub fn finish(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            self.lines_skipped += 1;
        } else {
            self.read_line(&line);
        }
        self.line = line;
        self.line.clear();
        self.line.shrink_to(LINE_BYTES_KEPT);
    }

    /// What the events so far said.
    pub const fn report(&self) -> &AgentReport {
        &self.report
    }

    /// Gives the report away.
    pub fn into_report(self) -> AgentReport {
        self.report
    }

    /// How many tool calls were begun and have no result yet; at most [`OPEN_TOOL_CALLS_MAX`].
    pub fn open_tool_calls(&self) -> usize {
        self.open_tool_calls.len()
    }

    /// Whether a `result` event came and the conversation did not go on after it.
    pub const fn result_seen(&self) -> bool {
        self.result_is_last
    }

    /// Rises with every event, those that only say the CLI is retrying included.
    pub const fn progress(&self) -> u64 {
        self.events
    }

    /// How many lines were longer than [`LINE_BYTES_MAX`] and went unread.
    pub const fn lines_skipped(&self) -> u64 {
        self.lines_skipped
    }

    fn extend_line(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len() + piece.len() > LINE_BYTES_MAX {
            self.skipping = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn read_line(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.first() != Some(&b'{') {
            return;
        }
        let Some(event) = event::parse(line) else { return };
        let Some(kind) = event.get("type").and_then(Value::as_str) else { return };
        self.events += 1;
        match kind {
            "system" => self.read_system(&event),
            "assistant" => self.read_assistant(&event),
            "user" => self.read_user(&event),
            "rate_limit_event" => self.read_rate_limit(&event["rate_limit_info"]),
            "result" => self.read_result(&event),
            _ => {}
        }
    }

    fn read_system(&mut self, event: &Value) {
        match event["subtype"].as_str() {
            Some("init") => {
                self.keep_session(event);
                self.report.cli_version =
                    word(&event["claude_code_version"]).or(self.report.cli_version.take());
                self.report.model = word(&event["model"]).or(self.report.model.take());
            }
            Some("api_retry") => {
                self.report.usage.api_retries = self.report.usage.api_retries.saturating_add(1);
                self.report.api_retry_delay_ms =
                    whole(&event["retry_delay_ms"]).or(self.report.api_retry_delay_ms);
                self.report.api_retry_attempt = whole(&event["attempt"]).or(self.report.api_retry_attempt);
            }
            _ => {}
        }
    }

    fn read_assistant(&mut self, event: &Value) {
        self.result_is_last = false;
        self.keep_session(event);
        self.tally.take(event, &mut self.report.usage);
        // What a subagent met is not what the run ended with.
        if event["parent_tool_use_id"].is_null() {
            self.report.assistant_error = word(&event["error"]);
        }
        for block in blocks(event) {
            if block["type"] == "tool_use"
                && self.open_tool_calls.len() < OPEN_TOOL_CALLS_MAX
                && let Some(id) = word(&block["id"])
            {
                self.open_tool_calls.insert(id);
            }
        }
    }

    fn read_user(&mut self, event: &Value) {
        self.result_is_last = false;
        for block in blocks(event) {
            if block["type"] == "tool_result"
                && let Some(id) = word(&block["tool_use_id"])
            {
                self.open_tool_calls.remove(&id);
            }
        }
    }

    fn read_rate_limit(&mut self, info: &Value) {
        if let Some(windows) = info["unifiedWindows"].as_object() {
            for (window, facts) in windows {
                self.keep_rate_limit(cut(window, WORD_BYTES_MAX), facts);
            }
        }
        if let Some(window) = word(&info["rateLimitType"]) {
            self.keep_rate_limit(window, info);
        }
    }

    /// The newest word on a window replaces the older and moves to the end.
    fn keep_rate_limit(&mut self, window: String, facts: &Value) {
        let limits = &mut self.report.rate_limits;
        limits.retain(|known| known.window != window);
        if limits.len() >= RATE_LIMITS_MAX {
            limits.remove(0);
        }
        limits.push(RateLimit {
            window,
            status: word(&facts["status"]).unwrap_or_default(),
            utilization: facts["utilization"].as_f64().filter(|share| share.is_finite()),
            resets_at: facts["resetsAt"].as_i64().map(from_epoch),
        });
    }

    fn read_result(&mut self, event: &Value) {
        self.result_is_last = true;
        self.open_tool_calls.clear();
        self.keep_session(event);
        let errors: Vec<&str> =
            event["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.report.result = Some(ResultEvent {
            subtype: word(&event["subtype"]).unwrap_or_default(),
            // A result that does not say is no success.
            is_error: event["is_error"].as_bool().unwrap_or(true),
            api_error_status: event["api_error_status"]
                .as_u64()
                .and_then(|status| u16::try_from(status).ok()),
            api_error_type: word(&event["api_error_type"]),
            api_error: word(&event["api_error"]),
            terminal_reason: word(&event["terminal_reason"]),
            stop_reason: word(&event["stop_reason"]),
            text: cut(event["result"].as_str().unwrap_or_default(), RESULT_TEXT_BYTES_MAX),
            errors: cut(&errors.join("\n"), RESULT_TEXT_BYTES_MAX),
        });
        let (usage, tokens) = (&mut self.report.usage, &event["usage"]);
        *usage = RunUsage {
            session_id: usage.session_id.take(),
            cost_usd: event["total_cost_usd"].as_f64().filter(|cost| cost.is_finite()).or(usage.cost_usd),
            turns: event["num_turns"].as_u64().and_then(|turns| u32::try_from(turns).ok()).or(usage.turns),
            input_tokens: ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
                .into_iter()
                .filter_map(|field| tokens[field].as_u64())
                .reduce(u64::saturating_add)
                .or(usage.input_tokens),
            output_tokens: tokens["output_tokens"].as_u64().or(usage.output_tokens),
            cache_read_tokens: tokens["cache_read_input_tokens"].as_u64().or(usage.cache_read_tokens),
            api_retries: usage.api_retries,
        };
    }

    fn keep_session(&mut self, event: &Value) {
        let usage = &mut self.report.usage;
        usage.session_id = word(&event["session_id"]).or(usage.session_id.take());
    }
}

/// The capacity kept between lines, so that one long line does not hold its memory for the rest of the run.
const LINE_BYTES_KEPT: usize = 64 * 1024;

/// The longest start of `text` within `bytes_max` that ends between two characters.
pub fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

/// The longest end of `text` within `bytes_max` that starts between two characters.
pub fn cut_front(text: &str, bytes_max: usize) -> String {
    text[text.ceil_char_boundary(text.len().saturating_sub(bytes_max))..].to_owned()
}

fn word(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(|text| cut(text, WORD_BYTES_MAX))
}

fn blocks(event: &Value) -> impl Iterator<Item = &Value> {
    event["message"]["content"].as_array().into_iter().flatten()
}

/// A count that older versions print with a fraction.
fn whole(value: &Value) -> Option<u64> {
    let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; a float-to-int cast saturates"
    )]
    Some(number.round() as u64)
}

/// Seconds since 1970, or milliseconds when the number can be nothing else.
pub(crate) fn from_epoch(number: i64) -> Timestamp {
    const SECONDS_MAX: i64 = 100_000_000_000;
    if number.abs() < SECONDS_MAX { Timestamp::from_ms(number * 1000) } else { Timestamp::from_ms(number) }
}

#[cfg(test)]
mod tests;
