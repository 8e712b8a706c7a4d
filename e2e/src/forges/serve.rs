//! Accepts connections, reads requests, applies faults. HTTP/1.1 on loopback only.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::faults::{Fault, Faults};

/// The largest body read: a push of a test's repository.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path as it came, without the query.
    pub path: String,
    /// Its query, decoded.
    pub query: Vec<(String, String)>,
    /// Its query as it came.
    pub(super) raw_query: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Asked {
    /// The first value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.param(name)?.parse().ok()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The decoded segments of the path.
    pub(super) fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|part| !part.is_empty()).map(|part| decoded(part).into_owned()).collect()
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Said {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: Bytes::from(body.to_string()) }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// A forge behind the wire.
pub(super) trait Api: Send + Sync + 'static {
    fn faults(&self) -> &Faults;
    /// What a fault's status is answered with.
    fn failure(&self, status: u16) -> Said;
    /// What too much is answered with.
    fn limited(&self, retry_after_s: u64) -> Said;
    /// Does what is asked.
    fn answer(&self, asked: Asked) -> impl Future<Output = Said> + Send;
}

/// A connection that is closed on purpose; told to hyper as a failed service.
#[derive(Debug, thiserror::Error)]
#[error("dropped on purpose")]
struct OnPurpose;

/// Accepts until it is dropped, which ends its connections too.
pub(super) async fn accept<A: Api>(listener: TcpListener, api: Arc<A>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An accept error concerns that one connection.
                let Ok((stream, _)) = accepted else { continue };
                let api = Arc::clone(&api);
                let service = service_fn(move |request| respond(request, Arc::clone(&api)));
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

async fn respond<A: Api>(
    request: Request<Incoming>,
    api: Arc<A>,
) -> Result<Response<Full<Bytes>>, OnPurpose> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| OnPurpose)?.to_bytes();
    let raw_query = head.uri.query().unwrap_or_default().to_owned();
    let asked = Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: pairs(&raw_query),
        raw_query,
        headers: head.headers,
        body,
    };
    let said = match api.faults().take(&asked.method, &asked.path) {
        None => api.answer(asked).await,
        Some(Fault::Status(status)) => api.failure(status),
        Some(Fault::Limited(retry_after_s)) => api.limited(retry_after_s),
        Some(Fault::DropBefore) => return Err(OnPurpose),
        Some(Fault::DropAfter) => {
            api.answer(asked).await;
            return Err(OnPurpose);
        }
        Some(Fault::StatusAfter(status)) => {
            api.answer(asked).await;
            api.failure(status)
        }
        Some(Fault::Slow(time)) => {
            let said = api.answer(asked).await;
            tokio::time::sleep(time).await;
            said
        }
        Some(Fault::Hang) => {
            api.answer(asked).await;
            match std::future::pending::<Infallible>().await {}
        }
    };
    Ok(said.response())
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| decoded(&text.replace('+', " ")).into_owned();
        (plain(name), plain(value))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}
