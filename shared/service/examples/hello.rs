//! The smallest whole service: settings, start and stop, health, one route. `tests/process.rs` runs it.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use clap::Parser;
use service::health::{self, Metrics, Readiness};
use service::server::{self, Limits};
use service::settings::{self, CommonFlags, SecretSetting, TelemetrySettings, TlsSettings};
use service::telemetry::TraceLayer;
use service::{Refused, Tasks, grpc, lifecycle};
use tokio::net::TcpListener;

service::secret! {
    /// Word that the service must know to start.
    HelloPassword = "ORCH_HELLO_PASSWORD";
}

/// Greets whoever asks
#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    _common: CommonFlags,
    #[command(flatten)]
    telemetry: TelemetrySettings,
    #[command(flatten)]
    tls: TlsSettings,
    #[command(flatten)]
    password: SecretSetting<HelloPassword>,
    /// Address to listen on
    #[arg(long, env = "ORCH_HELLO_ADDR", default_value = "127.0.0.1:0")]
    hello_addr: SocketAddr,
}

fn main() -> ExitCode {
    match settings::parse::<Settings>() {
        Ok(settings) => lifecycle::run("hello", &settings.telemetry.clone(), |tasks| hello(settings, tasks)),
        Err(code) => code,
    }
}

async fn hello(settings: Settings, tasks: Tasks) -> anyhow::Result<()> {
    if settings.password.get().is_none() {
        return Err(Refused::new("ORCH_HELLO_PASSWORD is not set: nobody is greeted without it").into());
    }
    grpc::check_listen(settings.hello_addr, &settings.tls)?;
    let listener = TcpListener::bind(settings.hello_addr).await.context("could not listen")?;
    let addr = listener.local_addr()?;
    let readiness = Readiness::new(&[]);
    let doomed = tasks.clone();
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/log", get(async || tracing::info!(job.id = 7, "as asked")))
        .route("/panic", get(async move || drop(doomed.spawn("doomed", async { panic!("as asked") }))))
        .route("/hang", get(hang))
        .layer(TraceLayer::public())
        .merge(health::router(readiness, Metrics::new()));
    tracing::info!(%addr, "listening");
    server::serve(listener, app, Limits::default(), settings.tls.acceptor()?, &tasks).await;
    Ok(())
}

async fn hang() {
    tracing::info!("hanging");
    std::future::pending::<()>().await;
}
