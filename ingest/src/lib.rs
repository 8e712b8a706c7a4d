//! Webhooks in, jobs out: takes signed requests from Gitea, Forgejo and Plane and answers only after a commit.
//!
//! It calls no runner and holds no state in memory: what it accepted is in the database, and the scheduler finds it
//! there. What an event starts is decided by `domain::launch`.

mod accept;
mod config;
mod form;
mod gitea;
mod http;
mod identifier;
mod json;
mod linger;
mod nudge;
mod observed;
mod plane;
mod refusal;
mod signature;

use std::path::Path;
use std::sync::Arc;

use domain::pipeline::{ConfigError, Pipeline};
use service::health::{self, Metrics, Readiness};
use service::metrics::LATENCY_SECONDS;
use service::server::Limits;
use service::telemetry::TraceLayer;
use service::watched::Watched;
use service::{Clock, Tasks};
use store::Store;
use tokio::net::TcpListener;

pub use config::{
    Cli, GiteaWebhookSecret, GiteaWebhookSecretPrevious, PlaneWebhookSecret, PlaneWebhookSecretPrevious,
    Settings,
};
pub use nudge::Nudge;

/// What ingest works with besides its settings.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The database, with a schema that fits.
    pub store: Arc<dyn Store>,
    /// `orch.toml`, reloaded by whoever loaded it.
    pub pipeline: Watched<Pipeline>,
    /// The time.
    pub clock: Clock,
    /// Where the scheduler is told.
    pub nudge: Nudge,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: Metrics,
}

/// Reads `orch.toml`; the built-in default stands in when there is no such file.
///
/// # Errors
/// The file cannot be read, or is refused with its line and the reason.
pub fn load_pipeline(path: &Path) -> Result<Watched<Pipeline>, service::Refused> {
    Watched::load(path, Pipeline::default(), |path, text| {
        domain::pipeline::parse(text).map_err(|ConfigError { line, column, reason }| {
            format!("{}:{line}:{column}: {reason}", path.display())
        })
    })
}

/// Serves webhooks, health and metrics on `listener` until the tasks are stopped.
pub async fn serve(listener: TcpListener, settings: &Settings, parts: Parts, tasks: &Tasks) {
    let Parts { store, pipeline, clock, nudge, readiness, metrics } = parts;
    let app = http::App {
        gitea_secrets: settings.gitea_secrets(),
        plane_secrets: settings.plane_secrets(),
        body_bytes_max: settings.max_body_bytes,
        store,
        pipeline,
        clock,
        nudge,
        tasks: tasks.clone(),
        deliveries: metrics.counter(
            "orch_ingest_deliveries_total",
            "Webhook requests, by source, decision and status",
            &["source", "decision", "status"],
        ),
        answer_seconds: metrics.histogram(
            "orch_ingest_answer_seconds",
            "From the head of a webhook request to its answer",
            &["source"],
            LATENCY_SECONDS,
        ),
    };
    let webhooks = http::router(&Arc::new(app)).layer(TraceLayer::public());
    let router = health::router(readiness, metrics).merge(webhooks);
    service::server::serve(listener, router, Limits::default(), None, tasks).await;
}
