//! `/healthz`, `/readyz` and `/metrics`, the same on every service.
//!
//! Alive and ready are separate facts: a process without its database lives, and says what it waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;

pub use crate::metrics::Metrics;

/// Named conditions that must all hold before a service wants traffic. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    conditions: Arc<RwLock<BTreeMap<&'static str, Result<(), String>>>>,
}

#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    conditions: BTreeMap<&'static str, Condition>,
}

#[derive(Debug, Serialize)]
struct Condition {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Readiness {
    /// Conditions that do not hold until they are set; without any, the service is ready.
    pub fn new(conditions: &[&'static str]) -> Self {
        let unchecked = |name: &&'static str| (*name, Err("not checked yet".to_owned()));
        Self { conditions: Arc::new(RwLock::new(conditions.iter().map(unchecked).collect())) }
    }

    /// Says whether a condition holds, or why not; a name that is new is added. A change is logged.
    pub fn set(&self, name: &'static str, state: Result<(), String>) {
        let mut conditions = self.conditions.write().unwrap_or_else(PoisonError::into_inner);
        let before = conditions.insert(name, state.clone());
        drop(conditions);
        match (before, state) {
            (Some(before), after) if before == after => {}
            (_, Ok(())) => tracing::info!(condition = name, "ready"),
            (_, Err(reason)) => tracing::warn!(condition = name, reason, "not ready"),
        }
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.report().ready
    }

    fn report(&self) -> Report {
        let conditions = self.conditions.read().unwrap_or_else(PoisonError::into_inner);
        let conditions: BTreeMap<_, _> = conditions
            .iter()
            .map(|(name, state)| (*name, Condition { ok: state.is_ok(), reason: state.clone().err() }))
            .collect();
        Report { ready: conditions.values().all(|condition| condition.ok), conditions }
    }
}

/// The three routes: `/healthz` (200 while the process lives), `/readyz` (200, or 503 with the reasons),
/// `/metrics` (Prometheus text).
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || ready(&readiness)))
        .route("/metrics", get(async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.text())))
}

fn ready(readiness: &Readiness) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get_path(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let readiness = Readiness::new(&["database", "preflight"]);
        let metrics = Metrics::new();
        metrics.counter(&instruments::CLAIMS).inc(&[]);
        let router = router(readiness.clone(), metrics);
        readiness.set("preflight", Ok(()));
        assert_eq!(get_path(&router, "/healthz").await, (200, "ok\n".to_owned()));
        let waiting = r#"{"ready":false,"conditions":{"database":{"ok":false,"reason":"not checked yet"},"preflight":{"ok":true}}}"#;
        assert_eq!(get_path(&router, "/readyz").await, (503, waiting.to_owned()));
        readiness.set("database", Ok(()));
        let ready = r#"{"ready":true,"conditions":{"database":{"ok":true},"preflight":{"ok":true}}}"#;
        assert_eq!(get_path(&router, "/readyz").await, (200, ready.to_owned()));
        assert!(get_path(&router, "/metrics").await.1.ends_with("orch_claims_total 1\n"));
    }
}
