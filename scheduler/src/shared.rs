//! What all tasks of one scheduler share. Decides nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use domain::pipeline::Pipeline;
use domain::{Chance, NodeId, Policy, Timestamp};
use proto::convert;
use proto::tokens::RunTokens;
use service::health::Readiness;
use service::settings::Mask;
use service::watched::Watched;
use service::{Clock, Random, Tasks};
use store::Store;
use tokio::sync::{Notify, watch};

use crate::budgets::Meter;
use crate::events::Events;
use crate::generation::ClaimsWait;
use crate::lead::Lead;
use crate::lease::{LOOK_EVERY, LeaseTerms};
use crate::links::Links;
use crate::live::LiveRuns;
use crate::lock::DatabaseLock;
use crate::logs::Logs;
use crate::measure::Instruments;
use crate::nodes::{Moment, Nodes};
use crate::outbox::{Reporting, Sinks};
use crate::prompt::Prompts;
use crate::pulse::Pulses;
use crate::renewals::Neighbours;
use crate::retention::Retention;
use crate::streams::Streams;

/// The condition of `/readyz` that says whether the database takes claims.
pub(crate) const DATABASE: &str = "database";

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    /// What this start is called where other schedulers see it.
    pub(crate) name: String,
    pub(crate) neighbours: Neighbours,
    pub(crate) lead: Lead,
    pub(crate) claims_wait: ClaimsWait,
    /// What a node shows of the runs it speaks for.
    pub(crate) tokens: RunTokens,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// Where announcements of work are heard, if not by the database's own url.
    pub(crate) listen_url: Option<String>,
    pub(crate) sinks: Sinks,
    pub(crate) reporting: Reporting,
    /// The secrets of this process, which no log and no outcome is to show.
    pub(crate) mask: Mask,
    pub(crate) webhook_silence: Duration,
    pub(crate) reconcile_interval: Duration,
    pub(crate) retention: Retention,
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
    pub(crate) instruments: Instruments,
    pub(crate) streams: Streams,
    pub(crate) events: Events,
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

    /// Whether this one does what is done once for all schedulers.
    pub(crate) fn leads(&self) -> bool {
        self.lead.leads(self.clock.boot_ms())
    }

    /// Whether this one looks after what runs on a node: the node speaks to it, or there is nobody else.
    pub(crate) fn is_home_of(&self, node: &NodeId) -> bool {
        self.neighbours == Neighbours::None || self.nodes.speaks_here(node)
    }

    /// How often leases, nodes and rows are looked at.
    pub(crate) fn look_every(&self) -> Duration {
        LOOK_EVERY.min(self.poll_interval).min(self.terms.silence_abroad())
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
