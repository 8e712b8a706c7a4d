//! The issue or pull request that jobs belong to: where it is in the pipeline, and what it waits for.
//!
//! Two things move a work item: a job that is made for it ([`arrival`]) and a job of it that ends ([`step`]). One that waits
//! is moved by a person's word ([`decision`]) or by what was seen outside ([`settle`]). All are pure; the store writes what
//! they say in one transaction with the jobs they speak of, so that an advance happens exactly once.

pub mod arrival;
pub mod ci;
pub mod decision;
pub mod joining;
mod key;
pub mod settle;
pub mod step;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, ItemRef};
use crate::budget::{Exceeded, Payer, Purse, Scope};
use crate::delivery::StageResult;
use crate::verdict::Unreadable;
use crate::{JobId, Timestamp};

pub use ci::CiWait;
pub use key::{after_existing, after_key, head_family, head_key, said_key};

/// How many times a stage sends an item back where its `max_bounces` does not say.
pub const BOUNCES_MAX: u32 = 3;
/// How many jobs may follow from each other where a project's `max_hops` does not say.
pub const HOPS_MAX: u32 = 32;

/// A work item as the store reads it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkItem {
    /// The project's name.
    pub project: String,
    /// Its key, such as `SHOP-12` or `acme/shop#12`; unique in its project.
    pub key: String,
    /// Its title, when an event said it; one line.
    pub title: Option<String>,
    /// Where it is: the stage last started for it.
    pub stage: String,
    /// What it waits for.
    pub state: ItemState,
    /// Its newest known commit.
    pub head: Option<String>,
    /// How many times each stage sent it back since it was last done.
    pub bounces: BTreeMap<String, u32>,
    /// How many jobs of its chain of causes have ended; 0: a person began it anew.
    pub hops: u32,
    /// Whose work it is.
    pub standing: Standing,
    /// Why it ended, where nobody decided that: what it is about is gone.
    pub ended_because: Option<String>,
    /// What that chain began with.
    pub chain: String,
    /// Counts every change of the row; guards each one.
    pub revision: i64,
    /// When its first job was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Whose work a work item is, where a project asks for trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Of somebody who is trusted, or nobody asks.
    #[default]
    Trusted,
    /// Of an author with less trust than the project asks for: its jobs reach no network, nothing is pushed, and no stage
    /// follows.
    Outsider,
    /// The same, and a maintainer let it go further.
    Lifted,
}

impl Standing {
    /// The word in the database and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Outsider => "outsider",
            Self::Lifted => "lifted",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Trusted, Self::Outsider, Self::Lifted].into_iter().find(|one| one.as_str() == word)
    }
}

impl WorkItem {
    /// What its runs pay into, whatever else they do.
    pub fn purse(&self) -> Purse {
        let payer = Payer { job: JobId(0), project: &self.project, work_item: &self.key, chain: &self.chain };
        payer.purse(Scope::Item, "")
    }
}

/// What a work item waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemState {
    /// A job of it is queued or running, or an event from outside moves it on.
    Active,
    /// The tests of its commit.
    WaitsForCi(Box<CiWait>),
    /// A person.
    NeedsYou(Box<NeedsYou>),
    /// Nothing: its stage passed and nothing follows.
    Done,
    /// Nothing: a person ended it, or what it is about is gone.
    Cancelled,
}

impl ItemState {
    /// The words of all states.
    pub const WORDS: [&'static str; 5] = ["active", "waits_for_ci", "needs_you", "done", "cancelled"];

    /// The state's word in the database, JSON and commands.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::WaitsForCi(_) => "waits_for_ci",
            Self::NeedsYou(_) => "needs_you",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// What it needs a person for.
    pub const fn needs(&self) -> Option<&NeedsYou> {
        match self {
            Self::NeedsYou(needs) => Some(needs),
            Self::Active | Self::WaitsForCi(_) | Self::Done | Self::Cancelled => None,
        }
    }

    /// The tests it waits for.
    pub const fn waits_for_ci(&self) -> Option<&CiWait> {
        match self {
            Self::WaitsForCi(wait) => Some(wait),
            Self::Active | Self::NeedsYou(_) | Self::Done | Self::Cancelled => None,
        }
    }
}

/// What a work item needs a person for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsYou {
    /// Why.
    pub why: Why,
    /// The job whose end, or whose stage, brought it here; `None`: an event from outside did.
    pub job: Option<JobId>,
    /// The stage it stopped at.
    pub stage: String,
    /// What that stage's agent said, when it could be read.
    pub result: Option<StageResult>,
}

/// Why a work item needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Why {
    /// The stage passed and its gate asks for a person's word.
    Approval,
    /// The agent's verdict could not be read, not even when it was asked for the form alone.
    Unreadable {
        /// What was wrong with the last message.
        cause: Unreadable,
    },
    /// The stage failed and `orch.toml` names no stage to go back to.
    Failed,
    /// The stage sent it back as often as it may.
    Bounces {
        /// How many times.
        times: u32,
    },
    /// So many jobs followed from each other that it looks like a loop.
    Hops {
        /// How many.
        times: u32,
        /// The stage that was not started.
        to: String,
    },
    /// A budget is spent that only a person raises.
    Budget {
        /// Which.
        exceeded: Exceeded,
    },
    /// A job of it was given up.
    JobFailed {
        /// What ended it, in one line.
        reason: String,
    },
    /// The stage of its job is no longer in `orch.toml`.
    StageGone,
    /// The stage passed, and the tests of its commit said nothing final in time.
    Ci {
        /// What is known of them.
        said: String,
    },
    /// It is an outsider's, and a maintainer has to let it go further.
    Trust {
        /// The stage that was not started.
        to: String,
        /// The label that lets it.
        label: Option<String>,
    },
}

impl Why {
    /// The reason's word in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Unreadable { .. } => "unreadable",
            Self::Failed => "failed",
            Self::Bounces { .. } => "bounces",
            Self::Hops { .. } => "hops",
            Self::Budget { .. } => "budget",
            Self::JobFailed { .. } => "job_failed",
            Self::StageGone => "stage_gone",
            Self::Ci { .. } => "ci",
            Self::Trust { .. } => "trust",
        }
    }
}

/// What happened and what to do, in one line for people.
impl fmt::Display for NeedsYou {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = &self.stage;
        match (&self.why, self.job) {
            (Why::Approval, _) => write!(f, "{stage} passed and waits for a person: approve or reject it"),
            (Why::Unreadable { cause }, _) => write!(
                f,
                "the verdict of {stage} could not be read ({cause}): approve it as a pass, or reject it as a fail"
            ),
            (Why::Failed, _) => write!(
                f,
                "{stage} failed and has no on_fail: approve it as a pass all the same, or reject it to end the item"
            ),
            (Why::Bounces { times }, _) => {
                write!(
                    f,
                    "{stage} failed and sent it back {times} times already: approve another round, or reject it to end the item"
                )
            }
            (Why::Hops { times, to }, Some(_)) => write!(
                f,
                "{times} jobs followed from each other, which looks like a loop: approve to start {to}, or reject it to end the item"
            ),
            (Why::Hops { times, to }, None) => write!(
                f,
                "{times} jobs followed from each other, which looks like a loop: approve, and the next event starts {to} again, \
                 or reject it to end the item"
            ),
            (Why::Budget { exceeded }, Some(job)) => write!(
                f,
                "job {job} of {stage} was stopped, {exceeded}: {} or in orch.toml, then `orch retry {job}`; or reject it to end \
                 the item",
                exceeded.raise()
            ),
            (Why::Budget { exceeded }, None) => {
                write!(f, "{exceeded}: {} or in orch.toml, or reject it to end the item", exceeded.raise())
            }
            (Why::JobFailed { reason }, Some(job)) => {
                write!(
                    f,
                    "job {job} of {stage} was given up ({reason}): `orch retry {job}`, or reject it to end the item"
                )
            }
            (Why::JobFailed { reason }, None) => {
                write!(f, "a job of {stage} was given up ({reason}): reject it to end the item")
            }
            (Why::Ci { said }, _) => write!(
                f,
                "{stage} passed, but {said}: approve it as a pass all the same, or reject it as a fail"
            ),
            (Why::Trust { to, label }, _) => {
                write!(f, "it is an outsider's, and {to} follows: ")?;
                if let Some(label) = label {
                    write!(f, "give it the label {label}, or ")?;
                }
                write!(f, "approve to let it go further, or reject it to end the item")
            }
            (Why::StageGone, _) => write!(
                f,
                "orch.toml has no stage {stage} any more: reject it to end the item, or start another stage with `orch enqueue`"
            ),
        }
    }
}

/// What shall be written of a work item, guarded by its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemChange {
    /// The revision its row must still have.
    pub expected: i64,
    /// The row afterwards; its revision is given by the store.
    pub after: WorkItem,
    /// The job that follows, in the same transaction; found instead of made when its key is there already.
    pub next: Option<Box<crate::delivery::NewJob>>,
    /// Names by which later events may speak of the item.
    pub aliases: Vec<String>,
    /// Whether a stage passed: what it spends from here on is counted anew.
    pub passed: bool,
    /// What people are told of it; written to the outbox with it.
    pub alert: Option<Alert>,
}

impl ItemChange {
    /// From the row as it is to the one it becomes; no job follows.
    pub fn new(before: &WorkItem, after: WorkItem) -> Self {
        let alert = told(Some(before), &after);
        Self { expected: before.revision, after, next: None, aliases: Vec::new(), passed: false, alert }
    }
}

/// What people are told of an item that begins to need a person, or no longer does. A job that was given up is told of by
/// itself.
pub fn told(before: Option<&WorkItem>, after: &WorkItem) -> Option<Alert> {
    let asks = |item: &WorkItem| {
        item.state.needs().filter(|needs| !matches!(needs.why, Why::JobFailed { .. })).cloned()
    };
    let item =
        || ItemRef { project: after.project.clone(), key: after.key.clone(), revision: after.revision };
    match (before.and_then(asks), asks(after)) {
        (Some(before), Some(now)) if before.why.as_str() == now.why.as_str() && before.stage == now.stage => {
            None
        }
        (_, Some(needs)) => Some(Alert::ItemNeedsYou {
            item: item(),
            why: needs.why.as_str().to_owned(),
            reason: needs.to_string(),
        }),
        (Some(_), None) => Some(Alert::ItemGoesOn { item: item(), state: after.state.as_str().to_owned() }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod settle_tests;
#[cfg(test)]
mod tests;
