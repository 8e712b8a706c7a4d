//! One HTTP/1.1 request on a connection of its own: enough for tests, and no pool that hides a restart.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none; the message shows it.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("answer {} is no JSON: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }
}

/// `GET path`.
///
/// # Errors
/// No connection, no whole answer, or none within 30 s.
pub async fn get(addr: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    send(addr, Method::GET, path, HeaderMap::new(), Bytes::new()).await
}

/// `POST path` with these headers and body.
///
/// # Errors
/// As for [`get`].
pub async fn post(addr: SocketAddr, path: &str, headers: HeaderMap, body: Bytes) -> anyhow::Result<Answer> {
    send(addr, Method::POST, path, headers, body).await
}

/// One request of any method.
///
/// # Errors
/// As for [`get`].
pub async fn send(
    addr: SocketAddr,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Bytes,
) -> anyhow::Result<Answer> {
    let exchange = async {
        let stream = TcpStream::connect(addr).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(http::header::HOST, addr.to_string().parse()?);
        let answer = async move {
            let response = sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        // The sender is dropped with the answer, which ends the connection's future too.
        let (answer, _closed) = tokio::join!(answer, connection);
        answer
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.with_context(|| format!("{addr}{path}: no answer"))?
}
