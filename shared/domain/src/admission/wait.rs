//! Why a job waits, in words for people and codes for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Part;
use crate::account::HoldReason;
use crate::budget::{Exceeded, Purse};
use crate::containment::Tier;
use crate::{Account, JobId, NodeId, Timestamp};

/// Why a job waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum WaitReason {
    /// It is put off to a later time.
    NotDue,
    /// An operator paused all starts.
    Paused,
    /// An operator paused its project or its stage.
    PausedPart {
        /// Which.
        part: Part,
    },
    /// Its project is not in `orch.toml`.
    UnknownProject,
    /// Its stage is not in `orch.toml`.
    UnknownStage {
        /// The stage.
        stage: String,
    },
    /// Its prompt could not be made.
    Prompt {
        /// What is wrong and what to do.
        error: String,
    },
    /// As many runs live as the fleet may have.
    ConcurrencyLimit {
        /// `ORCH_MAX_CONCURRENCY`.
        max: u32,
    },
    /// As many runs live as the project may have.
    ProjectLimit {
        /// `max_concurrency` of the project.
        max: u32,
    },
    /// Another job of the same work item, or project, is running.
    Serial {
        /// That job.
        behind: JobId,
    },
    /// No runner has registered.
    NoRunner,
    /// Every slot of every runner is taken.
    NoSlot,
    /// The runner is silent.
    Unreachable,
    /// The runner is draining.
    Draining,
    /// The runner's agent binary does not answer.
    Preflight {
        /// What is wrong and what to do.
        error: String,
    },
    /// The runner refused an offer a moment ago and rests.
    Resting,
    /// No runner that takes work can contain agents as far as its project asks for.
    Containment {
        /// `containment` of the project.
        tier: Tier,
    },
    /// The database was restored or moved, and agents of before may live until their lease is over.
    Restored,
    /// The account is held.
    AccountHeld {
        /// The account.
        account: Account,
        /// What holds it.
        reason: HoldReason,
    },
    /// The account's breaker is open.
    BreakerOpen {
        /// The account.
        account: Account,
    },
    /// The account's breaker is half open, and its one probe is out.
    Probe {
        /// The account.
        account: Account,
    },
    /// Runs of the account failed one after the other, and as many are out as would open its breaker.
    Faltering {
        /// The account.
        account: Account,
        /// How many failed.
        count: u32,
    },
    /// The account's hold ended just now, and starts are spread a little.
    Resuming {
        /// The account.
        account: Account,
    },
    /// Of the account's quota only the reserve is left, which is kept for essential stages.
    QuotaReserve {
        /// The account.
        account: Account,
        /// The window.
        window: String,
    },
    /// A budget is spent.
    BudgetSpent {
        /// Which.
        exceeded: Exceeded,
    },
    /// What is left of a budget is set aside for runs that live.
    BudgetReserved {
        /// Whose.
        purse: Purse,
    },
    /// The runner that has its conversation is busy.
    Session {
        /// That runner.
        node: NodeId,
    },
    /// It is due, and no claim has looked at it since.
    NotLooked,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDue => write!(f, "put off to a later time"),
            Self::Paused => write!(f, "paused by an operator: `orch resume` goes on"),
            Self::PausedPart { part } => {
                let (scope, name) = (part.scope(), part.name());
                write!(f, "{scope} {name} is paused by an operator: `orch resume --{scope} {name}` goes on")
            }
            Self::UnknownProject => write!(f, "its project is not in orch.toml: add it, or cancel the job"),
            Self::UnknownStage { stage } => {
                write!(f, "its stage {stage} is not in orch.toml: add it, or cancel the job")
            }
            Self::Prompt { error } => write!(f, "its prompt could not be made: {error}"),
            Self::ConcurrencyLimit { max } => {
                write!(f, "{max} runs live, as many as ORCH_MAX_CONCURRENCY allows")
            }
            Self::ProjectLimit { max } => {
                write!(f, "{max} runs of its project live, as many as its max_concurrency allows")
            }
            Self::Serial { behind } => write!(f, "waits for job {behind}: one at a time (serial)"),
            Self::NoRunner => write!(f, "no runner has registered: start orch-runner"),
            Self::NoSlot => write!(f, "every slot of every runner is taken"),
            Self::Unreachable => write!(f, "no runner answers"),
            Self::Draining => write!(f, "the runners are draining"),
            Self::Preflight { error } => write!(f, "no runner can start an agent: {error}"),
            Self::Resting => write!(f, "the runner refused work a moment ago and rests"),
            Self::Containment { tier } => {
                write!(
                    f,
                    "no runner can contain its agent in tier {}, which its project asks for",
                    tier.as_str()
                )
            }
            Self::Restored => {
                write!(f, "the database was restored or moved: agents of before may live for one lease more")
            }
            Self::AccountHeld { account, reason: HoldReason::UsageLimit } => {
                write!(f, "account {account} is at its usage limit")
            }
            Self::AccountHeld { account, reason } => {
                let reason = reason.as_str();
                write!(
                    f,
                    "account {account} is held ({reason}): mend it, then `orch account resume {account}`"
                )
            }
            Self::BreakerOpen { account } => {
                write!(f, "the breaker of account {account} is open: the provider failed too often in a row")
            }
            Self::Probe { account } => {
                write!(f, "the breaker of account {account} is half open: waits for the end of its one probe")
            }
            Self::Faltering { account, count } => write!(
                f,
                "the provider failed {count} times in a row on account {account}: waits for the runs that are out"
            ),
            Self::Resuming { account } => {
                write!(f, "account {account} is free again: starts are spread a little")
            }
            Self::QuotaReserve { account, window } => write!(
                f,
                "the rest of window {window} of account {account} is kept for essential stages (ORCH_QUOTA_RESERVE)"
            ),
            Self::BudgetSpent { exceeded } => {
                write!(f, "{exceeded}: raise it with {} or in orch.toml", exceeded.raise())
            }
            Self::BudgetReserved { purse } => write!(
                f,
                "what is left of the budget of {} {} is set aside for runs that live",
                purse.scope.as_str(),
                purse.key
            ),
            Self::Session { node } => {
                write!(
                    f,
                    "runner {node}, which has its conversation, is busy: it begins afresh elsewhere after the wait"
                )
            }
            Self::NotLooked => write!(f, "due; the scheduler has not looked at it yet"),
        }
    }
}

/// A reason with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Why.
    pub reason: WaitReason,
    /// Until when, if known.
    pub until: Option<Timestamp>,
}

impl Waiting {
    /// Of several nodes that take no work, the reason with the least distance is the one worth showing: it is the
    /// likeliest to end first.
    pub(super) fn distance(&self) -> (u8, bool, Option<Timestamp>) {
        (self.reason.nearness(), self.until.is_none(), self.until)
    }
}

impl WaitReason {
    /// The reason without a known end.
    pub const fn open_ended(self) -> Waiting {
        Waiting { reason: self, until: None }
    }

    const fn nearness(&self) -> u8 {
        match self {
            // An open node without a slot says so, whatever the others are.
            Self::NoSlot => 0,
            Self::Resting | Self::Resuming { .. } => 1,
            Self::Preflight { .. } => 2,
            Self::AccountHeld { .. }
            | Self::BreakerOpen { .. }
            | Self::Probe { .. }
            | Self::Faltering { .. }
            | Self::QuotaReserve { .. } => 3,
            Self::Draining => 4,
            Self::Unreachable => 5,
            Self::NotDue
            | Self::Paused
            | Self::PausedPart { .. }
            | Self::UnknownProject
            | Self::UnknownStage { .. }
            | Self::Prompt { .. }
            | Self::ConcurrencyLimit { .. }
            | Self::ProjectLimit { .. }
            | Self::Serial { .. }
            | Self::NoRunner
            | Self::Restored
            | Self::Containment { .. }
            | Self::BudgetSpent { .. }
            | Self::BudgetReserved { .. }
            | Self::Session { .. }
            | Self::NotLooked => 6,
        }
    }
}
