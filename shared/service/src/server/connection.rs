//! One connection from handshake to close.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower::ServiceExt as _;

use super::{Limits, Server};
use crate::net::Stream;
use crate::tasks::panic_message;
use crate::tls::{Accepted, Caller};

impl Server {
    /// Serves one connection; returns when it is closed, by whichever side.
    pub(super) async fn connection(
        self: &Arc<Self>,
        stream: Stream,
        peer: SocketAddr,
        cut: &CancellationToken,
    ) {
        // hyper itself never panics on input as far as anybody knows; if it does, one connection is lost, not the process.
        let served = AssertUnwindSafe(self.handshake_and_serve(stream, peer, cut)).catch_unwind().await;
        if let Err(panic) = served {
            tracing::error!(%peer, panic = panic_message(panic.as_ref()), "a connection panicked");
        }
    }

    async fn handshake_and_serve(
        self: &Arc<Self>,
        stream: Stream,
        peer: SocketAddr,
        cut: &CancellationToken,
    ) {
        let Some(acceptor) = &self.tls else {
            return self.serve(stream, From { peer, caller: Caller::Plaintext, left: None }, cut).await;
        };
        let handshake = tokio::time::timeout(self.limits.handshake, acceptor.accept(stream));
        let handshake = self.stop.run_until_cancelled(handshake);
        match cut.run_until_cancelled(handshake).await.flatten() {
            Some(Ok(Ok(Accepted { stream, caller, left }))) => {
                self.serve(stream, From { peer, caller, left }, cut).await;
            }
            Some(Ok(Err(error))) => tracing::info!(%peer, %error, "handshake refused"),
            Some(Err(_elapsed)) => tracing::info!(%peer, "handshake took too long"),
            None => {}
        }
    }

    async fn serve(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        from: From,
        cut: &CancellationToken,
    ) {
        let (requests, _) = watch::channel(Requests::default());
        let (peer, left) = (from.peer, from.left);
        let from = Arc::new(from);
        let service =
            service_fn(|request| self.clone().answer(request, from.clone(), InProgress::begin(&requests)));
        let builder = builder(&self.limits);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut idle = pin!(idle(requests.subscribe(), self.limits.first_request, self.limits.idle));
        let mut over = pin!(certificate_over(left));
        let mut overdue = pin!(cut_after(left, self.limits.drain));
        let mut ending = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                    return;
                }
                () = cut.cancelled() => return,
                () = overdue.as_mut() => return,
                () = self.stop.cancelled(), if !ending => {}
                () = idle.as_mut(), if !ending => {}
                () = over.as_mut(), if !ending => {}
            }
            ending = true;
            connection.as_mut().graceful_shutdown();
        }
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        from: Arc<From>,
        in_progress: InProgress,
    ) -> Result<Response<Counted>, Infallible> {
        let path = request.uri().path();
        if self.tls.as_ref().is_some_and(|acceptor| !acceptor.lets_in(&from.caller, path)) {
            tracing::warn!(peer = %from.peer, path, "refused: no certificate was shown");
            let refusal =
                Status::unauthenticated("show a certificate: see `orch join-token` and `orch ca issue`");
            return Ok(refusal.into_http::<Body>().map(|body| Counted { body, _in_progress: in_progress }));
        }
        request.extensions_mut().insert(ConnectInfo(from.peer));
        request.extensions_mut().insert(from.caller.clone());
        let request = request.map(|body| Timed { body, limit: self.limits.body, over: None });
        let response = answer(self.app.clone(), request, from.peer).await;
        Ok(response.map(|body| Counted { body, _in_progress: in_progress }))
    }
}

/// The other end of a connection.
struct From {
    peer: SocketAddr,
    caller: Caller,
    /// How long its certificate still counts.
    left: Option<Duration>,
}

/// Returns when the caller's certificate has ended; never without one.
async fn certificate_over(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

/// Returns when what was under way at the end of the certificate has had its time.
async fn cut_after(left: Option<Duration>, drain: Duration) {
    certificate_over(left.map(|left| left.saturating_add(drain))).await;
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .max_concurrent_streams(limits.streams_max)
        .max_send_buf_size(limits.send_bytes_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX));
    builder
}

/// The requests of one connection so far.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    begun: u64,
    in_progress: usize,
}

/// Returns when no request was in progress for `between`, or, before the first one, for `first`.
async fn idle(mut requests: watch::Receiver<Requests>, first: Duration, between: Duration) {
    loop {
        let Ok(now) = requests.wait_for(|requests| requests.in_progress == 0).await.map(|now| *now) else {
            return;
        };
        let patience = if now.begun == 0 { first } else { between };
        match tokio::time::timeout(patience, requests.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn answer(app: Router, request: Request<Timed>, peer: SocketAddr) -> Response<Body> {
    match AssertUnwindSafe(app.oneshot(request.map(Body::new))).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(panic) => {
            tracing::error!(%peer, panic = panic_message(panic.as_ref()), "a request handler panicked");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A request that has not been answered to the last byte.
struct InProgress(watch::Sender<Requests>);

impl InProgress {
    fn begin(requests: &watch::Sender<Requests>) -> Self {
        requests.send_modify(|requests| {
            requests.begun += 1;
            requests.in_progress += 1;
        });
        Self(requests.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.in_progress -= 1);
    }
}

/// The body of a request, which breaks off when it takes too long: whoever reads it, a handler that has no deadline of its
/// own does not wait for a client for ever.
struct Timed {
    body: Incoming,
    limit: Duration,
    /// The end of its time, once somebody has had to wait for it.
    over: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit;
        let over = self.over.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        over.as_mut().poll(context).map(|()| Some(Err("the body took too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response body that keeps its request in progress: a stream that is still open is not idle.
struct Counted {
    body: Body,
    _in_progress: InProgress,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_over_before_anybody_looked_still_counts_as_the_first() {
        let (requests, receiver) = watch::channel(Requests::default());
        drop(InProgress::begin(&requests));
        let (first, between) = (Duration::from_secs(30), Duration::from_secs(2));
        let started = tokio::time::Instant::now();
        idle(receiver, first, between).await;
        assert_eq!(started.elapsed(), between);
    }
}
