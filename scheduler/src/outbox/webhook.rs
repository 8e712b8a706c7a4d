//! The webhook sink: alerts posted as JSON to a URL of the operator's own, signed where there is a secret.
//!
//! The URL is often the secret itself: it is in no log line, error or span.

use std::time::Duration;

use bytes::Bytes;
use domain::alert::{Alert, Notice};
use domain::outbox::Message;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use service::outbound::Outbound;
use service::settings::Secret;
use sha2::Sha256;

use super::answer::Verdict;
use super::deliver::{Lane, REQUEST_DEADLINE, Receiver};
use super::settings::Endpoint;
use crate::moves::error_chain;
use crate::shared::Shared;

/// `sha256=` and the HMAC-SHA-256 of the body in hex.
const SIGNATURE: &str = "x-orch-signature";

#[derive(Debug)]
pub(super) struct Webhook {
    endpoint: Endpoint,
    outbound: Outbound,
}

/// The body: `{"alerts":[…]}`, in the order they were raised.
#[derive(Debug, Serialize)]
struct Body<'a> {
    alerts: Vec<Entry<'a>>,
}

/// One alert; docs/ALERTS.md has an example.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    /// The same at every repeat.
    key: &'a str,
    kind: &'static str,
    group: &'static str,
    at: String,
    /// How many alerts it stands for, after a long backlog.
    count: u64,
    first_at: String,
    text: String,
    alert: &'a Alert,
}

impl<'a> Entry<'a> {
    fn of(message: &'a Message, notice: &'a Notice) -> Self {
        Self {
            key: &message.key,
            kind: notice.alert.word(),
            group: notice.alert.group().as_str(),
            at: notice.at.to_string(),
            count: notice.count(),
            first_at: notice.first_at().to_string(),
            text: notice.alert.text(),
            alert: &notice.alert,
        }
    }
}

impl Webhook {
    pub(super) fn new(endpoint: Endpoint, outbound: Outbound) -> Self {
        Self { endpoint, outbound }
    }
}

impl Receiver for Webhook {
    const PACED: bool = false;

    async fn send(
        &self,
        _: &Shared,
        _: &mut Lane,
        messages: &[Message],
        notices: &[Notice],
    ) -> Result<Verdict, store::Error> {
        let body = match body(messages, notices) {
            Ok(body) => body,
            Err(error) => return Ok(Verdict::Never { error: error.to_string() }),
        };
        let headers = headers(self.endpoint.secret.as_ref(), &body);
        let answer = self.outbound.post(&self.endpoint.url, headers, body, REQUEST_DEADLINE).await;
        Ok(match answer {
            Ok(answer) => judge(answer.status, &answer.headers),
            Err(error) => Verdict::Later { after: None, error: error_chain(&error) },
        })
    }
}

fn body(messages: &[Message], notices: &[Notice]) -> serde_json::Result<Bytes> {
    let pairs = messages.iter().zip(notices);
    let body = Body { alerts: pairs.map(|(message, notice)| Entry::of(message, notice)).collect() };
    serde_json::to_vec(&body).map(Bytes::from)
}

fn headers(secret: Option<&Secret>, body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    if let Some(signature) = secret.and_then(|secret| signature(secret, body)) {
        headers.insert(HeaderName::from_static(SIGNATURE), signature);
    }
    headers
}

/// HMAC takes a key of any length and hex digits are a header's value, so there always is one.
fn signature(secret: &Secret, body: &[u8]) -> Option<HeaderValue> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    let digest = hex::encode(mac.chain_update(body).finalize().into_bytes());
    HeaderValue::from_str(&format!("sha256={digest}")).ok()
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Verdict {
    let error = status.to_string();
    match status {
        status if status.is_success() => Verdict::Delivered,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Verdict::Never { error }
        }
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::GONE => Verdict::Misconfigured { error },
        status if status.is_redirection() => Verdict::Misconfigured { error },
        _ => {
            let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Verdict::Later { after: after.map(Duration::from_secs), error }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Account, Timestamp};

    use super::*;

    #[test]
    fn the_body_has_every_alert_with_its_key() {
        let alert = Alert::AccountResumed { account: Account("default".to_owned()) };
        let notice = Notice::new(alert, Timestamp::from_ms(1_795_317_438_042));
        let message = Message {
            id: 1,
            destination: String::new(),
            key: notice.key(),
            payload: String::new(),
            pushed_at: notice.at,
            attempts: 1,
        };
        let body = body(&[message], &[notice]).unwrap();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            "{\"alerts\":[{\"key\":\"account_resumed/default/1795317438042\",\"kind\":\"account_resumed\",\
             \"group\":\"accounts\",\"at\":\"2026-11-22T03:17:18.042Z\",\"count\":1,\
             \"first_at\":\"2026-11-22T03:17:18.042Z\",\
             \"text\":\"Account default is resumed: work starts on it again.\",\
             \"alert\":{\"kind\":\"account_resumed\",\"account\":\"default\"}}]}"
        );
    }

    #[test]
    fn the_signature_is_the_hmac_of_the_body() {
        // RFC 4231, test case 2.
        let signed = headers(Some(&Secret::new("Jefe")), b"what do ya want for nothing?");
        assert_eq!(
            signed.get(SIGNATURE).unwrap(),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(headers(None, b"x").get(SIGNATURE), None);
    }

    #[test]
    fn a_status_says_whose_fault_it_is() {
        let none = HeaderMap::new();
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), &none);
        assert_eq!([200, 202, 204].map(judged), [const { Verdict::Delivered }; 3]);
        assert!([400, 413, 422].map(judged).iter().all(|verdict| matches!(verdict, Verdict::Never { .. })));
        assert!(
            [301, 302, 401, 403, 404, 405, 410]
                .map(judged)
                .iter()
                .all(|verdict| matches!(verdict, Verdict::Misconfigured { .. }))
        );
        assert!(
            [408, 409, 429, 500, 503]
                .map(judged)
                .iter()
                .all(|verdict| matches!(verdict, Verdict::Later { .. }))
        );
        let named = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("9"))]);
        let expected = Verdict::Later {
            after: Some(Duration::from_secs(9)),
            error: "503 Service Unavailable".to_owned(),
        };
        assert_eq!(judge(StatusCode::SERVICE_UNAVAILABLE, &named), expected);
    }
}
