//! Webhooks in, jobs out: takes signed requests from Gitea, Forgejo and Plane and answers only after a commit.
//!
//! It calls no runner and holds no state in memory: what it accepted is in the database, and the scheduler finds it
//! there. What a body says is read by `events`, what it starts decided by `domain::launch`.

mod accept;
mod config;
mod doorman;
mod form;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod json;
mod linger;
mod nudge;
mod refusal;
mod senders;
mod signature;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use domain::pipeline::Pipeline;
use service::health::{self, Metrics, Readiness};
use service::server::Room;
use service::settings::{DatabaseUrl, ListenerSettings, TlsSettings};
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

use doorman::Doorman;

/// The condition of `/readyz`: the database answers and its schema fits.
pub const SCHEMA: &str = "schema";
/// How often that is looked at.
const SCHEMA_POLL: Duration = Duration::from_secs(2);
/// What bodies beyond their first 64 KiB may take together; at least two of the longest fit.
const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long one look may take.
const SCHEMA_DEADLINE: Duration = Duration::from_secs(4);

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
    /// What the listener grants.
    pub listener: ListenerSettings,
}

/// Reads `orch.toml`; the built-in default stands in when there is no such file.
///
/// # Errors
/// The file cannot be read, or is refused with its line and the reason.
pub fn load_pipeline(path: &Path) -> Result<Watched<Pipeline>, service::Refused> {
    Watched::load(path, Pipeline::default(), |path, text| {
        domain::pipeline::parse(text).map_err(|error| format!("{}: {error}", path.display()))
    })
}

/// What ingest is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its own settings; port 0 takes any.
    pub settings: Settings,
    /// The database.
    pub database_url: DatabaseUrl,
    /// The path of `orch.toml`.
    pub config: PathBuf,
    /// The scheduler's gRPC, for nudges.
    pub scheduler_url: String,
    /// Certificates for it.
    pub tls: TlsSettings,
    /// What the listener grants.
    pub listener: ListenerSettings,
    /// The time.
    pub clock: Clock,
}

/// An ingest that listens.
#[derive(Debug, Clone, Copy)]
pub struct Handle {
    /// Where.
    pub addr: SocketAddr,
}

/// Runs the process until the tasks are stopped.
///
/// # Errors
/// See [`start`].
pub async fn run(cli: Cli, tasks: Tasks) -> anyhow::Result<()> {
    start(cli.options(), tasks.clone()).await?;
    tasks.token().cancelled().await;
    Ok(())
}

/// Reads `orch.toml`, listens, opens the database, and serves on `tasks`; stopping them ends it.
///
/// # Errors
/// `orch.toml`, the database or the address cannot be used; [`service::Refused`] when trying again will not help.
pub async fn start(options: Options, tasks: Tasks) -> anyhow::Result<Handle> {
    let pipeline = load_pipeline(&options.config)?;
    let channel = service::grpc::channel(&options.scheduler_url, &options.tls)?;
    let settings = options.settings;
    let listener = TcpListener::bind(settings.ingest_addr)
        .await
        .with_context(|| format!("could not listen on {} (ORCH_INGEST_ADDR)", settings.ingest_addr))?;
    let addr = listener.local_addr().context("could not read the address listened on")?;
    let store = store::open(options.database_url.expose(), store::Access::Write).await.map_err(refused)?;
    pipeline.spawn(&tasks);
    let parts = Parts {
        store: store.clone(),
        pipeline,
        clock: options.clock,
        nudge: Nudge::spawn(channel, &tasks),
        readiness: Readiness::new(&[SCHEMA]),
        metrics: Metrics::new(),
        listener: options.listener,
    };
    tracing::info!(%addr, "listening");
    let serving = tasks.clone();
    tasks.spawn("ingest", async move {
        serve(listener, &settings, parts, &serving).await;
        store.close().await;
    });
    Ok(Handle { addr })
}

/// What starting again does not mend, told apart from what it may.
fn refused(error: store::Error) -> anyhow::Error {
    match error {
        store::Error::Newer { .. } | store::Error::Older { .. } | store::Error::Setup(_) => {
            service::Refused::new(error).into()
        }
        store::Error::Unavailable(_) | store::Error::Corrupt(_) | store::Error::Closed => error.into(),
    }
}

/// Serves webhooks, health and metrics on `listener` until the tasks are stopped.
pub async fn serve(listener: TcpListener, settings: &Settings, parts: Parts, tasks: &Tasks) {
    let Parts { store, pipeline, clock, nudge, readiness, metrics, listener: grants } = parts;
    let commit = metrics.histogram(&instruments::COMMIT);
    store.observe_commits(Box::new(move |took| commit.observe(took.as_secs_f64(), &[])));
    watch_schema(store.clone(), readiness.clone(), tasks);
    let (allowance, limits) = (settings.allowance(), grants.limits());
    // A single source can fill its share of the connections, and wait there.
    let seats = limits.connections_per_source_max;
    let app = http::App {
        doorman: Doorman::new(allowance, grants.proxies(), seats, clock.clone(), tasks.token()),
        room: Room::new(
            BODIES_BYTES_MAX.max(2 * usize::try_from(settings.max_body_bytes).unwrap_or(usize::MAX / 2)),
        ),
        gitea_secrets: settings.gitea_secrets(),
        plane_secrets: settings.plane_secrets(),
        body_bytes_max: settings.max_body_bytes,
        store,
        pipeline,
        clock,
        nudge,
        tasks: tasks.clone(),
        deliveries: metrics.counter(&instruments::DELIVERIES),
        answer_seconds: metrics.histogram(&instruments::ANSWER),
    };
    let webhooks = http::router(&Arc::new(app)).layer(TraceLayer::public());
    let router = health::router(readiness, metrics).merge(webhooks);
    service::server::serve(listener, router, limits, None, tasks).await;
}

/// Keeps `/readyz` true to the database.
fn watch_schema(store: Arc<dyn Store>, readiness: Readiness, tasks: &Tasks) {
    let stop = tasks.token();
    tasks.spawn("schema", async move {
        let mut ticks = tokio::time::interval(SCHEMA_POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let state = match tokio::time::timeout(SCHEMA_DEADLINE, store.schema()).await {
                Ok(Ok(schema)) if schema.found == schema.needed => Ok(()),
                Ok(Ok(schema)) => {
                    Err(format!("the schema is {}, this program needs {}", schema.found, schema.needed))
                }
                Ok(Err(error)) => Err(error.with_causes()),
                Err(_elapsed) => Err("the database did not answer in time".to_owned()),
            };
            readiness.set(SCHEMA, state);
        }
    });
}
