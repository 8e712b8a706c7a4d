//! The two webhook endpoints: every check in its order, and the answer.
//!
//! Order: a source that ran out of allowance and signs nothing, method, size, content type, signature over the raw bytes, headers, UTF-8, parse, shape, identifiers,
//! project, dedupe, commit. Nothing is believed before the signature.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::any;
use bytes::Bytes;
use domain::Timestamp;
use domain::pipeline::Pipeline;
use events::plan::{Envelope, plan};
use events::{Observed, gitea, identifier, plane};
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use service::metrics::{Counter, Histogram};
use service::server::{BodyError, Room, Source, read_body};
use service::telemetry::trace_context;
use service::watched::Watched;
use service::{Clock, Tasks};
use sha2::{Digest, Sha256};
use store::Store;
use tracing::Instrument as _;

use crate::accept::{self, Answer, Word};
use crate::doorman::{Doorman, Farewell};
use crate::nudge::Nudge;
use crate::refusal::Refusal;
use crate::signature::{Form, Secrets};
use crate::{form, json, linger, senders};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(8);

/// What both endpoints work with.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) doorman: Doorman,
    pub(crate) room: Room,
    pub(crate) gitea_secrets: Secrets,
    pub(crate) plane_secrets: Secrets,
    pub(crate) body_bytes_max: u64,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pipeline: Watched<Pipeline>,
    pub(crate) clock: Clock,
    pub(crate) nudge: Nudge,
    pub(crate) tasks: Tasks,
    pub(crate) deliveries: Counter,
    pub(crate) answer_seconds: Histogram,
}

/// Who sends to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Gitea,
    Plane,
}

impl Sender {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gitea => "gitea",
            Self::Plane => "plane",
        }
    }
}

/// `POST /webhooks/gitea` and `POST /webhooks/plane`; nothing else is here.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let endpoint = |sender| {
        let app = app.clone();
        any(move |request: Request<Body>| async move { app.answer(sender, request).await })
    };
    let elsewhere = app.clone();
    Router::new()
        .route("/webhooks/gitea", endpoint(Sender::Gitea))
        .route("/webhooks/plane", endpoint(Sender::Plane))
        .fallback(move |request: Request<Body>| async move {
            let (parts, body) = request.into_parts();
            linger::spawn(body, &elsewhere.tasks);
            elsewhere.refuse(None, elsewhere.doorman.source(&parts), Refusal::NotFound).await
        })
}

impl App {
    async fn answer(&self, sender: Sender, request: Request<Body>) -> Response {
        let started_ms = self.clock.boot_ms();
        let (parts, mut body) = request.into_parts();
        let source = self.doorman.source(&parts);
        let result = if self.doorman.is_out(source) && !is_signed(sender, &parts.headers) {
            Err(Refusal::TooMany)
        } else {
            self.take(sender, &parts.method, &parts.headers, &mut body).await
        };
        if !parts.headers.contains_key(EXPECT) {
            linger::spawn(body, &self.tasks);
        }
        let (decision, response) = match result {
            Ok(answer) => {
                tracing::info!(
                    source = sender.as_str(),
                    decision = answer.decision.as_str(),
                    job.ids = ?answer.job_ids,
                    "webhook taken"
                );
                let status = match answer.decision {
                    Word::Enqueued => StatusCode::ACCEPTED,
                    Word::Ignored | Word::Duplicate => StatusCode::OK,
                };
                (answer.decision.as_str(), (status, Json(answer)).into_response())
            }
            Err(refusal) => ("refused", self.refuse(Some(sender), source, refusal).await),
        };
        self.deliveries.inc(&[sender.as_str(), decision, response.status().as_str()]);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one request")]
        let seconds = (self.clock.boot_ms() - started_ms) as f64 / 1000.0;
        self.answer_seconds.observe(seconds, &[sender.as_str()]);
        response
    }

    /// The answer to what is refused. Of a source that ran out each says the same, comes late and is not logged.
    async fn refuse(&self, sender: Option<Sender>, source: Option<Source>, refusal: Refusal) -> Response {
        if !refusal.is_of_stranger() || self.doorman.refused(source) {
            if let Some(sender) = sender {
                let status = refusal.status().as_u16();
                tracing::warn!(source = sender.as_str(), status, reason = %refusal, "webhook refused");
            }
            return refuse(refusal);
        }
        let farewell = self.doorman.hold_back().await;
        let mut response = refuse(Refusal::TooMany);
        if farewell == Farewell::Closed || refusal.closes() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
        response
    }

    async fn take(
        &self,
        sender: Sender,
        method: &Method,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Answer, Refusal> {
        if method != Method::POST {
            return Err(Refusal::Method);
        }
        if declared_bytes(headers).is_some_and(|bytes| bytes > self.body_bytes_max) {
            return Err(Refusal::TooLarge);
        }
        let is_form = is_form(sender, headers)?;
        let whole = read_body(body, self.body_bytes_max, BODY_TIMEOUT, &self.room).await.map_err(
            |error| match error {
                BodyError::TooLarge { .. } => Refusal::TooLarge,
                BodyError::TooSlow { .. } => Refusal::Slow,
                BodyError::Broken(_) => Refusal::Broken,
            },
        )?;
        let received_at = Timestamp::from_ms(self.clock.now_ms());

        let body = &whole.bytes;
        let payload = if is_form { form::payload(body).map(Bytes::from) } else { Some(body.clone()) };
        self.verify(sender, headers, payload.as_deref().unwrap_or_default())?;
        let (event, delivery_id) = names(sender, headers)?;
        let payload = payload.ok_or(Refusal::NoPayload)?;
        let text = str::from_utf8(&payload).map_err(|_| Refusal::NotUtf8)?;
        let object = json::parse_object(text).map_err(|error| {
            tracing::debug!(error, "the body is not strict JSON");
            Refusal::NotJson
        })?;
        let observed = observe(sender, event, &object)?;

        let span = tracing::info_span!("enqueue", source = sender.as_str(), event);
        let envelope = Envelope {
            source: sender.as_str(),
            delivery_id,
            event: event.to_owned(),
            body_sha256: hex::encode(Sha256::digest(&payload)),
            received_at,
            trace_context: trace_context::of(&span),
        };
        let told = observed.account.payload(object, payload.len());
        let delivery = plan(&self.pipeline.get(), envelope, &observed, told)?;
        let answer = accept::commit(self.store.as_ref(), delivery).instrument(span).await?;
        if answer.decision == Word::Enqueued {
            self.nudge.ask();
        }
        Ok(answer)
    }

    fn verify(&self, sender: Sender, headers: &HeaderMap, signed: &[u8]) -> Result<(), Refusal> {
        let (secrets, unset) = match sender {
            Sender::Gitea => (&self.gitea_secrets, Refusal::NoGiteaSecret),
            Sender::Plane => (&self.plane_secrets, Refusal::NoPlaneSecret),
        };
        let forms = signatures(sender);
        if secrets.is_empty() {
            return Err(unset);
        }
        if secrets.verify(headers, forms, signed) { Ok(()) } else { Err(Refusal::Signature) }
    }
}

/// The headers that a sender signs in.
fn signatures(sender: Sender) -> &'static [(&'static str, Form)] {
    match sender {
        Sender::Gitea => senders::GITEA_SIGNATURES,
        Sender::Plane => senders::PLANE_SIGNATURES,
    }
}

/// Whether there is anything that may turn out to be a signature.
fn is_signed(sender: Sender, headers: &HeaderMap) -> bool {
    signatures(sender).iter().any(|(name, _)| headers.contains_key(*name))
}

/// The event's name and the delivery id, as a UUID in lower case.
fn names(sender: Sender, headers: &HeaderMap) -> Result<(&str, String), Refusal> {
    let (event, deliveries) = match sender {
        Sender::Gitea => (senders::gitea_event(headers), senders::GITEA_DELIVERIES),
        Sender::Plane => (senders::plane_event(headers), senders::PLANE_DELIVERIES),
    };
    let event = event.ok_or(Refusal::NoEvent)?;
    let delivery = deliveries.iter().find_map(|name| headers.get(*name)).ok_or(Refusal::NoDelivery)?;
    let id = delivery.to_str().ok().and_then(identifier::uuid).ok_or(Refusal::DeliveryId)?;
    Ok((event, id.to_string()))
}

fn observe(sender: Sender, event: &str, object: &Map<String, Value>) -> Result<Observed, events::Refusal> {
    match sender {
        Sender::Gitea => gitea::observe(event, object),
        Sender::Plane => plane::observe(event, object),
    }
}

fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the body is a form rather than JSON; anything else is refused.
fn is_form(sender: Sender, headers: &HeaderMap) -> Result<bool, Refusal> {
    let encodings = headers.get_all(CONTENT_ENCODING);
    if encodings.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::ContentEncoding);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return Err(Refusal::ContentType) };
    let mut pieces = value.to_str().map_err(|_| Refusal::ContentType)?.split(';').map(str::trim);
    let essence = pieces.next().unwrap_or_default();
    let in_utf8 = pieces.all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            let charset = charset.trim().trim_matches('"');
            ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
        }
        Some(_) | None => true,
    });
    if !in_utf8 {
        return Err(Refusal::ContentType);
    }
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(false)
    } else if sender == Sender::Gitea && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Ok(true)
    } else {
        Err(Refusal::ContentType)
    }
}

fn refuse(refusal: Refusal) -> Response {
    let mut response = (refusal.status(), Json(json!({ "error": refusal.to_string() }))).into_response();
    if refusal == Refusal::Method {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if refusal.closes() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_or_json(sender: Sender, pairs: &[(&'static str, &'static str)]) -> Result<bool, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        is_form(sender, &headers)
    }

    #[test]
    fn content_types() {
        let cases: [(&str, Result<bool, Refusal>); 13] = [
            ("application/json", Ok(false)),
            ("Application/JSON; charset=UTF-8", Ok(false)),
            ("application/json;charset=\"utf-8\"", Ok(false)),
            ("application/json;", Ok(false)),
            ("application/json; boundary=x", Ok(false)),
            ("application/x-www-form-urlencoded", Ok(true)),
            ("application/x-www-form-urlencoded; charset=utf-8", Ok(true)),
            ("application/json; charset=utf-16", Err(Refusal::ContentType)),
            ("text/plain", Err(Refusal::ContentType)),
            ("application/jsonp", Err(Refusal::ContentType)),
            ("application/problem+json", Err(Refusal::ContentType)),
            ("multipart/form-data; boundary=x", Err(Refusal::ContentType)),
            ("", Err(Refusal::ContentType)),
        ];
        for (value, expected) in cases {
            assert_eq!(form_or_json(Sender::Gitea, &[("content-type", value)]), expected, "{value}");
        }
        let form = [("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(form_or_json(Sender::Plane, &form), Err(Refusal::ContentType));
        assert_eq!(form_or_json(Sender::Gitea, &[]), Err(Refusal::ContentType));
        let json = ("content-type", "application/json");
        assert_eq!(form_or_json(Sender::Gitea, &[json, json]), Err(Refusal::ContentType));
        assert_eq!(
            form_or_json(Sender::Gitea, &[json, ("content-encoding", "gzip")]),
            Err(Refusal::ContentEncoding)
        );
        assert_eq!(form_or_json(Sender::Gitea, &[json, ("content-encoding", "identity")]), Ok(false));
    }
}
