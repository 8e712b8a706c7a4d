//! What people are shown of the whole: the facts behind `GET /queue`, read in one snapshot.

use std::collections::BTreeSet;

use crate::account::AccountRecord;
use crate::admission::{Part, WaitReason, Waiting};
use crate::outbox::SinkRecord;
use crate::runner::Node;
use crate::work_item::WorkItem;
use crate::{Job, JobState, Outcome, RunId, Status, Timestamp};

/// A job with the last reason why it was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingJob {
    /// The job.
    pub job: Job,
    /// Why it waits: the scheduler's last decision on it, or its own due time; `None` unless queued.
    pub waiting: Option<Waiting>,
    /// Whether that was found for this very job; else it is what every job waits for, whatever it is.
    pub looked_at: bool,
}

impl WaitingJob {
    /// Says why a queued job waits: `due` once its time came at a write or a claim, `decision` by the last claim that
    /// looked at it, `fleet` by the last claim for every job it did not look at.
    pub fn new(job: Job, due: bool, paused: bool, decision: Option<Waiting>, fleet: Option<Waiting>) -> Self {
        let JobState::Queued { available_at } = job.state else {
            return Self { job, waiting: None, looked_at: false };
        };
        let looked_at = decision.is_some();
        let waiting = if !due {
            Waiting { reason: WaitReason::NotDue, until: Some(available_at) }
        } else if paused {
            WaitReason::Paused.open_ended()
        } else {
            decision.or(fleet).unwrap_or_else(|| WaitReason::NotLooked.open_ended())
        };
        Self { job, waiting: Some(waiting), looked_at }
    }
}

/// How many jobs there are of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountByStatus {
    /// Queued.
    pub queued: u64,
    /// Running.
    pub running: u64,
    /// Done.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

/// What `GET /queue` shows, read in one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Jobs by status.
    pub counts: CountByStatus,
    /// Whether all starts are paused.
    pub paused: bool,
    /// The projects and stages of which nothing starts.
    pub paused_parts: BTreeSet<Part>,
    /// What is wrong with `orch.toml` as it is, while an older one holds.
    pub config_error: Option<String>,
    /// Since when the oldest due job waits.
    pub oldest_ready_at: Option<Timestamp>,
    /// The newest jobs, at most [`Overview::RECENT_MAX`].
    pub recent: Vec<WaitingJob>,
    /// Accounts, by name.
    pub accounts: Vec<AccountRecord>,
    /// Runners, by id, with their live runs.
    pub nodes: Vec<(Node, u32)>,
    /// What the reaper did.
    pub reaper: ReaperRecord,
    /// What waits in the outbox, by sink; none of a sink that has nothing to show.
    pub outbox: Vec<SinkRecord>,
    /// Work items that need a person, the oldest first, at most [`Overview::NEEDING_MAX`].
    pub needs_you: Vec<WorkItem>,
}

/// How many runs of a time ended alike, or live, and what they cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTally {
    /// What was concluded, as in [`crate::Run`]; `None`: they live.
    pub class: Option<String>,
    /// The reason beside it.
    pub reason: Option<String>,
    /// How many.
    pub runs: u64,
    /// US dollars, as far as they said so.
    pub cost_usd: f64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// How many runs ended alike within one hour, and what they cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HourTally {
    /// When the hour began.
    pub hour: Timestamp,
    /// What was concluded, as in [`crate::Run`].
    pub class: String,
    /// The reason beside it.
    pub reason: String,
    /// How many.
    pub runs: u64,
    /// US dollars, as far as they said so.
    pub cost_usd: f64,
}

/// One stage of one project: how many jobs it has, and how much work it sent back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageRecord {
    /// The project.
    pub project: String,
    /// The stage.
    pub stage: String,
    /// Its jobs by status.
    pub counts: CountByStatus,
    /// When the oldest of those that are queued was made.
    pub oldest_queued_at: Option<Timestamp>,
    /// How often it sent back work items that are not over.
    pub bounces: u64,
}

/// The report of a run that no longer owned its job: kept for audit, never applied.
#[derive(Clone, Debug, PartialEq)]
pub struct LateOutcome {
    /// The run.
    pub run: RunId,
    /// What it reported.
    pub outcome: Outcome,
    /// When.
    pub received_at: Timestamp,
}

/// What the reaper did since the database was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaperRecord {
    /// When it last looked, to a few seconds; `None`: never yet.
    pub last_tick_at: Option<Timestamp>,
    /// Runs it gave up for lost: a lease that expired, or a node that died.
    pub reaped_total: u64,
    /// Queued jobs that owned something, repaired.
    pub impossible_queued_total: u64,
    /// Running jobs without a live run of their own, repaired.
    pub impossible_running_total: u64,
    /// Finished jobs that owned something or did not say how they ended, repaired.
    pub impossible_finished_total: u64,
    /// Live runs that no running job pointed at, ended.
    pub orphaned_runs_total: u64,
}

impl CountByStatus {
    /// The count of one status.
    pub const fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Queued => &mut self.queued,
            Status::Running => &mut self.running,
            Status::Done => &mut self.done,
            Status::Failed => &mut self.failed,
            Status::Cancelled => &mut self.cancelled,
        }
    }
}

impl Overview {
    /// How many jobs `recent` holds at most.
    pub const RECENT_MAX: u32 = 50;
    /// How many work items `needs_you` holds at most.
    pub const NEEDING_MAX: u32 = 50;
}
