//! What all tasks of one scheduler share. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use domain::pipeline::Pipeline;
use domain::{Chance, Policy, Timestamp};
use proto::convert;
use service::health::Readiness;
use service::metrics::{Counter, Gauge, Metrics};
use service::watched::Watched;
use service::{Clock, Random, Tasks};
use store::Store;
use tokio::sync::{Notify, watch};

use crate::budgets::Meter;
use crate::generation::ClaimsWait;
use crate::lease::LeaseTerms;
use crate::links::Links;
use crate::live::LiveRuns;
use crate::lock::DatabaseLock;
use crate::logs::Logs;
use crate::nodes::{Moment, Nodes};
use crate::outbox::{Reporting, Sinks};
use crate::prompt::Prompts;
use crate::pulse::Pulses;
use crate::renewals::Neighbours;

/// The condition of `/readyz` that says whether the database takes claims.
pub(crate) const DATABASE: &str = "database";

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) neighbours: Neighbours,
    pub(crate) claims_wait: ClaimsWait,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) sinks: Sinks,
    pub(crate) reporting: Reporting,
    pub(crate) webhook_silence: Duration,
    pub(crate) reconcile_interval: Duration,
    /// Wakes whoever delivers what is in the outbox.
    pub(crate) alerted: watch::Sender<()>,
    pub(crate) policy: Policy,
    pub(crate) quota_reserve: Option<f64>,
    pub(crate) terms: LeaseTerms,
    pub(crate) queue: convert::QueueSettings,
    pub(crate) poll_interval: Duration,
    pub(crate) serial_gate: bool,
    pub(crate) resume_wait: Duration,
    pub(crate) pipeline: Watched<Pipeline>,
    pub(crate) prompts: Prompts,
    pub(crate) nodes: Nodes,
    pub(crate) runs: LiveRuns,
    /// What live runs report of themselves.
    pub(crate) meter: Meter,
    /// What live runs are doing.
    pub(crate) pulses: Pulses,
    pub(crate) links: Links,
    pub(crate) logs: Logs,
    /// Runs given up for lost that the database has not been told of yet.
    pub(crate) reaped: AtomicU32,
    /// Wakes the claim loop; many wakes before it looks are one.
    pub(crate) wake: Notify,
    pub(crate) readiness: Readiness,
    pub(crate) counters: Counters,
    pub(crate) tasks: Tasks,
    pub(crate) _lock: Option<DatabaseLock>,
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.clock.now_ms())
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.now(), boot_ms: self.clock.boot_ms() }
    }

    /// A draw for the jitter of a retry.
    pub(crate) fn chance(&self) -> Chance {
        Chance::new(self.random.fraction())
    }

    /// Something was written that people are told of.
    pub(crate) fn alert(&self) {
        self.alerted.send_replace(());
    }

    /// Something changed that may let a job start.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The wait before the `tries`-th repeat of something that failed: doubling from a tenth of a second to two seconds.
pub(crate) fn pause(tries: u32) -> Duration {
    Duration::from_millis(100 << tries.min(5)).min(Duration::from_secs(2))
}

#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) claims: Counter,
    pub(crate) ended: Counter,
    pub(crate) withdrawn: Counter,
    pub(crate) late: Counter,
    pub(crate) repaired: Counter,
    pub(crate) stalls: Counter,
    pub(crate) alerts: Counter,
    pub(crate) reports: Counter,
    pub(crate) outbox_pending: Gauge,
    pub(crate) breaker: Gauge,
    pub(crate) quota: Gauge,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            claims: metrics.counter("orch_claims_total", "Jobs claimed.", &[]),
            ended: metrics.counter("orch_runs_ended_total", "Runs ended, by what was concluded.", &["class"]),
            withdrawn: metrics.counter(
                "orch_offers_withdrawn_total",
                "Offers that were not taken.",
                &["why"],
            ),
            repaired: metrics.counter(
                "orch_rows_repaired_total",
                "Rows that broke an invariant and were repaired.",
                &["kind"],
            ),
            stalls: metrics.counter(
                "orch_mass_expiries_total",
                "Ticks in which so many leases ran out at once that they were spared for one more; alarm on it.",
                &[],
            ),
            alerts: metrics.counter(
                "orch_alerts_total",
                "Alerts sent to a sink, by what became of them.",
                &["sink", "result"],
            ),
            reports: metrics.counter(
                "orch_reports_total",
                "What the tracker and the forge were told, by what became of it.",
                &["sink", "result"],
            ),
            outbox_pending: metrics.gauge(
                "orch_outbox_pending",
                "Messages that a sink does not have yet.",
                &["sink"],
            ),
            breaker: metrics.gauge(
                "orch_breaker_state",
                "Breaker of an account: 0 closed, 1 open, 2 half open.",
                &["account"],
            ),
            quota: metrics.gauge(
                "orch_quota_utilization",
                "Share used of a quota window, 0 to 1.",
                &["account", "window"],
            ),
            late: metrics.counter(
                "orch_late_outcomes_total",
                "Outcomes of runs that no longer owned their job.",
                &[],
            ),
        }
    }
}
