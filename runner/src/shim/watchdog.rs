//! When an agent has to end, and why: a pure function of what the shim has seen.

use domain::outcome::EndedBy;

use super::protocol::Ask;
use crate::run_dir::{Assignment, Intent};

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest life.
    pub max_runtime_ms: i64,
    /// The longest silence.
    pub idle_ms: i64,
    /// The longest silence while a tool call is open.
    pub idle_in_tool_ms: i64,
    /// How long after its result it may take to exit.
    pub after_result_ms: i64,
}

impl Limits {
    /// Those of a run.
    pub fn of(assignment: &Assignment, intent: &Intent) -> Self {
        Self {
            max_runtime_ms: assignment.max_runtime_ms,
            idle_ms: assignment.idle_ms,
            idle_in_tool_ms: assignment.idle_in_tool_ms,
            after_result_ms: intent.after_result_ms,
        }
    }
}

/// What the shim has seen; instants in milliseconds of boot time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When the agent was spawned.
    pub spawned_ms: i64,
    /// When the lease ends.
    pub lease_deadline_ms: i64,
    /// When it last printed something.
    pub output_ms: i64,
    /// When the result came, if the conversation did not go on after it.
    pub result_ms: Option<i64>,
    /// Whether a tool call is open.
    pub tool_open: bool,
    /// Who wants its end.
    pub wish: Option<Wish>,
}

impl Seen {
    /// What is seen of an agent that was spawned now.
    pub fn spawned(intent: &Intent, now_ms: i64) -> Self {
        Self {
            spawned_ms: now_ms,
            lease_deadline_ms: intent.lease_deadline_boot_ms,
            output_ms: now_ms,
            result_ms: None,
            tool_open: false,
            wish: None,
        }
    }

    /// Acts on a question and tells the lease's end.
    pub fn heed(&mut self, ask: Ask) -> i64 {
        let wish = match ask {
            Ask::Hello => None,
            Ask::Lease { deadline_boot_ms } => {
                self.lease_deadline_ms = self.lease_deadline_ms.max(deadline_boot_ms);
                None
            }
            Ask::Cancel => Some(Wish::Cancel),
            Ask::Drain => Some(Wish::Drain),
            Ask::Fence => Some(Wish::Fence),
        };
        self.wish = self.wish.max(wish);
        self.lease_deadline_ms
    }
}

/// Who wants the end of a run; the later word is the stronger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// The node is drained.
    Drain,
    /// A person asked for it.
    Cancel,
    /// The run no longer owns its job.
    Fence,
}

impl Wish {
    /// How an outcome names it.
    pub fn ended_by(self) -> EndedBy {
        match self {
            Self::Drain => EndedBy::Drained,
            Self::Cancel => EndedBy::Cancelled,
            Self::Fence => EndedBy::SelfFenced,
        }
    }
}

/// Why the agent has to end now, if it has to.
pub fn verdict(limits: Limits, seen: Seen, now_ms: i64) -> Option<EndedBy> {
    if now_ms >= seen.lease_deadline_ms {
        return Some(EndedBy::SelfFenced);
    }
    if let Some(wish) = seen.wish {
        return Some(wish.ended_by());
    }
    if let Some(result_ms) = seen.result_ms {
        // Neither silence nor a long life says anything about an agent that has finished.
        return (now_ms >= result_ms.saturating_add(limits.after_result_ms)).then_some(EndedBy::AfterResult);
    }
    if now_ms >= seen.spawned_ms.saturating_add(limits.max_runtime_ms) {
        return Some(EndedBy::MaxRuntime);
    }
    (now_ms >= seen.output_ms.saturating_add(idle_limit(limits, seen))).then_some(EndedBy::Idle)
}

/// The next instant at which [`verdict`] may change by itself.
pub fn next_ms(limits: Limits, seen: Seen) -> i64 {
    let end = match seen.result_ms {
        Some(result_ms) => result_ms.saturating_add(limits.after_result_ms),
        None => seen
            .spawned_ms
            .saturating_add(limits.max_runtime_ms)
            .min(seen.output_ms.saturating_add(idle_limit(limits, seen))),
    };
    end.min(seen.lease_deadline_ms)
}

fn idle_limit(limits: Limits, seen: Seen) -> i64 {
    if seen.tool_open { limits.idle_in_tool_ms } else { limits.idle_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { max_runtime_ms: 1000, idle_ms: 100, idle_in_tool_ms: 300, after_result_ms: 30 };

    fn seen() -> Seen {
        Seen {
            spawned_ms: 0,
            lease_deadline_ms: 5000,
            output_ms: 900,
            result_ms: None,
            tool_open: false,
            wish: None,
        }
    }

    #[test]
    fn each_limit_ends_the_run_at_its_instant_and_not_before() {
        let cases = [
            (seen(), 1000, EndedBy::MaxRuntime),
            (Seen { output_ms: 500, ..seen() }, 600, EndedBy::Idle),
            (Seen { output_ms: 500, tool_open: true, ..seen() }, 800, EndedBy::Idle),
            (Seen { result_ms: Some(990), ..seen() }, 1020, EndedBy::AfterResult),
            (Seen { lease_deadline_ms: 950, ..seen() }, 950, EndedBy::SelfFenced),
        ];
        for (seen, at, ended_by) in cases {
            assert_eq!(verdict(LIMITS, seen, at - 1), None, "{ended_by:?}");
            assert_eq!(verdict(LIMITS, seen, at), Some(ended_by));
            assert_eq!(next_ms(LIMITS, seen), at);
        }
    }

    #[test]
    fn a_wish_comes_at_once_and_only_the_lease_is_stronger() {
        let wished = Seen { wish: Some(Wish::Cancel), ..seen() };
        assert_eq!(verdict(LIMITS, wished, 901), Some(EndedBy::Cancelled));
        assert_eq!(verdict(LIMITS, wished, 5000), Some(EndedBy::SelfFenced));
        assert!(Wish::Drain < Wish::Cancel && Wish::Cancel < Wish::Fence);
    }
}
