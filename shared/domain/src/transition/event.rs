//! What can happen to a job, and the refusal of what cannot.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::breaker::Opening;
use crate::budget::{Amount, Exceeded};
use crate::steps::StepFault;
use crate::workspace::WorkspaceFault;
use crate::{Account, Class, Incarnation, JobId, NodeId, RunId, Status, Timestamp};

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The scheduler claims it for a runner.
    Claimed(Offer),
    /// The runner confirms: it asks to start the offered run.
    Confirmed {
        /// The run it asks for.
        run: RunId,
    },
    /// The runner does not take the offered run, or it was never confirmed in time.
    Withdrawn {
        /// The run that was offered.
        run: RunId,
        /// Why, in a word: `no_capacity`, `draining`, `fenced`, `unconfirmed`.
        why: &'static str,
    },
    /// The run is over and judged, or over without a verdict.
    Ended {
        /// The run that ended.
        run: RunId,
        /// What was concluded.
        conclusion: Conclusion,
    },
    /// It cannot start: a budget that only a person raises is spent.
    BudgetSpent(Exceeded),
    /// A person asks for its end.
    CancelRequested,
    /// A person wants it tried again.
    Retried,
}

/// A run promised to a runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The new run's id.
    pub run: RunId,
    /// The runner.
    pub node: NodeId,
    /// Its incarnation, as registered.
    pub incarnation: Incarnation,
    /// The account its agents use.
    pub account: Account,
    /// Which opening of the account's breaker it is claimed under.
    pub opening: Opening,
    /// Whether it is the probe of a half-open breaker: it may start before its time.
    pub probe: bool,
    /// The conversation its agent goes on with; `None`: it begins afresh.
    pub resume: Option<String>,
    /// What is set aside for it of the budgets.
    pub aside: Amount,
}

/// What we conclude of a run that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Conclusion {
    /// Its outcome was judged.
    Judged {
        /// The verdict.
        class: Class,
    },
    /// It was lost with its runner, shim, host or lease: an infra failure, whatever it printed.
    Lost {
        /// How, in a word: `lease_expired`, `self_fenced`, `shim_lost`, `node_lost`.
        how: LostHow,
    },
    /// Its workspace could not be prepared: nothing was spawned, and nothing is learnt of the provider.
    Unprepared {
        /// Why.
        fault: WorkspaceFault,
    },
    /// Its runner was drained past the deadline: nobody's fault, no budget moves.
    Drained,
    /// We ended it because a person asked.
    Cancelled,
    /// Its agent succeeded, and a step after it came to nothing for a reason that is not the work's.
    StepFailed {
        /// Why.
        fault: StepFault,
    },
    /// We ended it because a budget was spent.
    OverBudget {
        /// Which.
        exceeded: Exceeded,
    },
    /// It says nothing about the job: no try, no budget moves.
    NotTried {
        /// Why.
        why: NotTried,
    },
}

/// Why a run was no try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotTried {
    /// The agent's program was no longer the one that the preflight had seen.
    Preflight,
    /// The conversation it was told to go on with cannot be gone on with.
    SessionRefused,
}

impl NotTried {
    /// The word used in the database and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::SessionRefused => "session_refused",
        }
    }
}

/// How a run was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostHow {
    /// The scheduler heard nothing of it for a whole lease.
    LeaseExpired,
    /// Its shim ended it at the runner's own deadline.
    SelfFenced,
    /// Its shim vanished.
    ShimLost,
    /// Its runner came back without it, or a person said the node is gone.
    NodeLost,
}

impl LostHow {
    /// The word used in the database and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseExpired => "lease_expired",
            Self::SelfFenced => "self_fenced",
            Self::ShimLost => "shim_lost",
            Self::NodeLost => "node_lost",
        }
    }
}

/// What happened to the run, for people who look at its end.
impl fmt::Display for LostHow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeaseExpired => "nothing was heard of its runner for a whole lease",
            Self::SelfFenced => "its runner heard nothing of the scheduler for a whole lease and ended it",
            Self::ShimLost => "its keeper was killed or crashed, and its agent was killed with it",
            Self::NodeLost => "its runner came back without it, or a person said that the node is gone",
        })
    }
}

impl Event {
    /// The event's name, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claimed(_) => "claimed",
            Self::Confirmed { .. } => "confirmed",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Ended { .. } => "ended",
            Self::BudgetSpent(_) => "budget spent",
            Self::CancelRequested => "cancel requested",
            Self::Retried => "retried",
        }
    }
}

/// An event that cannot happen to a job in its state; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalEvent {
    /// The job is in a state that does not know this event.
    #[error("job {job} is {}: {event} does not apply", status.as_str())]
    WrongState {
        /// The job.
        job: JobId,
        /// Its status.
        status: Status,
        /// The event's name.
        event: &'static str,
    },
    /// The event speaks of a run that no longer owns the job: a late report.
    #[error("run {run} no longer owns job {job}")]
    NotCurrent {
        /// The job.
        job: JobId,
        /// The run the event spoke of.
        run: RunId,
    },
    /// The job is not due yet.
    #[error("job {job} is not due before {available_at}")]
    NotDue {
        /// The job.
        job: JobId,
        /// When it is.
        available_at: Timestamp,
    },
}
