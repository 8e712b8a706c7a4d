//! What a store does to forget what is over; part of every [`crate::Store`]. What may be forgotten when is
//! `domain::retention`'s to say; that nothing goes which something still needs is guarded here, row by row.

use async_trait::async_trait;
use domain::retention::{Kept, Kind, Step};
use domain::{JobId, RunId, Timestamp};

use crate::Error;

/// Bytes of logs that may go with the jobs of one step, where the database keeps logs: a job with more waits until its logs
/// are forgotten, so that no step takes long.
pub(crate) const LOG_BYTES_PER_STEP: i64 = 4 * 1024 * 1024;

/// What a step through the finished jobs did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// How many jobs are gone, with their payloads, runs and what was spent on each alone.
    pub jobs: u64,
    /// Their runs: what is kept of them elsewhere is nobody's any more.
    pub runs: Vec<RunId>,
    /// Jobs that stay until their logs are forgotten, which take steps of their own.
    pub heavy: Vec<JobId>,
    /// Where the next step goes on; `None`: there is nothing more.
    pub next: Option<(Timestamp, JobId)>,
}

/// Forgetting, a little at a time. Every step is idempotent and leaves alone what somebody else has taken.
#[async_trait]
pub trait Retention {
    /// Reads how much is kept of what is over; `deliveries`: how many of them are to be.
    async fn kept(&self, deliveries: u64) -> Result<Kept, Error>;

    /// Looks at a few finished jobs and forgets those that nobody needs: none that lives, that something waits for whose job
    /// is not over, or that an open work item goes on from. Their keys stay known, and they count on in
    /// [`crate::Store::overview`] and [`crate::Views`].
    async fn forget_jobs(&self, step: Step) -> Result<Forgotten, Error>;

    /// Forgets at most `limit` rows of a kind that are older than `before`; says how many.
    async fn forget(&self, kind: Kind, before: Timestamp, limit: u32) -> Result<u64, Error>;
}
