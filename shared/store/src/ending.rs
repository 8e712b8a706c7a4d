//! What a run's row says once a transition ended it, whatever keeps the row.

use domain::outcome::Exit;
use domain::run::RunUsage;
use domain::steps::StepFacts;
use domain::{Outcome, Timestamp};

use crate::Change;

/// The facts of an end: those of the outcome where there is one.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) ended_at: Timestamp,
    pub(crate) usage: RunUsage,
    pub(crate) exit_code: Option<i32>,
    pub(crate) tail: Option<String>,
    pub(crate) log_bytes: u64,
    pub(crate) steps: Vec<StepFacts>,
}

impl Ending {
    pub(crate) fn of(change: &Change) -> Self {
        let outcome = change.outcome.as_ref();
        Self {
            ended_at: outcome.map_or(change.now, |outcome| outcome.ended_at),
            usage: outcome.map(|outcome| outcome.report.usage.clone()).unwrap_or_default(),
            exit_code: outcome.and_then(|outcome| outcome.exit).map(Exit::as_number),
            tail: outcome.map(tail_of),
            log_bytes: outcome.map_or(0, |outcome| outcome.log_bytes),
            steps: outcome.map(|outcome| outcome.steps.clone()).unwrap_or_default(),
        }
    }
}

/// The tail without NUL, at which SQLite's text functions stop.
fn tail_of(outcome: &Outcome) -> String {
    outcome.tail.replace('\0', "\u{fffd}")
}
