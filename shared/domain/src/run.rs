//! One try of a job on one runner.

use serde::{Deserialize, Serialize};

use crate::breaker::Opening;
use crate::budget::{Amount, Exceeded};
use crate::steps::StepFacts;
use crate::{Account, Epoch, Incarnation, JobId, NodeId, RunId, Timestamp};

/// A run as the store reads it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The job it is a try of.
    pub job: JobId,
    /// The job's epoch at the claim.
    pub epoch: Epoch,
    /// The runner it was offered to.
    pub node: NodeId,
    /// That runner's incarnation at the claim.
    pub incarnation: Incarnation,
    /// The account its agent uses.
    pub account: Account,
    /// Which opening of the account's breaker it was claimed under.
    pub opening: Opening,
    /// Whether it is, or was, that opening's probe.
    pub probe: bool,
    /// Where it is.
    pub state: RunState,
    /// When it was claimed.
    pub offered_at: Timestamp,
    /// When the runner confirmed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What was concluded: `success`, `transient`, `permanent`, or for ends without a verdict `lost`, `withdrawn`,
    /// `drained`, `cancelled`.
    pub class: Option<String>,
    /// The reason beside the class, in the words of [`crate::Reason`] or of the refusal.
    pub reason: Option<String>,
    /// The field or line that decided.
    pub evidence: Option<String>,
    /// The conversation that its agent was told to go on with; `None`: it began afresh.
    pub resumed_session: Option<String>,
    /// What the agent reported of itself.
    pub usage: RunUsage,
    /// The exit code; negative: the signal that ended it.
    pub exit_code: Option<i32>,
    /// The last of what it printed, at most [`crate::outcome::TAIL_BYTES_MAX`] bytes.
    pub tail: Option<String>,
    /// What became of the steps after its agent.
    pub steps: Vec<StepFacts>,
    /// What was set aside for it of the budgets.
    pub aside: Amount,
    /// The budget for whose sake its end was ordered.
    pub stop: Option<Exceeded>,
    /// Bytes of log that are durable with the scheduler, declared gaps included.
    pub log_bytes: u64,
}

/// The three states of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Claimed and promised to a runner.
    Offered,
    /// Confirmed by the runner; under a lease.
    Started,
    /// Over.
    Ended,
}

impl RunState {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::Offered, Self::Started, Self::Ended];

    /// The word used everywhere outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Started => "started",
            Self::Ended => "ended",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What a run cost, as its agent reported it; absent where it said nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunUsage {
    /// The CLI's session, for `--resume`.
    pub session_id: Option<String>,
    /// US dollars; see [`crate::resume::own_cost`] for a conversation that was gone on with.
    pub cost_usd: Option<f64>,
    /// Turns taken.
    pub turns: Option<u32>,
    /// Tokens read, cached ones included.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Of the tokens read, those that the provider still had from before.
    pub cache_read_tokens: Option<u64>,
    /// How often the CLI itself tried a call of the API again.
    pub api_retries: u32,
}
