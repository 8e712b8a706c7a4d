//! The lines of stream-json, in the shape of the pinned CLI: every field that a reader of results may
//! use is there, key order and decoration differ on purpose.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::VERSION;
use crate::cli::Invocation;

/// Writes events to stdout, each flushed, and counts what the result reports.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    invocation: &'a Invocation,
    turns: u32,
    tools: u32,
}

/// The parts of a result that tell one failure from another.
#[derive(Debug)]
pub(crate) struct ApiError {
    /// HTTP status, absent for failures below HTTP.
    pub(crate) status: Option<u16>,
    /// The API's own `error.type`.
    pub(crate) kind: Option<&'static str>,
    /// `assistant.error`, the CLI's first cut.
    pub(crate) label: &'static str,
    /// `api_error`, where the CLI sets it.
    pub(crate) cause: Option<&'static str>,
    /// `terminal_reason`.
    pub(crate) terminal_reason: &'static str,
    /// What a person reads.
    pub(crate) text: String,
}

impl<'a> Stream<'a> {
    /// A stream that has printed nothing yet.
    pub(crate) fn new(invocation: &'a Invocation) -> Self {
        Self { invocation, turns: 0, tools: 0 }
    }

    fn emit(&self, mut event: Value) -> io::Result<()> {
        if let Value::Object(fields) = &mut event {
            fields.insert("session_id".into(), self.invocation.session_id.clone().into());
            fields.insert("uuid".into(), uuid::Uuid::new_v4().to_string().into());
        }
        raw_line(event.to_string().as_bytes())
    }

    /// `system/init`.
    pub(crate) fn init(&self) -> io::Result<()> {
        self.emit(json!({
            "type": "system", "subtype": "init", "cwd": std::env::current_dir()?,
            "tools": ["Task", "Bash", "Edit", "Read", "Write"], "mcp_servers": [], "model": self.invocation.model,
            "permissionMode": self.invocation.permission_mode, "slash_commands": ["compact", "context"],
            "apiKeySource": "ANTHROPIC_API_KEY", "claude_code_version": VERSION.split(' ').next(),
            "output_style": "default", "agents": ["general-purpose"], "skills": [], "plugins": [],
        }))
    }

    /// One assistant message with text.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        self.assistant(&json!({"type": "text", "text": text}))
    }

    /// A message that read this many tokens, in two blocks: the CLI prints both with the same id and usage.
    pub(crate) fn spend(&mut self, tokens: u64) -> io::Result<()> {
        self.turns += 1;
        for text in ["I think about it.", "I think about it more."] {
            self.emit(json!({
                "type": "assistant", "parent_tool_use_id": null,
                "message": {
                    "id": format!("msg_spend{:06}", self.turns), "type": "message", "role": "assistant",
                    "model": self.invocation.model, "content": [{"type": "text", "text": text}],
                    "stop_reason": null, "stop_sequence": null,
                    "usage": {"input_tokens": tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                        "output_tokens": 1},
                },
            }))?;
        }
        Ok(())
    }

    fn assistant(&self, block: &Value) -> io::Result<()> {
        self.emit(json!({
            "type": "assistant", "parent_tool_use_id": null,
            "message": {
                "id": format!("msg_fake{:06}", self.turns + 1), "type": "message", "role": "assistant",
                "model": self.invocation.model, "content": [block], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1},
            },
        }))
    }

    /// Asks for a Bash call and returns its id; nothing is executed.
    pub(crate) fn open_tool(&mut self) -> io::Result<String> {
        // Words and a tool call come in one answer of the API: the call, or the end, makes it a turn.
        self.turns += 1;
        self.tools += 1;
        let id = format!("toolu_fake{:06}", self.tools);
        let input = json!({"command": "echo hi", "description": "Run a command"});
        self.assistant(&json!({"type": "tool_use", "id": id, "name": "Bash", "input": input}))?;
        Ok(id)
    }

    /// The result of a call opened before.
    pub(crate) fn close_tool(&self, id: &str) -> io::Result<()> {
        self.emit(json!({
            "type": "user", "parent_tool_use_id": null,
            "message": {"role": "user", "content": [
                {"tool_use_id": id, "type": "tool_result", "content": "hi", "is_error": false}]},
            "tool_use_result": {"stdout": "hi", "stderr": "", "interrupted": false, "isImage": false},
        }))
    }

    /// `system/api_retry`.
    pub(crate) fn api_retry(&self, attempt: u32, of: u32, status: u16, delay_ms: u64) -> io::Result<()> {
        let error = match status {
            429 => "rate_limit",
            529 => "overloaded",
            401 => "authentication_failed",
            _ => "server_error",
        };
        self.emit(json!({
            "type": "system", "subtype": "api_retry", "attempt": attempt, "max_retries": of,
            "retry_delay_ms": delay_ms, "error_status": status, "error": error,
        }))
    }

    /// `rate_limit_event` of a rejected subscription window.
    pub(crate) fn rejected(&self, window: &str, resets_at_s: i64) -> io::Result<()> {
        self.emit(json!({
            "type": "rate_limit_event",
            "rate_limit_info": {
                "status": "rejected", "resetsAt": resets_at_s, "rateLimitType": window, "isUsingOverage": false},
        }))
    }

    /// `rate_limit_event` of a subscription window that still allows work.
    pub(crate) fn allowed(&self, window: &str, used: f64, resets_at_s: i64) -> io::Result<()> {
        self.emit(json!({
            "type": "rate_limit_event",
            "rate_limit_info": {
                "status": "allowed_warning", "resetsAt": resets_at_s, "rateLimitType": window, "utilization": used,
                "isUsingOverage": false},
        }))
    }

    /// The result of a session that went well.
    pub(crate) fn success(&mut self, text: &str) -> io::Result<()> {
        self.text(text)?;
        self.turns += 1;
        let mut result = self.result(false, "completed");
        result["subtype"] = "success".into();
        result["stop_reason"] = "end_turn".into();
        result["result"] = text.into();
        result["api_error_status"] = Value::Null;
        self.emit(result)
    }

    /// The result of a session that used up its turns.
    pub(crate) fn max_turns(&self) -> io::Result<()> {
        let mut result = self.result(true, "max_turns");
        result["subtype"] = "error_max_turns".into();
        result["stop_reason"] = "tool_use".into();
        result["errors"] = json!([format!("Reached maximum number of turns ({})", self.turns)]);
        self.emit(result)
    }

    /// The synthetic message and the result of an API failure: `subtype` says success, `is_error` is true.
    pub(crate) fn failure(&mut self, error: &ApiError) -> io::Result<()> {
        self.turns += 1;
        let mut message = json!({
            "type": "assistant", "parent_tool_use_id": null, "is_api_error_message": true,
            "error": error.label, "api_error_status": error.status,
            "message": {
                "id": uuid::Uuid::new_v4().to_string(), "type": "message", "role": "assistant", "model": "<synthetic>",
                "content": [{"type": "text", "text": error.text}], "stop_reason": "stop_sequence", "stop_sequence": "",
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        });
        let mut result = self.result(true, error.terminal_reason);
        result["subtype"] = "success".into();
        result["stop_reason"] = "stop_sequence".into();
        result["result"] = error.text.as_str().into();
        result["api_error_status"] = error.status.into();
        for event in [&mut message, &mut result] {
            if let Some(kind) = error.kind {
                event["api_error_type"] = kind.into();
            }
            if let Some(cause) = error.cause {
                event["api_error"] = cause.into();
            }
        }
        self.emit(message)?;
        self.emit(result)
    }

    /// The result of a session that is not there.
    pub(crate) fn session_refused(&self, error: &str) -> io::Result<()> {
        let mut result = self.result(true, "");
        result["subtype"] = "error_during_execution".into();
        result["terminal_reason"] = Value::Null;
        result["stop_reason"] = Value::Null;
        result["num_turns"] = 0.into();
        result["errors"] = json!([error]);
        self.emit(result)
    }

    fn result(&self, is_error: bool, terminal_reason: &str) -> Value {
        let (turns, model) = (self.turns.max(1), &self.invocation.model);
        let (input, output) = if is_error && self.tools == 0 { (0, 0) } else { (12 * turns, 5 * turns) };
        // Whole micro-dollars keep the decimal text short and exact.
        let cost_usd = f64::from(input * 4 + output * 20) / 1e6;
        json!({
            "type": "result", "is_error": is_error, "terminal_reason": terminal_reason, "num_turns": turns,
            "duration_ms": 1161, "duration_api_ms": 278, "total_cost_usd": cost_usd, "permission_denials": [],
            "usage": {"input_tokens": input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": output, "service_tier": "standard"},
            "modelUsage": {model: {"inputTokens": input, "outputTokens": output, "cacheReadInputTokens": 0,
                "cacheCreationInputTokens": 0, "costUSD": cost_usd}},
        })
    }
}

/// Writes one line of bytes, whatever they are, and flushes it.
pub(crate) fn raw_line(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
