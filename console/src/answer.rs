//! The form of an answer that is not the document asked for, what every answer carries, and the count of them all.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Json, Response};
use serde::Serialize;
use service::health::Metrics;
use service::metrics::Counter;

/// Nothing but our own files, and those only as what they are. Pages of others may not frame ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

/// An answer that says in `error` what is wrong and what to do.
pub(crate) fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error })).into_response()
}

/// Whether a browser asks for something to look at; scripts get JSON.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .into_iter()
        .any(|accept| accept.to_str().is_ok_and(|kinds| kinds.contains("text/html")))
}

/// Puts what protects a page on every answer of `app`.
pub(crate) fn protected(app: Router) -> Router {
    app.layer(from_fn(async |request: Request, next: Next| {
        let mut answer = next.run(request).await;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        answer
    }))
}

/// Counts the answers of `app` by route and status.
pub(crate) fn counted(app: Router, metrics: &Metrics) -> Router {
    let requests = metrics.counter(&instruments::REQUESTS);
    app.layer(from_fn_with_state(requests, count))
}

async fn count(State(requests): State<Counter>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let answer = next.run(request).await;
    // Paths that match no route are one label, or strangers could make as many as they like.
    requests.inc(&[route.as_deref().unwrap_or("none"), answer.status().as_str()]);
    answer
}
