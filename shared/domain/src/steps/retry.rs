//! What follows a step that did not succeed at once: another try of it, without the agent, or the end of trying; and what a push
//! does with a branch that is not what it was. Pure: the runner does what is said here.

use std::time::Duration;

use super::StepFault;

/// How often a step is tried at least, whatever patience there is.
pub const TRIES_MIN: u32 = 4;
/// The first wait between two tries; each is twice the one before.
const WAIT_MIN: Duration = Duration::from_millis(500);
/// The longest.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// What follows a try that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same step once more, after this long.
    Again(Duration),
    /// No more tries: the fault is the step's result.
    GiveUp,
}

/// Says what follows the `tries`-th try of a step that failed with `fault`, this long after its first failure.
///
/// A forge that does not answer is waited for as long as there is `patience`: the agent has done its work, and having it done
/// anew costs more than a wait. A branch that moves under a push is looked at again, a few times. Nothing else gets better by waiting.
pub fn after(fault: StepFault, tries: u32, failing_for: Duration, patience: Duration) -> Next {
    let wait = WAIT_MIN.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(WAIT_MAX);
    let goes_on = match fault {
        StepFault::ForgeUnreachable => tries < TRIES_MIN || failing_for.saturating_add(wait) <= patience,
        StepFault::RemoteMoved => tries < TRIES_MIN,
        StepFault::CommandFailed
        | StepFault::CommandTimeout
        | StepFault::CommandUnusable
        | StepFault::NoCommits
        | StepFault::Workspace
        | StepFault::Unconfigured
        | StepFault::ForgeAuth
        | StepFault::ForgeRefused => false,
    };
    if goes_on { Next::Again(wait) } else { Next::GiveUp }
}

/// A branch on the forge, as a push finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// What is to be pushed.
    pub head: &'a str,
    /// What the branch was when the agent got its workspace; `None`: it did not exist, or is not known.
    pub expected: Option<&'a str>,
    /// What it is now; `None`: it does not exist.
    pub there: Option<&'a str>,
    /// Whether `head` contains what is there.
    pub has_theirs: bool,
    /// Whether what is there contains `head`.
    pub has_ours: bool,
    /// Whether what is there was pushed by an earlier run for the same work item.
    pub is_own: bool,
}

/// What a push does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push<'a> {
    /// Nothing: the forge has the commit.
    There,
    /// Pushes, on the condition that the branch still is this; empty: that it does not exist.
    On(&'a str),
    /// Nothing: it would write over what somebody else pushed.
    Moved,
}

/// Says what a push does with the branch that it finds.
pub fn push<'a>(found: &Found<'a>) -> Push<'a> {
    let Some(there) = found.there else { return Push::On("") };
    if there == found.head {
        return Push::There;
    }
    // What the agent began from is its own to rewrite, what is part of the work is not lost, and what an earlier run pushed is
    // no work of somebody else's.
    if found.expected == Some(there) || found.has_theirs {
        Push::On(there)
    } else if found.has_ours {
        Push::There
    } else if found.is_own {
        Push::On(there)
    } else {
        Push::Moved
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_forge_that_is_away_is_waited_for_and_nothing_else_is() {
        let waits = |fault, failing_for, patience| -> Vec<u128> {
            (1..=12)
                .map_while(|tries| match after(fault, tries, failing_for, patience) {
                    Next::Again(wait) => Some(wait.as_millis()),
                    Next::GiveUp => None,
                })
                .collect()
        };
        let patient = waits(StepFault::ForgeUnreachable, Duration::ZERO, HOUR);
        assert_eq!(
            patient,
            [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000, 60_000]
        );
        assert_eq!(waits(StepFault::ForgeUnreachable, HOUR, HOUR), [500, 1000, 2000]);
        assert_eq!(waits(StepFault::RemoteMoved, Duration::ZERO, HOUR), [500, 1000, 2000]);
        for fault in StepFault::ALL {
            let again = matches!(after(*fault, 1, Duration::ZERO, HOUR), Next::Again(_));
            assert_eq!(
                again,
                matches!(fault, StepFault::ForgeUnreachable | StepFault::RemoteMoved),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn a_branch_that_moved_is_pushed_to_only_where_nobodys_work_is_lost() {
        let found = |there, has_theirs, has_ours, is_own| Found {
            head: "h",
            expected: Some("e"),
            there,
            has_theirs,
            has_ours,
            is_own,
        };
        let rows = [
            (found(None, false, false, false), Push::On("")),
            (found(Some("h"), true, true, false), Push::There),
            (found(Some("e"), false, false, false), Push::On("e")),
            (found(Some("x"), true, false, false), Push::On("x")),
            (found(Some("x"), false, true, false), Push::There),
            (found(Some("x"), false, false, true), Push::On("x")),
            (found(Some("x"), false, false, false), Push::Moved),
        ];
        for (found, expected) in rows {
            assert_eq!(push(&found), expected, "{found:?}");
        }
    }

    proptest! {
        #[test]
        fn trying_ends(fault in proptest::sample::select(StepFault::ALL), patience_s in 0_u64..100_000) {
            let patience = Duration::from_secs(patience_s);
            let (mut tries, mut failing_for) = (1, Duration::ZERO);
            while let Next::Again(wait) = after(fault, tries, failing_for, patience) {
                failing_for += wait;
                tries += 1;
                prop_assert!(failing_for <= patience + WAIT_MIN * 8);
            }
        }

        /// A commit of somebody else's that is not in ours is never written over.
        #[test]
        fn what_is_somebody_elses_is_never_written_over(
            there in proptest::option::of("[a-c]"), expected in proptest::option::of("[a-c]"),
            has_theirs: bool, has_ours: bool, is_own: bool,
        ) {
            let found = Found { head: "a", expected: expected.as_deref(), there: there.as_deref(), has_theirs, has_ours, is_own };
            if let Push::On(lease) = push(&found) {
                prop_assert_eq!(lease, there.as_deref().unwrap_or_default());
                prop_assert!(there.is_none() || there == expected || has_theirs || is_own);
            }
        }
    }
}
