//! Why a queued job waits, as it is shown.

use domain::admission::{Condition, Standing, Waiting};
use domain::overview::WaitingJob;

use crate::v1;

/// Shows what a job waits for.
pub(super) fn waiting(waiting: &Waiting) -> v1::Waiting {
    v1::Waiting {
        reason: waiting.reason.to_string(),
        until: waiting.until.map(|until| until.to_string()),
        code: waiting.reason.code().as_str().to_owned(),
    }
}

/// Shows what a job has to pass before it starts; nothing unless it is queued.
pub(super) fn why(entry: &WaitingJob) -> Option<v1::Why> {
    let waiting = entry.waiting.as_ref()?;
    let condition = |(condition, standing): (Condition, Standing)| v1::Condition {
        name: condition.as_str().to_owned(),
        state: standing.as_str().to_owned(),
        text: condition.sentence().to_owned(),
    };
    Some(v1::Why {
        conditions: waiting.conditions(entry.looked_at).into_iter().map(condition).collect(),
        ends: waiting.reason.ends(),
    })
}
