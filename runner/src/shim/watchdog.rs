//! When an agent has to end, and why: a pure function of what the shim has seen.

use domain::outcome::EndedBy;

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "names end in their unit")]
pub(crate) struct Limits {
    pub(crate) max_runtime_ms: i64,
    pub(crate) idle_ms: i64,
    pub(crate) idle_in_tool_ms: i64,
    pub(crate) after_result_ms: i64,
}

/// What the shim has seen; instants in milliseconds of boot time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) spawned_ms: i64,
    pub(crate) lease_deadline_ms: i64,
    pub(crate) output_ms: i64,
    /// When the result came, if the conversation did not go on after it.
    pub(crate) result_ms: Option<i64>,
    pub(crate) tool_open: bool,
    pub(crate) wish: Option<Wish>,
}

/// Who wants the end of a run; the later word is the stronger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    Drain,
    Cancel,
    Fence,
}

impl Wish {
    /// How an outcome names it.
    pub(crate) fn ended_by(self) -> EndedBy {
        match self {
            Self::Drain => EndedBy::Drained,
            Self::Cancel => EndedBy::Cancelled,
            Self::Fence => EndedBy::SelfFenced,
        }
    }
}

/// Why the agent has to end now, if it has to.
pub(crate) fn verdict(limits: Limits, seen: Seen, now_ms: i64) -> Option<EndedBy> {
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
pub(crate) fn next_ms(limits: Limits, seen: Seen) -> i64 {
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
