//! How long what is over is kept: the settings, and the terms they make.

use std::time::Duration;

use clap::Args;
use domain::retention::Terms;
use service::Refused;
use service::settings::duration;

/// How long what is over is kept. Zero, of a time or of a size: without a limit.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct RetentionSettings {
    /// How long finished jobs are kept, with their payloads and runs; 0: for ever
    #[arg(long, env = "ORCH_KEEP_JOBS", value_name = "DURATION", default_value = "90d", value_parser = duration)]
    pub keep_jobs: Duration,
    /// How many finished jobs are kept at most, the newest ends; 0: any number. What ended within the last hour is kept whatever the number
    #[arg(long, env = "ORCH_KEEP_JOBS_MAX", value_name = "N", default_value_t = 1_000_000)]
    pub keep_jobs_max: u64,
    /// How long logs of ended runs are kept, no longer than jobs; 0: for ever
    #[arg(long, env = "ORCH_KEEP_LOGS", value_name = "DURATION", default_value = "30d", value_parser = duration)]
    pub keep_logs: Duration,
    /// How many bytes of logs are kept at most, to an hour's worth, the newest ends; 0: any number
    #[arg(long, env = "ORCH_KEEP_LOGS_BYTES_MAX", value_name = "BYTES", default_value_t = 20 * 1024 * 1024 * 1024)]
    pub keep_logs_bytes_max: u64,
    /// How long a repeated webhook is known as one, no shorter than jobs are kept; 0: for ever
    #[arg(long, env = "ORCH_KEEP_DELIVERIES", value_name = "DURATION", default_value = "180d", value_parser = duration)]
    pub keep_deliveries: Duration,
    /// How many deliveries are kept at most, the newest; 0: any number. Those of the last 24 hours are kept whatever the number
    #[arg(long, env = "ORCH_KEEP_DELIVERIES_MAX", value_name = "N", default_value_t = 5_000_000)]
    pub keep_deliveries_max: u64,
    /// How long messages to Plane, Gitea and alert sinks are kept once they are settled; 0: for ever
    #[arg(long, env = "ORCH_KEEP_MESSAGES", value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub keep_messages: Duration,
    /// How long the audit is kept; 0: for ever
    #[arg(long, env = "ORCH_KEEP_AUDIT", value_name = "DURATION", default_value = "730d", value_parser = duration)]
    pub keep_audit: Duration,
    /// How long work items are kept after their end, with what was spent on them, no shorter than jobs; 0: for ever
    #[arg(long, env = "ORCH_KEEP_WORK_ITEMS", value_name = "DURATION", default_value = "365d", value_parser = duration)]
    pub keep_work_items: Duration,
    /// How often what is over is looked through, a little at a time; 0: never
    #[arg(long, env = "ORCH_RETENTION_INTERVAL", value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub retention_interval: Duration,
}

/// What is forgotten when, and how often that is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long things are kept.
    pub terms: Terms,
    /// The pause between two passes; zero: there are none.
    pub interval: Duration,
}

impl RetentionSettings {
    /// What these settings ask for.
    ///
    /// # Errors
    /// They contradict each other.
    pub fn retention(&self) -> Result<Retention, Refused> {
        let terms = Terms {
            jobs: self.keep_jobs,
            jobs_max: self.keep_jobs_max,
            logs: self.keep_logs,
            logs_bytes_max: self.keep_logs_bytes_max,
            deliveries: self.keep_deliveries,
            deliveries_max: self.keep_deliveries_max,
            messages: self.keep_messages,
            acts: self.keep_audit,
            items: self.keep_work_items,
        };
        terms.check().map_err(|contradiction| {
            Refused::new(format!(
                "the ORCH_KEEP_ settings contradict each other: {contradiction}; keep logs at most as long as jobs, and \
                 deliveries and work items at least as long"
            ))
        })?;
        Ok(Retention { terms, interval: self.retention_interval })
    }
}
