//! Commits a delivery and says what to answer.

use std::time::Duration;

use domain::delivery::{Accepted, NewDelivery};
use serde::Serialize;
use store::Store;

use crate::refusal::Refusal;

/// The net under the store's own deadlines, which are shorter: a delivery given up here may still be committed.
const STORE_DEADLINE: Duration = Duration::from_secs(10);

/// What the sender is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Answer {
    /// What became of it.
    pub(crate) decision: Word,
    /// The jobs it made, or those of the delivery it repeats.
    pub(crate) job_ids: Vec<i64>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// Jobs were made.
    Enqueued,
    /// There was nothing to do.
    Ignored,
    /// It came before.
    Duplicate,
}

impl Word {
    /// The word in the answer and in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Ignored => "ignored",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Commits a delivery and says what to answer.
///
/// # Errors
/// [`Refusal::Conflict`], [`Refusal::Unavailable`] or [`Refusal::Internal`]; nothing was written.
pub(crate) async fn commit(store: &dyn Store, delivery: NewDelivery) -> Result<Answer, Refusal> {
    let accepted = match tokio::time::timeout(STORE_DEADLINE, store.accept(delivery)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_elapsed) => {
            tracing::error!(
                deadline_ms = STORE_DEADLINE.as_millis(),
                "the database did not take the event in time"
            );
            return Err(Refusal::Unavailable);
        }
    };
    let answer = |decision, jobs: Vec<domain::JobId>| Answer {
        decision,
        job_ids: jobs.iter().map(|job| job.0).collect(),
    };
    match accepted {
        Accepted::Enqueued { jobs } => Ok(answer(Word::Enqueued, jobs)),
        Accepted::Duplicate { jobs } => Ok(answer(Word::Duplicate, jobs)),
        Accepted::Ignored => Ok(answer(Word::Ignored, Vec::new())),
        Accepted::Conflict => Err(Refusal::Conflict),
    }
}

fn failed(error: &store::Error) -> Refusal {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, source, "could not commit the event");
    match error {
        store::Error::Unavailable(_)
        | store::Error::Newer { .. }
        | store::Error::Older { .. }
        | store::Error::Setup(_)
        | store::Error::Closed => Refusal::Unavailable,
        store::Error::Corrupt(_) => Refusal::Internal,
    }
}
