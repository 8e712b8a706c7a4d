//! The console: the web page, and `GET /queue`, job details and run logs for scripts.
//!
//! It reads the database and never writes it; run logs come from the scheduler, which alone keeps them, and whatever a
//! person does is a call to the scheduler too.
//! It starts without a database and without a scheduler, says so at `/readyz`, and recovers when they appear.

mod access;
mod actions;
mod answer;
mod assets;
mod config;
mod database;
mod events;
mod history;
mod logs;
mod page;
mod routes;
mod snapshot;

use std::net::SocketAddr;

use anyhow::Context as _;
use proto::convert::QueueSettings;
use proto::v1::admin_service_client::AdminServiceClient;
use service::health::{Metrics, Readiness};
use service::lifecycle::Refused;
use service::settings::{DatabaseUrl, ListenerSettings, Secret, TlsSettings};
use service::{Clock, Tasks};
use tokio::net::TcpListener;

pub use config::{Cli, ConsoleReadToken, ConsoleToken, Settings, queue_facts};

/// What the console is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes any.
    pub addr: SocketAddr,
    /// What opens the console to look and to act; without it only loopback is served.
    pub token: Option<Secret>,
    /// What opens it to look.
    pub read_token: Option<Secret>,
    /// The database, opened for reading alone.
    pub database_url: DatabaseUrl,
    /// The scheduler's gRPC, for run logs.
    pub scheduler_url: String,
    /// Certificates for it.
    pub tls: TlsSettings,
    /// What the listener grants.
    pub listener: ListenerSettings,
    /// The settings that `GET /queue` shows.
    pub queue: QueueSettings,
    /// The time.
    pub clock: Clock,
}

/// A console that listens.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where.
    pub addr: SocketAddr,
}

/// Starts the console and serves until `tasks` are stopped; for `main`.
pub async fn serve(cli: Cli, tasks: Tasks) -> anyhow::Result<()> {
    start(cli.options(), tasks.clone()).await?;
    tasks.token().cancelled().await;
    Ok(())
}

/// Binds and starts the console's tasks on `tasks`; stopping them ends it.
///
/// # Errors
/// It would listen off loopback without a token, the tokens contradict each other, the port is taken, or the scheduler's
/// URL cannot be used.
pub async fn start(options: Options, tasks: Tasks) -> anyhow::Result<Handle> {
    check_listen(options.addr, options.token.as_ref())?;
    let access = access::Access::new(options.token, options.read_token, options.clock.clone())?;
    let listener = TcpListener::bind(options.addr)
        .await
        .with_context(|| format!("could not listen on {} (ORCH_CONSOLE_ADDR)", options.addr))?;
    let addr = listener.local_addr().context("could not read the address listened on")?;
    let connect = || {
        let channel = service::grpc::channel(&options.scheduler_url, &options.tls)?;
        let client = AdminServiceClient::new(channel);
        Ok::<_, Refused>(client.max_decoding_message_size(service::grpc::MESSAGE_BYTES_MAX))
    };
    let logs = (0..logs::CONNECTIONS).map(|_| connect()).collect::<Result<_, _>>()?;

    let readiness = Readiness::new(&[database::CONDITION]);
    let metrics = Metrics::new();
    let database = database::Database::new(options.database_url, readiness.clone());
    tasks.spawn("database", database.clone().keep_open(tasks.token()));

    let events = events::Events::new();
    let state = routes::State {
        database,
        queue: options.queue,
        admin: connect()?,
        logs: logs::Logs::new(logs),
        clock: options.clock,
        events: events.clone(),
        stop: tasks.token(),
    };
    tasks.spawn("events", events.run(state.clone(), tasks.token()));

    let app = access::guard(routes::router(state), access).merge(assets::router());
    let app = answer::protected(answer::counted(app, &metrics));
    let app = app.merge(service::health::router(readiness, metrics));
    tracing::info!(%addr, "listening");
    let (serving, limits) = (tasks.clone(), options.listener.limits());
    tasks.spawn("console", async move {
        service::server::serve(listener, app, limits, None, &serving).await;
    });
    Ok(Handle { addr })
}

fn check_listen(addr: SocketAddr, token: Option<&Secret>) -> Result<(), Refused> {
    if token.is_some() || addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Refused::new(format!(
        "the console at {addr} would be open to everybody who reaches it: set ORCH_CONSOLE_TOKEN, \
         or listen on loopback (ORCH_CONSOLE_ADDR=127.0.0.1:{})",
        addr.port()
    )))
}

#[cfg(test)]
mod tests;
