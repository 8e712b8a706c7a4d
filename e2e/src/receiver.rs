//! A loopback stand-in for Telegram's Bot API and for any webhook that takes alerts: it answers each POST with the next
//! answer of a script, and keeps what it was sent. It knows nothing of alerts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The largest body read.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The most requests kept.
const SEEN_MAX: usize = 10_000;

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// As the Bot API answers a message it took.
    Taken,
    /// With this status and body.
    Refused(u16, String),
    /// With a connection that is closed instead.
    Dropped,
    /// Never.
    Hung,
}

impl Reply {
    /// A refusal in the Bot API's form; `parameters` is JSON, such as `{"retry_after":3}`.
    pub fn refused(status: u16, description: &str, parameters: &str) -> Self {
        let body = format!(
            r#"{{"ok":false,"error_code":{status},"description":"{description}","parameters":{parameters}}}"#
        );
        Self::Refused(status, body)
    }
}

/// A request as it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// What it was answered with.
    pub reply: Reply,
}

impl Seen {
    /// A text field of the body, which is JSON; empty where there is none.
    pub fn field(&self, name: &str) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body[name].as_str().unwrap_or_default().to_owned()
    }
}

/// A running stand-in; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Receiver {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Reply>,
    seen: Vec<Seen>,
}

/// A connection that is closed on purpose; told to hyper as a failed service.
#[derive(Debug, thiserror::Error)]
#[error("dropped on purpose")]
struct OnPurpose;

impl Receiver {
    /// Takes everything on a free port of loopback.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, state) = (listener.local_addr()?, Arc::default());
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { addr, state, _serving: serving })
    }

    /// Where it is, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Answers with these next, then takes everything.
    pub fn answer_with(&self, script: impl IntoIterator<Item = Reply>) {
        lock(&self.state).script.extend(script);
    }

    /// Everything that was posted so far, the oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// What was taken so far, the oldest first.
    pub fn taken(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.reply == Reply::Taken).collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every change is complete before the lock goes.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let state = Arc::clone(&state);
                let service = service_fn(move |request| respond(request, Arc::clone(&state)));
                connections.spawn(async move {
                    // A client that left, or our own drop: both are behaviours under test.
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, OnPurpose> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| OnPurpose)?.to_bytes();
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let reply = {
        let mut state = lock(&state);
        let reply = state.script.pop_front().unwrap_or(Reply::Taken);
        if state.seen.len() < SEEN_MAX {
            state.seen.push(Seen { path, headers: head.headers, body, reply: reply.clone() });
        }
        reply
    };
    match reply {
        Reply::Taken => Ok(answer(200, r#"{"ok":true,"result":{"message_id":1}}"#.to_owned())),
        Reply::Refused(status, body) => Ok(answer(status, body)),
        Reply::Dropped => Err(OnPurpose),
        Reply::Hung => match std::future::pending::<Infallible>().await {},
    }
}

fn answer(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}
