//! The breaker of an account: stops all starts when the provider faltered several times in a row, and lets one probe
//! find out whether it has recovered.
//!
//! Pure, and apart from `classify`: that says what became of a run, this what follows for the runs after it. How many
//! probes live is counted from the live runs, never kept here, so that a probe that vanishes frees its place.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Class, PermanentReason, Timestamp, TransientReason};

/// Which opening of a breaker it is: how often it has opened so far.
///
/// A run keeps the number it was claimed under; with any other than the present one its end says nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opening(pub i64);

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerTerms {
    /// Transient failures in a row that open it (`ORCH_BREAKER_THRESHOLD`), at least 1.
    pub threshold: u32,
    /// How long it stays open (`ORCH_BREAKER_PAUSE_SECONDS`).
    pub pause: Duration,
}

impl Default for BreakerTerms {
    fn default() -> Self {
        Self { threshold: 5, pause: Duration::from_mins(5) }
    }
}

/// An account's breaker, as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Transient failures since the last sign that the provider answers.
    pub consecutive_transient: u32,
    /// How often it has opened.
    pub opening: Opening,
    /// Set while it is not closed: nothing starts before this instant, one probe after it.
    pub open_until: Option<Timestamp>,
}

/// A breaker's state at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets everything start.
    Closed,
    /// Lets nothing start.
    Open {
        /// Until then.
        until: Timestamp,
    },
    /// Lets one probe live.
    HalfOpen,
}

impl BreakerState {
    /// The three words, in the order of the gauge.
    pub const WORDS: [&'static str; 3] = ["closed", "open", "half_open"];

    /// The word used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a run's end says of the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// Nothing: it may never have been asked.
    #[default]
    Nothing,
    /// It answered.
    Answered,
    /// It faltered: a passing fault of its own or of the way to it.
    Faltered,
}

impl Said {
    /// What a verdict says.
    ///
    /// A usage limit with a known end is the hold's business and touches no count; without one nothing else would keep
    /// the next run from asking. A refused credential or bill holds the account until a person resumes it, and may be
    /// the CLI's own word. A program that crashed, hung or met a foreign certificate may never have reached the API.
    pub const fn of(class: &Class) -> Self {
        match class {
            Class::Success => Self::Answered,
            Class::Transient { reason, retry_at } => match (reason, retry_at) {
                (TransientReason::UsageLimit, Some(_)) => Self::Nothing,
                (
                    TransientReason::UsageLimit
                    | TransientReason::RateLimit
                    | TransientReason::Overloaded
                    | TransientReason::ServerError
                    | TransientReason::Network
                    | TransientReason::Timeout,
                    _,
                ) => Self::Faltered,
            },
            Class::Permanent { reason } => match reason {
                PermanentReason::AgentFailure
                | PermanentReason::MaxTurns
                | PermanentReason::ContextLength
                | PermanentReason::InvalidRequest => Self::Answered,
                PermanentReason::Auth
                | PermanentReason::Billing
                | PermanentReason::Crash
                | PermanentReason::Network
                | PermanentReason::MaxRuntime
                | PermanentReason::MemoryLimit
                | PermanentReason::DiskLimit
                | PermanentReason::Idle => Self::Nothing,
            },
        }
    }
}

/// A change of a breaker that people want to hear of. A probe that fails is none: it was open and stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It opened.
    Opened {
        /// Until then.
        until: Timestamp,
    },
    /// It closed: the provider answers again, or a person says so.
    Closed,
}

impl Breaker {
    /// The state at `now`.
    pub fn state(&self, now: Timestamp) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if until > now => BreakerState::Open { until },
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Takes what the end of a run says that was claimed under `claimed_under`.
    pub fn hear(
        &mut self,
        said: Said,
        claimed_under: Opening,
        now: Timestamp,
        terms: BreakerTerms,
    ) -> Option<Turn> {
        if claimed_under != self.opening {
            return None;
        }
        match said {
            Said::Nothing => None,
            Said::Answered => self.close(),
            Said::Faltered => {
                self.consecutive_transient = self.consecutive_transient.saturating_add(1);
                let was_closed = self.open_until.is_none();
                if was_closed && self.consecutive_transient < terms.threshold {
                    return None;
                }
                let until = now.plus(terms.pause);
                self.opening = Opening(self.opening.0 + 1);
                self.open_until = Some(until);
                was_closed.then_some(Turn::Opened { until })
            }
        }
    }

    /// Closes it and forgets the count, whatever it was: also an operator's word.
    pub fn close(&mut self) -> Option<Turn> {
        self.consecutive_transient = 0;
        self.open_until.take().map(|_| Turn::Closed)
    }
}

#[cfg(test)]
mod tests;
