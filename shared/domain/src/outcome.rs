//! The facts of a run's end, and the words for what we conclude from them.
//!
//! The facts are gathered on the runner, where the output is; the conclusion is drawn in `classify`.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::run::RunUsage;
use crate::steps::StepFacts;
use crate::workspace::WorkspaceFault;

/// The most of an agent's last output that travels with its outcome.
pub const TAIL_BYTES_MAX: usize = 64 * 1024;

/// Everything known about a run's end. Written by the shim, durable before anybody is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Who or what ended it.
    pub ended_by: EndedBy,
    /// How the process ended, when there was one.
    pub exit: Option<Exit>,
    /// What the agent's stream said.
    pub report: AgentReport,
    /// The last of what it printed on both streams, at most [`TAIL_BYTES_MAX`] bytes.
    pub tail: String,
    /// The log's length: the offset after the last byte, dropped bytes counted.
    pub log_bytes: u64,
    /// When the child was spawned.
    pub spawned_at: Option<Timestamp>,
    /// When the end was recorded.
    pub ended_at: Timestamp,
    /// What became of the steps after the agent, in their order; empty for a run that had none.
    #[serde(default)]
    pub steps: Vec<StepFacts>,
}

/// Who or what ended a run. Anything but `Agent` overrules what the agent printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum EndedBy {
    /// The agent's process ended by itself.
    Agent,
    /// The agent had printed its result but did not exit in time; the result counts, we ended the process.
    AfterResult,
    /// A person asked for it.
    Cancelled,
    /// It ran longer than its stage allows.
    MaxRuntime,
    /// It was silent longer than its stage allows.
    Idle,
    /// Its workspace and HOME took more of the disk than it may have.
    DiskLimit {
        /// How much, in bytes.
        limit_bytes: u64,
    },
    /// The system ended it because it, with what it started, wanted more memory than it may have.
    MemoryLimit {
        /// How much, in bytes; `None`: all that the host has.
        limit_bytes: Option<u64>,
    },
    /// Its lease ran out: the runner had not heard from the scheduler.
    SelfFenced,
    /// Its runner was drained past the deadline.
    Drained,
    /// Its keeper process vanished.
    ShimLost,
    /// Nothing was spawned: the program was no longer the one that the preflight had seen.
    Unready {
        /// What is wrong and what to do.
        error: String,
    },
    /// Nothing was spawned: its workspace could not be prepared.
    Workspace {
        /// Why.
        fault: WorkspaceFault,
        /// What went wrong and what to do, in git's or the hook's own words where it has any.
        error: String,
    },
    /// It could not be started.
    SpawnFailed {
        /// The system's words.
        error: String,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// One number for both: a signal is negative.
    pub const fn as_number(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => -signal,
        }
    }

    /// Reads the number back.
    pub const fn from_number(number: i32) -> Self {
        if number < 0 { Self::Signal(-number) } else { Self::Code(number) }
    }
}

/// What the agent's stream-json output said of itself; all absent for other programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentReport {
    /// The last `result` event.
    pub result: Option<ResultEvent>,
    /// The `error` of the last synthetic `assistant` message.
    pub assistant_error: Option<String>,
    /// Windows named by `rate_limit_event`s, the newest of each kind.
    pub rate_limits: Vec<RateLimit>,
    /// The delay of the last `api_retry` event, in milliseconds.
    pub api_retry_delay_ms: Option<u64>,
    /// Its number among the tries of one call, from 1.
    pub api_retry_attempt: Option<u64>,
    /// The version in the `system/init` event.
    pub cli_version: Option<String>,
    /// Session, cost, turns and tokens; of an agent that did not get to its result, what its messages add up to.
    pub usage: RunUsage,
    /// The model it named at its beginning.
    pub model: Option<String>,
}

/// What an agent reported of itself so far, while it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Turns and tokens; the cost only once the agent says it.
    pub usage: RunUsage,
    /// The model it named at its beginning.
    pub model: Option<String>,
    /// The windows of its account's limits that it named.
    pub rate_limits: Vec<RateLimit>,
}

impl AgentReport {
    /// What of it is worth telling before the end.
    pub fn progress(&self) -> Progress {
        let Self { usage, model, rate_limits, .. } = self;
        Progress { usage: usage.clone(), model: model.clone(), rate_limits: rate_limits.clone() }
    }
}

/// The fields of a `result` event that judge a run; texts are cut to [`RESULT_TEXT_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResultEvent {
    /// `success`, `error_max_turns`, …
    pub subtype: String,
    /// Tested before `subtype`: an API failure has `subtype: "success"`.
    pub is_error: bool,
    /// The HTTP status, when the CLI knew it.
    pub api_error_status: Option<u16>,
    /// The API's `error.type`.
    pub api_error_type: Option<String>,
    /// The CLI's own word, such as `usage_limit_reached`.
    pub api_error: Option<String>,
    /// Why it stopped, in the CLI's words.
    pub terminal_reason: Option<String>,
    /// Why the model stopped; `None` also when the CLI said null.
    pub stop_reason: Option<String>,
    /// The answer or the error's text.
    pub text: String,
    /// The `errors` array, joined by newlines.
    pub errors: String,
}

/// The most kept of a result's text.
pub const RESULT_TEXT_BYTES_MAX: usize = 64 * 1024;

/// One window of a provider's limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// `five_hour`, `seven_day`, …
    pub window: String,
    /// `allowed`, `allowed_warning` or `rejected`.
    pub status: String,
    /// Share used, 0 to 1.
    pub utilization: Option<f64>,
    /// When it starts anew.
    pub resets_at: Option<Timestamp>,
}

/// What we conclude of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "class")]
pub enum Class {
    /// The agent did its work.
    Success,
    /// A passing fault: try again later.
    Transient {
        /// Which.
        reason: TransientReason,
        /// Not before this, when the provider named it.
        retry_at: Option<Timestamp>,
    },
    /// A real failure.
    Permanent {
        /// Which.
        reason: PermanentReason,
    },
}

impl Class {
    /// `success`, `transient` or `permanent`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Transient { .. } => "transient",
            Self::Permanent { .. } => "permanent",
        }
    }

    /// The reason's word; `none` for success.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Success => Reason::None,
            Self::Transient { reason, .. } => Reason::Transient(*reason),
            Self::Permanent { reason } => Reason::Permanent(*reason),
        }
    }
}

/// A reason of either kind, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No reason needed: success.
    None,
    /// Of a transient class.
    Transient(TransientReason),
    /// Of a permanent class.
    Permanent(PermanentReason),
}

impl Reason {
    /// The word used in the database, JSON and `orch classify`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Transient(reason) => reason.as_str(),
            Self::Permanent(reason) => reason.as_str(),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The word used in the database, JSON and `orch classify`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
            /// Reads the word back.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }
        }
    };
}

words! {
    /// Faults that pass.
    TransientReason {
        /// Too many requests just now.
        RateLimit = "rate_limit",
        /// A usage window is spent; it resets at a known time.
        UsageLimit = "usage_limit",
        /// The provider is at capacity.
        Overloaded = "overloaded",
        /// The provider failed.
        ServerError = "server_error",
        /// The way to the provider failed.
        Network = "network",
        /// No answer in time.
        Timeout = "timeout",
    }
}

words! {
    /// Failures that waiting does not mend.
    PermanentReason {
        /// The credential is refused. Needs a person.
        Auth = "auth",
        /// Money or a spend limit. Needs a person.
        Billing = "billing",
        /// The API refuses what was asked. Certain to repeat.
        InvalidRequest = "invalid_request",
        /// The conversation is too long. Certain to repeat.
        ContextLength = "context_length",
        /// The turn or dollar budget of the run is spent. Certain to repeat.
        MaxTurns = "max_turns",
        /// The program died or could not start.
        Crash = "crash",
        /// A certificate or the like: the network is there and refuses.
        Network = "network",
        /// It ran longer than its stage allows.
        MaxRuntime = "max_runtime",
        /// It was silent longer than its stage allows.
        Idle = "idle",
        /// It wanted more memory than its runner gives it.
        MemoryLimit = "memory_limit",
        /// It wrote more than its runner gives it room for.
        DiskLimit = "disk_limit",
        /// The agent reported failure, or nothing we know.
        AgentFailure = "agent_failure",
    }
}
