//! The console's settings, and the command line of `orch-console` that composes them with the shared groups.

use std::net::SocketAddr;

use clap::{Args, Parser};
use proto::convert::QueueSettings as QueueFacts;
use service::Clock;
use service::settings::{
    CommonFlags, DatabaseSettings, ListenerSettings, QueueSettings, SchedulerAddrSettings,
    SchedulerEndpointSettings, SecretSetting, TelemetrySettings, TlsSettings,
};

use crate::Options;

service::secret! {
    /// Token that opens the console, at its login or as `Authorization: Bearer TOKEN`; without one it serves loopback only.
    pub ConsoleToken = "ORCH_CONSOLE_TOKEN";
    /// Token that opens the console to look and not to act; needs ORCH_CONSOLE_TOKEN beside it.
    pub ConsoleReadToken = "ORCH_CONSOLE_READ_TOKEN";
}

/// What only the console reads.
#[derive(Args, Clone, Debug)]
#[group(skip)] // every service has a group of this name, and `orch dev` has them all
pub struct Settings {
    /// Where the console listens for HTTP
    #[arg(long, env = "ORCH_CONSOLE_ADDR", value_name = "ADDR:PORT", default_value = "127.0.0.1:8081")]
    pub console_addr: SocketAddr,
    /// What requests must show.
    #[command(flatten)]
    pub console_token: SecretSetting<ConsoleToken>,
    /// What requests that only look may show instead.
    #[command(flatten)]
    pub console_read_token: SecretSetting<ConsoleReadToken>,
}

/// The web side of Orch: the page, GET /queue, job details and run logs; reads the database and never writes it
#[derive(Clone, Debug, Parser)]
#[command(name = "orch-console", version)]
pub struct Cli {
    /// Flags every process has.
    #[command(flatten)]
    pub common: CommonFlags,
    /// The console's own.
    #[command(flatten)]
    pub console: Settings,
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Where the scheduler is.
    #[command(flatten)]
    pub scheduler: SchedulerEndpointSettings,
    /// Where the scheduler listens.
    #[command(flatten)]
    pub scheduler_addr: SchedulerAddrSettings,
    /// What the scheduler obeys and `GET /queue` shows.
    #[command(flatten)]
    pub queue: QueueSettings,
    /// Certificates for gRPC.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// What its listener grants.
    #[command(flatten)]
    pub listener: ListenerSettings,
    /// Logs, traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

impl Cli {
    /// What [`crate::start`] needs.
    pub fn options(&self) -> Options {
        Options {
            addr: self.console.console_addr,
            token: self.console.console_token.get().cloned(),
            read_token: self.console.console_read_token.get().cloned(),
            database_url: self.database.database_url.clone(),
            scheduler_url: self.scheduler.url_or(self.scheduler_addr.scheduler_addr, &self.tls),
            tls: self.tls.clone(),
            listener: self.listener.clone(),
            queue: queue_facts(&self.queue),
            clock: Clock::system(),
        }
    }
}

/// The settings that `GET /queue` shows.
pub fn queue_facts(settings: &QueueSettings) -> QueueFacts {
    QueueFacts {
        concurrency_max: settings.max_concurrency,
        sanitize_enabled: settings.impossible_queued_sanitize_enabled,
        breaker_threshold: settings.breaker_threshold,
    }
}
