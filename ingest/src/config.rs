//! The settings of `orch-ingest`.

use std::net::SocketAddr;

use clap::Parser;
use service::Clock;
use service::server::Allowance;
use service::settings::{
    CommonFlags, DatabaseSettings, ListenerSettings, PipelineSettings, SchedulerAddrSettings,
    SchedulerEndpointSettings, SecretSetting, TelemetrySettings, TlsSettings,
};

use crate::Options;
use crate::signature::Secrets;

service::secret! {
    /// Secret of the Gitea or Forgejo webhook; without it that endpoint answers 503
    pub GiteaWebhookSecret = "ORCH_GITEA_WEBHOOK_SECRET";
    /// The Gitea or Forgejo webhook's secret before it was changed; taken as well
    pub GiteaWebhookSecretPrevious = "ORCH_GITEA_WEBHOOK_SECRET_PREVIOUS";
    /// Secret of the Plane webhook; without it that endpoint answers 503
    pub PlaneWebhookSecret = "ORCH_PLANE_WEBHOOK_SECRET";
    /// The Plane webhook's secret before it was changed; taken as well
    pub PlaneWebhookSecretPrevious = "ORCH_PLANE_WEBHOOK_SECRET_PREVIOUS";
}

/// What only ingest reads.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)] // every service has a group of this name, and `orch dev` has them all
pub struct Settings {
    /// Where webhooks are listened for
    #[arg(long, env = "ORCH_INGEST_ADDR", value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub ingest_addr: SocketAddr,
    /// Longest webhook body taken, in bytes
    #[arg(long, env = "ORCH_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 26_214_400)]
    pub max_body_bytes: u64,
    /// Requests of one address that may be refused at once (a wrong signature, a wrong path); further ones are answered 429. After four times as many of all addresses together each has a tenth. What is signed well is always taken
    #[arg(long, env = "ORCH_REFUSED_BURST", value_name = "N", default_value_t = 1000)]
    pub refused_burst: u32,
    /// And after that, how many a second
    #[arg(long, env = "ORCH_REFUSED_PER_SECOND", value_name = "N", default_value_t = 50)]
    pub refused_per_second: u32,
    /// The Gitea webhook's secret.
    #[command(flatten)]
    pub gitea_webhook_secret: SecretSetting<GiteaWebhookSecret>,
    /// The one before.
    #[command(flatten)]
    pub gitea_webhook_secret_previous: SecretSetting<GiteaWebhookSecretPrevious>,
    /// The Plane webhook's secret.
    #[command(flatten)]
    pub plane_webhook_secret: SecretSetting<PlaneWebhookSecret>,
    /// The one before.
    #[command(flatten)]
    pub plane_webhook_secret_previous: SecretSetting<PlaneWebhookSecretPrevious>,
}

impl Settings {
    /// What a source may send that is refused.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance { burst: self.refused_burst, per_second: self.refused_per_second }
    }

    /// The secrets Gitea and Forgejo may sign with.
    pub(crate) fn gitea_secrets(&self) -> Secrets {
        let current = self.gitea_webhook_secret.get().cloned();
        Secrets::new(current.into_iter().chain(self.gitea_webhook_secret_previous.get().cloned()))
    }

    /// The secrets Plane may sign with.
    pub(crate) fn plane_secrets(&self) -> Secrets {
        let current = self.plane_webhook_secret.get().cloned();
        Secrets::new(current.into_iter().chain(self.plane_webhook_secret_previous.get().cloned()))
    }
}

/// Takes signed webhooks from Gitea, Forgejo and Plane and commits them as jobs.
#[derive(Parser, Clone, Debug)]
#[command(name = "orch-ingest", version)]
pub struct Cli {
    /// Flags every process has.
    #[command(flatten)]
    pub common: CommonFlags,
    /// What only ingest reads.
    #[command(flatten)]
    pub ingest: Settings,
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Where projects, stages and triggers are described.
    #[command(flatten)]
    pub pipeline: PipelineSettings,
    /// Where the scheduler listens, when no URL is given.
    #[command(flatten)]
    pub scheduler_addr: SchedulerAddrSettings,
    /// Where the scheduler is reached.
    #[command(flatten)]
    pub scheduler: SchedulerEndpointSettings,
    /// Keys and certificates for the call to the scheduler.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// What its listener grants.
    #[command(flatten)]
    pub listener: ListenerSettings,
    /// What is logged and traced.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

impl Cli {
    /// What [`crate::start`] needs, on the host's clock.
    pub fn options(self) -> Options {
        Options {
            scheduler_url: self.scheduler.url_or(self.scheduler_addr.scheduler_addr, &self.tls),
            settings: self.ingest,
            database_url: self.database.database_url,
            config: self.pipeline.config,
            tls: self.tls,
            listener: self.listener,
            clock: Clock::system(),
        }
    }
}
