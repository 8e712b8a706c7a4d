//! A durable request to run one role for one work item. One row, one of these.
//!
//! Ownership lives inside [`JobState::Running`]: a queued job has nowhere to keep a run, a runner or a start time.

use serde::{Deserialize, Serialize};

use crate::budget::Payer;
use crate::{Epoch, JobId, RunId, RunState, Timestamp};

/// A job as the store reads it back, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its row id.
    pub id: JobId,
    /// The project's name, from `orch.toml`.
    pub project: String,
    /// The key of the work item it belongs to, such as `SHOP-12` or `acme/shop#12`.
    pub work_item: String,
    /// The stage of the pipeline.
    pub stage: String,
    /// The role that does the stage.
    pub role: String,
    /// Higher goes first; 0 is ordinary.
    pub priority: i32,
    /// What has been spent of each budget.
    pub budgets: Budgets,
    /// The epoch of the newest claim; 0 before the first.
    pub epoch: Epoch,
    /// Counts every change of the row; with the state it guards each transition.
    pub revision: i64,
    /// Where it is in its life.
    pub state: JobState,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// The W3C `traceparent` of the request that made it.
    pub trace_context: Option<String>,
    /// Why it exists.
    pub origin: Origin,
}

impl Job {
    /// The id of its trace, 32 hexadecimal digits, as logs and spans name it.
    pub fn trace_id(&self) -> Option<&str> {
        let mut parts = self.trace_context.as_deref()?.split('-');
        parts.nth(1).filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// Why a job exists, and which commit it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What it does.
    pub kind: JobKind,
    /// The job whose end it follows from.
    pub parent: Option<JobId>,
    /// The webhook that began its chain, as `source:delivery id`.
    pub delivery: Option<String>,
    /// How many jobs its chain of causes has before it.
    pub hops: u32,
    /// What its chain of causes began with: a webhook, or what a person did.
    pub chain: String,
    /// The commit it is about, a whole object id, where one is known.
    pub head: Option<String>,
    /// The queued job for an older commit whose place it took.
    pub replaces: Option<JobId>,
}

/// What a job does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A stage's work.
    #[default]
    Stage,
    /// Asks once more, for the form of a verdict alone.
    Reformat,
}

impl JobKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stage, Self::Reformat];

    /// The word used everywhere outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Reformat => "reformat",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Where a job is in its life (DESIGN.md section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waits; owns nothing.
    Queued {
        /// Not claimed before this instant.
        available_at: Timestamp,
    },
    /// Has exactly one live run.
    Running {
        /// The live run.
        run: RunId,
        /// Whether that run was confirmed.
        run_state: LiveRunState,
        /// Set once a person asked for its end.
        cancel_requested_at: Option<Timestamp>,
    },
    /// Ended with success.
    Done {
        /// When.
        finished_at: Timestamp,
    },
    /// Ended for good without success.
    Failed {
        /// When.
        finished_at: Timestamp,
        /// What ended it, in one line for people.
        reason: String,
    },
    /// Ended on request.
    Cancelled {
        /// When.
        finished_at: Timestamp,
    },
}

/// The two states of a run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveRunState {
    /// Claimed and promised to a runner, which has not confirmed.
    Offered,
    /// Confirmed: the runner holds a lease and may spawn.
    Started,
}

impl From<LiveRunState> for RunState {
    fn from(live: LiveRunState) -> Self {
        match live {
            LiveRunState::Offered => Self::Offered,
            LiveRunState::Started => Self::Started,
        }
    }
}

/// The five words for a job's state in the database, JSON and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits to be claimed.
    Queued,
    /// Has a live run.
    Running,
    /// Succeeded.
    Done,
    /// Given up.
    Failed,
    /// Ended on request.
    Cancelled,
}

impl Status {
    /// All five, in the order of a job's life.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// The word used everywhere outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl Job {
    /// Whose spending its runs are.
    pub fn payer(&self) -> Payer<'_> {
        Payer { job: self.id, project: &self.project, work_item: &self.work_item, chain: &self.origin.chain }
    }
}

impl JobState {
    /// The state's word.
    pub const fn status(&self) -> Status {
        match self {
            Self::Queued { .. } => Status::Queued,
            Self::Running { .. } => Status::Running,
            Self::Done { .. } => Status::Done,
            Self::Failed { .. } => Status::Failed,
            Self::Cancelled { .. } => Status::Cancelled,
        }
    }

    /// The live run, of a running job.
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::Running { run, .. } => Some(*run),
            Self::Queued { .. } | Self::Done { .. } | Self::Failed { .. } | Self::Cancelled { .. } => None,
        }
    }
}

/// What has been spent of the three budgets, which never mix (I9). All are 0 on a job that succeeds at its first try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// Tries that failed by the agent's or the program's own fault.
    pub attempts: u32,
    /// Tries put off by a limit or a passing fault of the provider.
    pub transient_attempts: u32,
    /// Tries lost with a runner, a shim or a host.
    pub infra_attempts: u32,
}
