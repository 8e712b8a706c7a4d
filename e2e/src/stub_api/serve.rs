//! Accepts connections, reads requests, applies the next behaviour. HTTP/1.1 on loopback only.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::{self, Body, Message};
use super::{Behaviour, Credential, SeenRequest, State};

/// Largest request read: a conversation of the real CLI is below one megabyte.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A connection that is to be reset instead of answered; told to hyper as a failed service.
#[derive(Debug, thiserror::Error)]
#[error("connection reset on purpose")]
struct ResetConnection;

/// Accepts until it is dropped, which ends its connections too.
pub(super) async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An accept error (a client gone, descriptors short) concerns that one connection.
                if let Ok((stream, _peer)) = accepted {
                    connections.spawn(connection(stream, Arc::clone(&state)));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let socket = Arc::new(socket);
    let service = service_fn(move |request| {
        let (state, socket) = (Arc::clone(&state), Arc::clone(&socket));
        async move { respond(request, &state, &socket).await }
    });
    // A client that left, or our own reset: both are behaviours under test, not errors of the stub.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    request: Request<Incoming>,
    state: &State,
    socket: &OwnedFd,
) -> Result<Response<Body>, ResetConnection> {
    let (parts, body) = request.into_parts();
    let not_found = || Ok(answer::error(0, 404, "not_found_error", "Not found", &[]));
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return Ok(answer::error(0, 413, "request_too_large", "Request exceeds the maximum size", &[]));
    };
    let body = body.to_bytes();
    if parts.method == Method::HEAD {
        return Ok(answer::json_answer(StatusCode::OK, &Value::Null, 0, &[]));
    }
    match (parts.method, parts.uri.path()) {
        (Method::GET, "/stub/requests") => {
            let seen = json!(state.lock().seen);
            Ok(answer::json_answer(StatusCode::OK, &seen, 0, &[]))
        }
        (Method::POST, "/stub/script") => match super::parse_script(&String::from_utf8_lossy(&body)) {
            Ok(script) => {
                state.set_script(script);
                Ok(answer::json_answer(StatusCode::OK, &Value::Null, 0, &[]))
            }
            Err(error) => Ok(answer::error(0, 400, "invalid_request_error", &error.to_string(), &[])),
        },
        (Method::POST, "/v1/messages/count_tokens") => {
            Ok(answer::json_answer(StatusCode::OK, &json!({"input_tokens": 12}), 0, &[]))
        }
        (Method::POST, "/v1/messages") => {
            let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
                return Ok(answer::error(
                    0,
                    400,
                    "invalid_request_error",
                    "The request body is not valid JSON",
                    &[],
                ));
            };
            let (behaviour, serial) = state.take();
            state.record(seen(&behaviour, &asked, &parts.headers));
            behave(behaviour, serial, &asked, socket).await
        }
        _ => not_found(),
    }
}

fn seen(behaviour: &Behaviour, asked: &Value, headers: &http::HeaderMap) -> SeenRequest {
    let count = |field: &str| asked[field].as_array().map_or(0, Vec::len);
    let credential = if headers.contains_key("x-api-key") {
        Credential::Key
    } else if headers.contains_key(header::AUTHORIZATION) {
        Credential::Bearer
    } else {
        Credential::None
    };
    SeenRequest {
        behaviour: behaviour.to_string(),
        model: model(asked).to_owned(),
        stream: asked["stream"].as_bool().unwrap_or(false),
        messages: count("messages"),
        tools: count("tools"),
        credential,
    }
}

async fn behave(
    behaviour: Behaviour,
    serial: u64,
    asked: &Value,
    socket: &OwnedFd,
) -> Result<Response<Body>, ResetConnection> {
    let model = model(asked);
    let plain = |text| Message { serial, model, text, command: None, hang_mid: false };
    let send = |message: Message<'_>| {
        Ok(if asked["stream"].as_bool().unwrap_or(false) { message.streamed() } else { message.whole() })
    };
    let error = |status, kind, message: &str| Ok(answer::error(serial, status, kind, message, &[]));
    match behaviour {
        Behaviour::Ok(text) => send(plain(&text)),
        Behaviour::Tool(_) if brings_tool_result(asked) => send(plain("The command has run.")),
        Behaviour::Tool(command) => {
            send(Message { command: Some(&command), ..plain("I will run a command.") })
        }
        Behaviour::RateLimit { retry_after_s } => Ok(rate_limit(serial, model, retry_after_s)),
        Behaviour::UsageLimit { resets_in_s, claim } => Ok(usage_limit(serial, resets_in_s, &claim)),
        Behaviour::Overloaded => error(529, "overloaded_error", "Overloaded"),
        Behaviour::ServerError => error(500, "api_error", "Internal server error"),
        Behaviour::Unauthorized => error(401, "authentication_error", "invalid x-api-key"),
        Behaviour::ContextLength => {
            error(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum")
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::HangMid => {
            if asked["stream"].as_bool().unwrap_or(false) {
                send(Message { hang_mid: true, ..plain("This answer falls silent half way.") })
            } else {
                std::future::pending().await
            }
        }
        Behaviour::Reset => {
            // Closing with a zero linger time sends RST; should that fail, the client sees a plain close.
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
            Err(ResetConnection)
        }
        Behaviour::Slow(wait) => {
            tokio::time::sleep(wait).await;
            send(plain("Hello after a wait."))
        }
    }
}

fn model(asked: &Value) -> &str {
    asked["model"].as_str().unwrap_or_default()
}

fn brings_tool_result(asked: &Value) -> bool {
    let last = asked["messages"].as_array().and_then(|messages| messages.last());
    let blocks = last.and_then(|message| message["content"].as_array());
    blocks.is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"))
}

fn rate_limit(serial: u64, model: &str, retry_after_s: u64) -> Response<Body> {
    let message = format!(
        "This request would exceed your organization's rate limit of 30,000 input tokens per minute \
         (org: 00000000-0000-4000-8000-000000000000, model: {model})."
    );
    answer::error(serial, 429, "rate_limit_error", &message, &[("retry-after", retry_after_s.to_string())])
}

fn usage_limit(serial: u64, resets_in_s: u64, claim: &str) -> Response<Body> {
    let resets_at_s = (epoch_s() + resets_in_s).to_string();
    let window = if claim == "five_hour" { "5h" } else { "7d" };
    let of_window = |what: &str| format!("anthropic-ratelimit-unified-{window}-{what}");
    let (status, reset, utilization) = (of_window("status"), of_window("reset"), of_window("utilization"));
    let headers = [
        ("retry-after", resets_in_s.to_string()),
        ("anthropic-ratelimit-unified-status", "rejected".into()),
        ("anthropic-ratelimit-unified-reset", resets_at_s.clone()),
        ("anthropic-ratelimit-unified-representative-claim", claim.into()),
        ("anthropic-ratelimit-unified-fallback", "unavailable".into()),
        (status.as_str(), "rejected".into()),
        (reset.as_str(), resets_at_s),
        (utilization.as_str(), "1.0".into()),
    ];
    let message = "This request would exceed your account's rate limit. Please try again later.";
    answer::error(serial, 429, "rate_limit_error", message, &headers)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stand-in for a remote service, which has a wall clock of its own"
)]
fn epoch_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
