//! Builds the answers: messages, streamed or whole, and errors, as the API words them.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio_stream::StreamExt;

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// The answer's content, its stop reason, and whether it breaks off half way.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// Number that makes the ids of this answer unique.
    pub(super) serial: u64,
    /// The model named in the request.
    pub(super) model: &'a str,
    /// The words, always the first block.
    pub(super) text: &'a str,
    /// A Bash command to ask for after the words.
    pub(super) command: Option<&'a str>,
    /// Fall silent in the middle of the words.
    pub(super) hang_mid: bool,
}

impl Message<'_> {
    fn stop_reason(&self) -> &'static str {
        if self.command.is_some() { "tool_use" } else { "end_turn" }
    }

    fn tool_use(&self, command: &str, input_known: bool) -> Value {
        let input = if input_known { tool_input(command) } else { json!({}) };
        json!({"type": "tool_use", "id": format!("toolu_stub{:06}", self.serial), "name": "Bash", "input": input})
    }

    fn envelope(&self, content: &Value, stop_reason: &Value, output_tokens: u32) -> Value {
        json!({
            "id": format!("msg_stub{:06}", self.serial), "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": stop_reason, "stop_sequence": null,
            "usage": usage(output_tokens),
        })
    }

    /// The whole message as one JSON document.
    pub(super) fn whole(&self) -> Response<Body> {
        let mut content = vec![json!({"type": "text", "text": self.text})];
        content.extend(self.command.map(|command| self.tool_use(command, true)));
        let message = self.envelope(&content.into(), &self.stop_reason().into(), 5);
        json_answer(StatusCode::OK, &message, self.serial, &[])
    }

    /// The message as server-sent events.
    pub(super) fn streamed(&self) -> Response<Body> {
        let mut events = vec![
            json!({"type": "message_start", "message": self.envelope(&json!([]), &Value::Null, 1)}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "ping"}),
        ];
        let middle = self.text.char_indices().nth(self.text.chars().count() / 2).map_or(0, |(at, _)| at);
        let (head, tail) = self.text.split_at(middle);
        events.push(text_delta(head));
        if !self.hang_mid {
            events.extend([text_delta(tail), json!({"type": "content_block_stop", "index": 0})]);
            if let Some(command) = self.command {
                events.extend([
                    json!({"type": "content_block_start", "index": 1, "content_block": self.tool_use(command, false)}),
                    json!({"type": "content_block_delta", "index": 1, "delta":
                        {"type": "input_json_delta", "partial_json": tool_input(command).to_string()}}),
                    json!({"type": "content_block_stop", "index": 1}),
                ]);
            }
            events.extend([
                json!({"type": "message_delta", "usage": usage(5),
                    "delta": {"stop_reason": self.stop_reason(), "stop_sequence": null}}),
                json!({"type": "message_stop"}),
            ]);
        }
        let frames = tokio_stream::iter(events.into_iter().map(|event| Ok(Frame::data(sse(&event)))));
        let body = if self.hang_mid {
            StreamBody::new(frames.chain(tokio_stream::pending())).boxed_unsync()
        } else {
            StreamBody::new(frames).boxed_unsync()
        };
        let mut response = Response::new(body);
        insert(&mut response, "content-type", "text/event-stream; charset=utf-8");
        insert(&mut response, "request-id", &request_id(self.serial));
        response
    }
}

/// An error in the API's JSON form, with extra headers.
pub(super) fn error(
    serial: u64,
    status: u16,
    kind: &str,
    message: &str,
    headers: &[(&str, String)],
) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id(serial)});
    json_answer(status, &body, serial, headers)
}

/// A JSON document with the header that numbers it.
pub(super) fn json_answer(
    status: StatusCode,
    body: &Value,
    serial: u64,
    headers: &[(&str, String)],
) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed_unsync());
    *response.status_mut() = status;
    insert(&mut response, "content-type", "application/json");
    insert(&mut response, "request-id", &request_id(serial));
    for (name, value) in headers {
        insert(&mut response, name, value);
    }
    response
}

fn insert(response: &mut Response<Body>, name: &str, value: &str) {
    let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), http::HeaderValue::from_str(value)) else {
        unreachable!("the stub's own headers are well-formed: {name}: {value}")
    };
    response.headers_mut().insert(name, value);
}

fn request_id(serial: u64) -> String {
    format!("req_stub{serial:06}")
}

fn usage(output_tokens: u32) -> Value {
    json!({"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": output_tokens})
}

fn tool_input(command: &str) -> Value {
    json!({"command": command, "description": "Run a command"})
}

fn text_delta(text: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
}

fn sse(event: &Value) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
}
