//! What a transition writes, and what the rows must still say for it to be written.

use super::Offer;
use crate::account::AccountNews;
use crate::{Alert, Budgets, Epoch, JobId, JobState, RunId, Status};

/// What shall be written, all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The job that moves.
    pub job: JobId,
    /// What its row must still say.
    pub expected: Expected,
    /// What its row says afterwards; the revision rises by one.
    pub after: After,
    /// What happens to its run.
    pub run: RunChange,
    /// What the end of its run says of the run's account; `None` where none ends.
    pub news: Option<AccountNews>,
    /// What people are told of it; written to the outbox with it.
    pub alerts: Vec<Alert>,
}

/// The guard: a row that says anything else was moved by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its status.
    pub status: Status,
    /// Its run, of a running job.
    pub run: Option<RunId>,
    /// Its revision.
    pub revision: i64,
}

/// A job's row after a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The new state.
    pub state: JobState,
    /// The budgets spent.
    pub budgets: Budgets,
    /// The epoch.
    pub epoch: Epoch,
}

/// What a transition does to the run's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunChange {
    /// Nothing.
    Keep,
    /// Inserts it, offered.
    Insert(Offer),
    /// offered -> started.
    Start {
        /// The run.
        run: RunId,
    },
    /// -> ended.
    End {
        /// The run.
        run: RunId,
        /// `success`, `transient`, `permanent`, `lost`, `withdrawn`, `drained` or `cancelled`.
        class: &'static str,
        /// The reason's word.
        reason: &'static str,
    },
}
