//! The form of an answer that is not the document asked for, and the count of all answers.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Json, Response};
use serde::Serialize;
use service::health::Metrics;
use service::metrics::Counter;

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

/// An answer that says in `error` what is wrong and what to do.
pub(crate) fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(Problem { error })).into_response()
}

/// Counts the answers of `app` by route and status.
pub(crate) fn counted(app: Router, metrics: &Metrics) -> Router {
    let requests =
        metrics.counter("orch_console_requests_total", "Answers of the console.", &["route", "status"]);
    app.layer(from_fn_with_state(requests, count))
}

async fn count(State(requests): State<Counter>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let answer = next.run(request).await;
    // Paths that match no route are one label, or strangers could make as many as they like.
    requests.inc(&[route.as_deref().unwrap_or("none"), answer.status().as_str()]);
    answer
}
