//! What people look at and do beyond the queue: stages, hours, what followed from what, pauses of parts, and who did what;
//! part of every [`crate::Store`].

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::admission::Part;
use domain::overview::{HourTally, StageRecord};
use domain::{Job, JobId, Timestamp};

use crate::{Act, ActFilter, Error, GivenUp};

/// Work items whose bounces are added up at most.
pub(crate) const BOUNCED_MAX: u32 = 10_000;

/// Views of the whole, and the audit.
#[async_trait]
pub trait Views {
    /// Reads every stage of every project that has a job, by name. Never counts rows: its work grows with the stages.
    async fn stage_records(&self) -> Result<Vec<StageRecord>, Error>;

    /// Reads how runs ended in the hours from that of `since` on, the oldest first.
    async fn ended_since(&self, since: Timestamp) -> Result<Vec<HourTally>, Error>;

    /// Reads the jobs that followed from the end of a job, the oldest first.
    async fn follow_ups(&self, job: JobId, limit: u32) -> Result<Vec<Job>, Error>;

    /// Reads which jobs were given up, the newest first.
    async fn given_up(&self, filter: GivenUp) -> Result<Vec<JobId>, Error>;

    /// Pauses or resumes the starts of a project or stage; false when it was so already.
    async fn set_part_paused(&self, part: Part, paused: bool, now: Timestamp) -> Result<bool, Error>;

    /// Reads which parts are paused.
    async fn paused_parts(&self) -> Result<BTreeSet<Part>, Error>;

    /// Keeps what somebody did, or was refused.
    async fn note_act(&self, act: Act) -> Result<(), Error>;

    /// Reads the audit, the newest entry first.
    async fn acts(&self, filter: ActFilter) -> Result<Vec<Act>, Error>;
}
