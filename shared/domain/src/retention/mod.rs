//! How long what is over is kept, by age and by size. Pure: what there is, and the clock, come as arguments.
//!
//! What may not be forgotten whatever its age is guarded by the store, row by row: see [`Kind`] and `store::Retention`.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{JobId, Timestamp};

/// The least time anything is kept: what ended just now is still being reported, shown and asked about.
pub const LEAST: Duration = Duration::from_hours(1);
/// The least time a delivery is known again, however many came since: a person who redelivers does it within a day.
pub const DEDUPE_LEAST: Duration = Duration::from_hours(24);

/// How long things are kept; zero, of a time or of a size: without a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Finished jobs with their payloads and runs, from their end.
    pub jobs: Duration,
    /// How many finished jobs.
    pub jobs_max: u64,
    /// Logs of runs, from the end of the run.
    pub logs: Duration,
    /// How many bytes of logs.
    pub logs_bytes_max: u64,
    /// Deliveries, and the keys of jobs that are forgotten: for so long a repeat is known as one.
    pub deliveries: Duration,
    /// How many deliveries.
    pub deliveries_max: u64,
    /// Messages to the outside, once they are settled.
    pub messages: Duration,
    /// Who decided what.
    pub acts: Duration,
    /// Work items that have ended, with their names and what was spent on them.
    pub items: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(days * 24);
        Self {
            jobs: days(90),
            jobs_max: 1_000_000,
            logs: days(30),
            logs_bytes_max: 20 * 1024 * 1024 * 1024,
            deliveries: days(180),
            deliveries_max: 5_000_000,
            messages: days(7),
            acts: days(730),
            items: days(365),
        }
    }
}

/// Why terms contradict each other: what is named first must be kept no longer than what is named second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// The log is part of what a job's page shows, and is found by its run.
    #[error("logs are kept longer than jobs, and nobody could find them")]
    LogsOutliveJobs,
    /// A job's key makes a repeat known, and so must whatever takes its place.
    #[error(
        "jobs are kept longer than deliveries, so that a repeated one would start its job anew beside it"
    )]
    JobsOutliveDeliveries,
    /// What was spent on an item is counted over all of its jobs.
    #[error("jobs are kept longer than work items, whose spending would be counted anew")]
    JobsOutliveItems,
    /// Something is kept for less than [`LEAST`].
    #[error("something is kept for less than an hour: what ended just now is still asked about")]
    TooShort,
}

impl Terms {
    /// Refuses terms under which something could not be found, counted or known any more that still has to be.
    ///
    /// # Errors
    /// The first [`Contradiction`].
    pub fn check(&self) -> Result<(), Contradiction> {
        let whole = |kept: Duration| if kept.is_zero() { Duration::MAX } else { kept };
        let (jobs, logs) = (whole(self.jobs), whole(self.logs));
        let kept = [self.jobs, self.logs, self.deliveries, self.messages, self.acts, self.items];
        if kept.into_iter().any(|kept| whole(kept) < LEAST) {
            Err(Contradiction::TooShort)
        } else if logs > jobs {
            Err(Contradiction::LogsOutliveJobs)
        } else if jobs > whole(self.deliveries) {
            Err(Contradiction::JobsOutliveDeliveries)
        } else if jobs > whole(self.items) {
            Err(Contradiction::JobsOutliveItems)
        } else {
            Ok(())
        }
    }
}

/// What the store keeps, as far as the terms ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Finished jobs.
    pub finished: u64,
    /// Finished jobs that are forgotten.
    pub forgotten: u64,
    /// When the oldest finished job ended.
    pub oldest_finished_at: Option<Timestamp>,
    /// When the delivery came that is followed by as many newer ones as are kept; `None`: there are not that many.
    pub deliveries_full_at: Option<Timestamp>,
    /// When the oldest delivery came.
    pub oldest_delivery_at: Option<Timestamp>,
}

/// Bytes of logs whose runs ended within one hour, or any other stretch, from this instant on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBytes {
    /// The first instant of the stretch.
    pub from: Timestamp,
    /// The bytes.
    pub bytes: u64,
}

/// What may be forgotten now: what ended, came or was last touched before these instants; `None`: nothing of that kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Finished jobs.
    pub jobs_before: Option<Timestamp>,
    /// How many of the oldest finished jobs go beyond that, as far as they ended before [`Plan::least_before`].
    pub jobs_over: u64,
    /// What ended after this stays, whatever the sizes.
    pub least_before: Timestamp,
    /// Deliveries, and the keys of forgotten jobs.
    pub deliveries_before: Option<Timestamp>,
    /// Settled messages.
    pub messages_before: Option<Timestamp>,
    /// Acts.
    pub acts_before: Option<Timestamp>,
    /// Ended work items, and the figures of hours.
    pub items_before: Option<Timestamp>,
}

/// Says what may be forgotten at `now`, given what there is.
pub fn plan(now: Timestamp, terms: &Terms, kept: &Kept) -> Plan {
    let before = |kept: Duration| (!kept.is_zero()).then(|| now.minus(kept.max(LEAST)));
    let over = if terms.jobs_max == 0 { 0 } else { kept.finished.saturating_sub(terms.jobs_max) };
    let full = kept.deliveries_full_at.filter(|_| terms.deliveries_max > 0);
    Plan {
        jobs_before: before(terms.jobs),
        jobs_over: over,
        least_before: now.minus(LEAST),
        deliveries_before: before(terms.deliveries).max(full.map(|at| at.min(now.minus(DEDUPE_LEAST)))),
        messages_before: before(terms.messages),
        acts_before: before(terms.acts),
        items_before: before(terms.items),
    }
}

/// Says which logs may be forgotten at `now`: those of runs that ended before this instant. `newest_first` says how many
/// bytes there are, stretch by stretch; a stretch that is only partly over the size goes whole.
pub fn logs_before(
    now: Timestamp,
    terms: &Terms,
    newest_first: impl IntoIterator<Item = LogBytes>,
) -> Option<Timestamp> {
    let by_age = (!terms.logs.is_zero()).then(|| now.minus(terms.logs.max(LEAST)));
    let mut left = terms.logs_bytes_max;
    let (mut from, mut over) = (now, false);
    if left > 0 {
        for stretch in newest_first {
            if stretch.bytes > left {
                over = true;
                break;
            }
            left -= stretch.bytes;
            from = stretch.from;
        }
    }
    by_age.max(over.then(|| from.min(now.minus(LEAST))))
}

/// What is forgotten one kind at a time; jobs have a step of their own ([`Step`]), and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Deliveries, by when they came.
    Deliveries,
    /// Keys of jobs that are forgotten, by when the job ended.
    Keys,
    /// Reports that came after their run was given up, by when they came; only of runs that are forgotten.
    LateOutcomes,
    /// What chains of causes spent, by the day something was last added.
    Chains,
    /// Entries of the audit.
    Acts,
    /// Work items that ended, by their last change, with their names and what was spent on them; none with a job that is
    /// not over.
    Items,
    /// How runs ended, by the hour.
    Hours,
}

impl Kind {
    /// All of them, in the order in which a pass looks after them.
    pub const ALL: [Self; 7] = [
        Self::LateOutcomes,
        Self::Chains,
        Self::Keys,
        Self::Deliveries,
        Self::Items,
        Self::Acts,
        Self::Hours,
    ];

    /// The word for it in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Keys => "keys",
            Self::LateOutcomes => "late_outcomes",
            Self::Chains => "chains",
            Self::Acts => "acts",
            Self::Items => "work_items",
            Self::Hours => "hours",
        }
    }

    /// Before which instant the plan lets go of it.
    pub const fn before(self, plan: &Plan) -> Option<Timestamp> {
        match self {
            Self::Deliveries | Self::Keys => plan.deliveries_before,
            Self::LateOutcomes | Self::Chains => plan.jobs_before,
            Self::Acts => plan.acts_before,
            Self::Items | Self::Hours => plan.items_before,
        }
    }
}

/// One small step through the finished jobs, the oldest end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Only jobs that ended before this.
    pub before: Timestamp,
    /// Where the step before ended: the end and the id of the last job it looked at.
    pub after: (Timestamp, JobId),
    /// How many jobs are looked at.
    pub limit: u32,
}

impl Step {
    /// The first step of a pass.
    pub const fn first(before: Timestamp, limit: u32) -> Self {
        Self { before, after: (Timestamp::from_ms(i64::MIN), JobId(i64::MIN)), limit }
    }
}
