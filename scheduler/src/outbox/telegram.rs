//! The Telegram sink: `sendMessage` of the Bot API, plain text, one message or a few in a row.
//!
//! The token is part of the URL: neither is ever in a log line, an error or a span.

use std::time::Duration;

use bytes::Bytes;
use domain::alert::message::{MESSAGE_UNITS_MAX, compose};
use domain::alert::{Notice, split};
use domain::outbox::{Message, Sink};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use service::outbound::Outbound;

use super::answer::{Verdict, redacted};
use super::deliver::{Lane, REQUEST_DEADLINE, Receiver};
use super::settings::Chat;
use crate::moves::error_chain;
use crate::shared::Shared;

#[derive(Debug)]
pub(super) struct Telegram {
    chat: Chat,
    outbound: Outbound,
}

impl Telegram {
    pub(super) fn new(chat: Chat, outbound: Outbound) -> Self {
        Self { chat, outbound }
    }

    async fn post(&self, chat_id: &str, text: &str) -> Verdict {
        let body = serde_json::json!({
            "chat_id": chat_id,
            "text": text,
            "link_preview_options": { "is_disabled": true },
        });
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = Bytes::from(body.to_string());
        match self.outbound.post(&self.chat.url, headers, body, REQUEST_DEADLINE).await {
            Ok(answer) => judge(answer.status, &answer.body),
            Err(error) => Verdict::Later { after: None, error: error_chain(&error) },
        }
    }

    /// Whatever the other side repeats of what it was sent, the token goes no further.
    fn without_token(&self, verdict: Verdict) -> Verdict {
        let redact = |error: String| redacted(&error, self.chat.token.expose());
        match verdict {
            Verdict::Later { after, error } => Verdict::Later { after, error: redact(error) },
            Verdict::Misconfigured { error } => Verdict::Misconfigured { error: redact(error) },
            Verdict::Never { error } => Verdict::Never { error: redact(error) },
            verdict @ (Verdict::Delivered | Verdict::Moved { .. }) => verdict,
        }
    }
}

impl Receiver for Telegram {
    const PACED: bool = true;

    async fn send(
        &self,
        shared: &Shared,
        lane: &mut Lane,
        _: &[Message],
        notices: &[Notice],
    ) -> Result<Verdict, store::Error> {
        let chat_id = shared.store.destination(Sink::Telegram, &self.chat.id).await?;
        for part in split(&compose(notices), MESSAGE_UNITS_MAX) {
            lane.wait_for_pace(shared).await;
            let verdict = self.post(&chat_id, part).await;
            lane.sent(shared);
            if let Verdict::Moved { to } = &verdict {
                let (configured, to) = (self.chat.id.clone(), to.clone());
                shared.store.move_destination(Sink::Telegram, configured, to, shared.now()).await?;
            }
            if verdict != Verdict::Delivered {
                return Ok(self.without_token(verdict));
            }
        }
        Ok(Verdict::Delivered)
    }
}

/// The body of every answer of the Bot API (<https://core.telegram.org/bots/api#making-requests>).
#[derive(Debug, Default, Deserialize)]
struct Reply {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

/// Words of 400s that speak of where a message goes and not of the message: no other one would get through either.
const OF_THE_CHAT: [&str; 5] = ["chat", "peer", "rights", "topic", "user"];

fn judge(status: StatusCode, body: &[u8]) -> Verdict {
    let reply: Option<Reply> = serde_json::from_slice(body).ok();
    let understood = reply.is_some();
    let Reply { ok, description, parameters } = reply.unwrap_or_default();
    if status.is_success() && ok {
        return Verdict::Delivered;
    }
    if let Some(chat) = parameters.migrate_to_chat_id {
        return Verdict::Moved { to: chat.to_string() };
    }
    let error = if description.is_empty() { status.to_string() } else { format!("{status}: {description}") };
    let words = description.to_ascii_lowercase();
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            Verdict::Later { after: parameters.retry_after.map(Duration::from_secs), error }
        }
        // A token that is malformed, revoked or unknown; a bot that was blocked or is not in the chat.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Verdict::Misconfigured { error }
        }
        StatusCode::BAD_REQUEST if OF_THE_CHAT.iter().any(|word| words.contains(word)) => {
            Verdict::Misconfigured { error }
        }
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE if understood => Verdict::Never { error },
        // Not the Bot API, or a proxy before it.
        _ => Verdict::Later { after: parameters.retry_after.map(Duration::from_secs), error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Verdict {
        judge(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    fn refusal(status: u16, description: &str) -> String {
        format!(r#"{{"ok":false,"error_code":{status},"description":"{description}"}}"#)
    }

    #[test]
    fn an_answer_is_judged_by_its_status_and_words() {
        assert_eq!(judged(200, r#"{"ok":true,"result":{"message_id":1}}"#), Verdict::Delivered);
        let error = "429 Too Many Requests: Too Many Requests: retry after 7".to_owned();
        let slow = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7","parameters":{"retry_after":7}}"#;
        assert_eq!(judged(429, slow), Verdict::Later { after: Some(Duration::from_secs(7)), error });
        let moved = r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1001234567890}}"#;
        assert_eq!(judged(400, moved), Verdict::Moved { to: "-1001234567890".to_owned() });
        for (status, description) in [
            (401, "Unauthorized"),
            (403, "Forbidden: bot was kicked from the group chat"),
            (404, "Not Found"),
            (400, "Bad Request: chat not found"),
            (400, "Bad Request: PEER_ID_INVALID"),
            (400, "Bad Request: not enough rights to send text messages to the chat"),
            (400, "Bad Request: group chat was deactivated"),
            (400, "Bad Request: TOPIC_CLOSED"),
        ] {
            let verdict = judged(status, &refusal(status, description));
            assert!(matches!(verdict, Verdict::Misconfigured { .. }), "{status} {description}: {verdict:?}");
        }
        for description in [
            "Bad Request: message is too long",
            "Bad Request: message text is empty",
            "Bad Request: strings must be encoded in UTF-8",
        ] {
            assert!(
                matches!(judged(400, &refusal(400, description)), Verdict::Never { .. }),
                "{description}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_tried_again() {
        for (status, body) in [
            (500, refusal(500, "Internal Server Error")),
            (502, "<html>Bad Gateway</html>".to_owned()),
            (400, "<html>a proxy</html>".to_owned()),
            (200, "<html>a login page</html>".to_owned()),
            (200, r#"{"ok":false}"#.to_owned()),
            (302, String::new()),
        ] {
            assert!(matches!(judged(status, &body), Verdict::Later { after: None, .. }), "{status} {body}");
        }
    }
}
