//! The scheduler's own settings, and what is made of them and of the shared groups.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser};
use domain::Policy;
use domain::breaker::BreakerTerms;
use proto::convert;
use service::settings::{
    CaSettings, CommonFlags, DatabaseSettings, DatabaseUrl, ForgeSettings, ListenerSettings,
    PipelineSettings, QueueSettings, SchedulerAddrSettings, TelemetrySettings, TlsSettings, duration,
};
use service::{Clock, Random, Refused};

use crate::lease::LeaseTerms;
use crate::outbox::{AlertSettings, Reporting, Sinks};
use crate::retention::{Retention, RetentionSettings};

/// Claims due jobs, dispatches them to runners, and records what became of them
#[derive(Clone, Debug, Parser)]
#[command(name = "orch-scheduler", version)]
pub struct Cli {
    /// Where it listens.
    #[command(flatten)]
    pub addr: SchedulerAddrSettings,
    /// The settings only the scheduler reads.
    #[command(flatten)]
    pub scheduler: Settings,
    /// What `GET /queue` shows too.
    #[command(flatten)]
    pub queue: QueueSettings,
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Where `orch.toml` is.
    #[command(flatten)]
    pub pipeline: PipelineSettings,
    /// The tracker and the forge.
    #[command(flatten)]
    pub forges: ForgeSettings,
    /// Certificates for gRPC.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// What its listener grants.
    #[command(flatten)]
    pub listener: ListenerSettings,
    /// The certificate authority.
    #[command(flatten)]
    pub ca: CaSettings,
    /// How long certificates are for that nodes and the scheduler itself get from `ORCH_CA_DIR`; they are replaced after a third of it
    #[arg(long, env = "ORCH_CERTIFICATE_LIFETIME", value_name = "DURATION", default_value = "3d", value_parser = duration)]
    pub certificate_lifetime: Duration,
    /// Logs, traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
    /// Flags every process has.
    #[command(flatten)]
    pub common: CommonFlags,
}

/// The settings only the scheduler reads.
#[derive(Args, Clone, Debug)]
#[group(skip)] // every service has a group of this name, and `orch dev` has them all
pub struct Settings {
    /// How often the queue is looked at when nothing announced work
    #[arg(long, env = "ORCH_QUEUE_POLL_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub queue_poll_interval: Duration,
    /// The PostgreSQL server itself, where `ORCH_DATABASE_URL` names a transaction-pooling proxy: there, announcements of work are heard at once
    #[arg(long, env = "ORCH_DATABASE_LISTEN_URL", value_name = "URL")]
    pub database_listen_url: Option<DatabaseUrl>,
    /// Whether `serial` of a project is obeyed; without it any two jobs of a work item may run side by side
    #[arg(
        long,
        env = "ORCH_SERIAL_GATE_ENABLED",
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub serial_gate_enabled: bool,
    /// Failing tries before a job is `failed`
    #[arg(long, env = "ORCH_MAX_ATTEMPTS", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: u32,
    /// Tries put off by limits of the provider before a job is `failed`
    #[arg(long, env = "ORCH_TRANSIENT_MAX_ATTEMPTS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub transient_max_attempts: u32,
    /// Tries lost with their runner before a job is quarantined
    #[arg(long, env = "ORCH_INFRA_MAX_ATTEMPTS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub infra_max_attempts: u32,
    /// The first wait before another try; it doubles with each
    #[arg(long, env = "ORCH_BACKOFF_BASE_SECONDS", value_name = "DURATION", default_value = "30", value_parser = duration)]
    pub backoff_base_seconds: Duration,
    /// The longest wait that the provider did not name itself
    #[arg(long, env = "ORCH_BACKOFF_MAX_SECONDS", value_name = "DURATION", default_value = "3600", value_parser = duration)]
    pub backoff_max_seconds: Duration,
    /// How long an account's breaker stays open before one probe may try
    #[arg(long, env = "ORCH_BREAKER_PAUSE_SECONDS", value_name = "DURATION", default_value = "300", value_parser = duration)]
    pub breaker_pause_seconds: Duration,
    /// Share of every quota window, such as 0.1, that is left to stages marked `essential = true`; off when not given
    #[arg(long, env = "ORCH_QUOTA_RESERVE", value_name = "SHARE", value_parser = share)]
    pub quota_reserve: Option<f64>,
    /// How long a due job waits for the runner that has its conversation, when that is busy, before it begins afresh elsewhere
    #[arg(long, env = "ORCH_RESUME_WAIT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub resume_wait: Duration,
    /// How often Plane and Gitea are asked for what no webhook announced, where their API is configured; 0: never
    #[arg(long, env = "ORCH_RECONCILE_INTERVAL", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub reconcile_interval: Duration,
    /// Folder of the runs' logs
    #[arg(long, env = "ORCH_LOG_DIR", value_name = "PATH", default_value = "orch-data/logs")]
    pub log_dir: PathBuf,
    /// How long a run may go unheard before its job is given to another; at least
    /// (`ORCH_RUNNER_LEASE_SECONDS` + `ORCH_KILL_GRACE_SECONDS` + 1) * 1.01
    #[arg(long, env = "ORCH_LEASE_SECONDS", value_name = "DURATION", default_value = "420", value_parser = duration)]
    pub lease_seconds: Duration,
    /// How long an agent lives on a runner that does not hear from the scheduler
    #[arg(long, env = "ORCH_RUNNER_LEASE_SECONDS", value_name = "DURATION", default_value = "300", value_parser = duration)]
    pub runner_lease_seconds: Duration,
    /// How often a runner renews
    #[arg(long, env = "ORCH_RENEW_SECONDS", value_name = "DURATION", default_value = "5", value_parser = duration)]
    pub renew_seconds: Duration,
    /// How long a runner may be silent before it gets no new work
    #[arg(long, env = "ORCH_UNREACHABLE_SECONDS", value_name = "DURATION", default_value = "20", value_parser = duration)]
    pub unreachable_seconds: Duration,
    /// From SIGTERM to SIGKILL of an agent
    #[arg(long, env = "ORCH_KILL_GRACE_SECONDS", value_name = "DURATION", default_value = "10", value_parser = duration)]
    pub kill_grace_seconds: Duration,
    /// How long what is over is kept.
    #[command(flatten)]
    pub retention: RetentionSettings,
    /// Where alerts go.
    #[command(flatten)]
    pub alerts: AlertSettings,
    /// Where people find the console, such as `https://orch.example`: comments and commit statuses link to their job there
    #[arg(long, env = "ORCH_CONSOLE_URL", value_name = "URL")]
    pub console_url: Option<String>,
}

/// Parses a share between 0 and 1, both excluded: at 0 there is no reserve, at 1 nothing else.
fn share(text: &str) -> Result<f64, String> {
    let share = text.trim().parse::<f64>().ok().filter(|share| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| format!("`{text}` is not a share: write a number between 0 and 1, such as 0.1"))
}

/// What a scheduler runs with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0: any.
    pub addr: SocketAddr,
    /// The database.
    pub database_url: DatabaseUrl,
    /// Where announcements of work are heard, if not there.
    pub listen_url: Option<DatabaseUrl>,
    /// The path of `orch.toml`.
    pub config: PathBuf,
    /// The folder of the runs' logs.
    pub log_dir: PathBuf,
    /// How often the queue is looked at without a reason.
    pub poll_interval: Duration,
    /// Whether `serial` is obeyed.
    pub serial_gate: bool,
    /// How long a due job waits for the runner that has its conversation.
    pub resume_wait: Duration,
    /// Budgets, backoff and breakers.
    pub policy: Policy,
    /// The share of every quota window that is left to essential stages.
    pub quota_reserve: Option<f64>,
    /// The lease protocol's times.
    pub terms: LeaseTerms,
    /// What `GET /queue` shows of the settings, the concurrency limit among them.
    pub queue: convert::QueueSettings,
    /// Where alerts go.
    pub sinks: Sinks,
    /// The tracker and the forge, and what they are told.
    pub reporting: Reporting,
    /// How long a source of webhooks may be silent; zero: for ever.
    pub webhook_silence: Duration,
    /// How often the forges are asked for what no webhook announced; zero: never.
    pub reconcile_interval: Duration,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Certificates, for serving and for calling runners.
    pub tls: TlsSettings,
    /// What the listener grants.
    pub listener: ListenerSettings,
    /// Who may join, where this scheduler decides that.
    pub ca: Option<CaOptions>,
    /// The source of time.
    pub clock: Clock,
    /// The source of run ids and jitter.
    pub random: Random,
}

/// A certificate authority of one's own.
#[derive(Clone, Debug)]
pub struct CaOptions {
    /// Its folder.
    pub dir: PathBuf,
    /// How long the certificates are that it signs.
    pub lifetime: Duration,
}

impl Settings {
    /// The lease protocol's times.
    pub fn terms(&self) -> LeaseTerms {
        LeaseTerms {
            scheduler: self.lease_seconds,
            runner: self.runner_lease_seconds,
            renew: self.renew_seconds,
            unreachable: self.unreachable_seconds,
            kill_grace: self.kill_grace_seconds,
        }
    }

    /// Budgets, backoff and breakers.
    pub fn policy(&self, queue: &QueueSettings) -> Policy {
        Policy {
            attempts_max: self.max_attempts,
            transient_attempts_max: self.transient_max_attempts,
            infra_attempts_max: self.infra_max_attempts,
            backoff_base: self.backoff_base_seconds,
            backoff_max: self.backoff_max_seconds,
            breaker: BreakerTerms { threshold: queue.breaker_threshold, pause: self.breaker_pause_seconds },
        }
    }

    /// Joins the own settings with the shared groups.
    ///
    /// # Errors
    /// Lease times under which two agents could live for one job, or a sink, tracker or forge that cannot be used.
    pub fn resolve(
        self,
        addr: &SchedulerAddrSettings,
        queue: &QueueSettings,
        database: &DatabaseSettings,
        pipeline: &PipelineSettings,
        forges: &ForgeSettings,
        tls: &TlsSettings,
    ) -> Result<Options, Refused> {
        let (terms, policy) = (self.terms(), self.policy(queue));
        terms.check().map_err(Refused::new)?;
        if self.queue_poll_interval.is_zero() {
            return Err(Refused::new("ORCH_QUEUE_POLL_INTERVAL must be above 0"));
        }
        let sinks = self.alerts.sinks()?;
        Ok(Options {
            addr: addr.scheduler_addr,
            database_url: database.database_url.clone(),
            listen_url: self.database_listen_url,
            config: pipeline.config.clone(),
            log_dir: self.log_dir,
            poll_interval: self.queue_poll_interval,
            serial_gate: self.serial_gate_enabled,
            resume_wait: self.resume_wait,
            policy,
            quota_reserve: self.quota_reserve,
            terms,
            queue: convert::QueueSettings {
                concurrency_max: queue.max_concurrency,
                sanitize_enabled: queue.impossible_queued_sanitize_enabled,
                breaker_threshold: queue.breaker_threshold,
            },
            reporting: Reporting::new(forges.forges()?, self.console_url.as_deref(), &sinks)?,
            sinks,
            webhook_silence: self.alerts.webhook_silence_seconds,
            reconcile_interval: self.reconcile_interval,
            retention: self.retention.retention()?,
            tls: tls.clone(),
            listener: ListenerSettings::default(),
            ca: None,
            clock: Clock::system(),
            random: Random::system(),
        })
    }
}

impl Cli {
    /// What the command line and the environment ask for.
    ///
    /// # Errors
    /// See [`Settings::resolve`].
    pub fn options(self) -> Result<Options, Refused> {
        let ca = self.ca.ca_dir.map(|dir| CaOptions { dir, lifetime: self.certificate_lifetime });
        let options = self.scheduler.resolve(
            &self.addr,
            &self.queue,
            &self.database,
            &self.pipeline,
            &self.forges,
            &self.tls,
        )?;
        Ok(Options { ca, listener: self.listener, ..options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_accepted_and_a_short_lease_is_refused() {
        let cli = |args: &[&str]| {
            let all = std::iter::once("orch-scheduler").chain(args.iter().copied());
            service::settings::try_parse_from::<Cli>(all).unwrap().options()
        };
        let options = cli(&[]).unwrap();
        assert_eq!(options.policy, Policy::default());
        assert_eq!(options.poll_interval, Duration::from_secs(1));
        assert_eq!((options.queue.concurrency_max, options.serial_gate), (4, true));
        let refused = cli(&["--lease-seconds", "300"]).unwrap_err().to_string();
        assert!(refused.starts_with("ORCH_LEASE_SECONDS is 300.0, too short"), "{refused}");
        assert!(cli(&["--queue-poll-interval", "0"]).is_err());
        let options = cli(&["--breaker-threshold", "2", "--breaker-pause-seconds", "7"]).unwrap();
        assert_eq!(options.policy.breaker, BreakerTerms { threshold: 2, pause: Duration::from_secs(7) });
        assert_eq!((options.queue.breaker_threshold, options.quota_reserve), (2, None));
    }

    #[test]
    fn a_share_lies_between_nothing_and_all() {
        assert_eq!(share("0.1"), Ok(0.1));
        for wrong in ["0", "1", "-0.1", "10%", "NaN", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
