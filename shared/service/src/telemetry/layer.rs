//! A span around every request, continuing the caller's trace.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::trace_context;

/// A tower layer that runs each request in a span of its own, for HTTP and gRPC servers alike.
#[derive(Clone, Copy, Debug)]
pub struct TraceLayer {
    trusts_caller: bool,
}

impl TraceLayer {
    /// For our own services: the span continues the caller's trace.
    pub fn internal() -> Self {
        Self { trusts_caller: true }
    }

    /// For ports that strangers reach: their `traceparent` is ignored, a new trace begins.
    pub fn public() -> Self {
        Self { trusts_caller: false }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TraceService { inner, trusts_caller: self.trusts_caller }
    }
}

/// The service [`TraceLayer`] makes.
#[derive(Clone, Debug)]
pub struct TraceService<S> {
    inner: S,
    trusts_caller: bool,
}

impl<S, B, R> Service<Request<B>> for TraceService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if matches!(path, "/healthz" | "/readyz" | "/metrics") {
            return Box::pin(self.inner.call(request));
        }
        let span = tracing::info_span!(
            "request",
            otel.name = format!("{} {path}", request.method()),
            otel.kind = "server",
            http.response.status_code = tracing::field::Empty,
        );
        if self.trusts_caller
            && let Some(traceparent) = trace_context::extract_headers(request.headers())
        {
            trace_context::set_parent(&span, &traceparent);
        }
        let future = span.in_scope(|| self.inner.call(request));
        let recorded = span.clone();
        Box::pin(
            async move {
                let response = future.await?;
                recorded.record("http.response.status_code", response.status().as_u16());
                Ok(response)
            }
            .instrument(span),
        )
    }
}
