//! The conditions that a job passes before it starts, in the order in which they are looked at, and which one holds it.
//!
//! Derived from the reason that was noted: what comes before it was met when it was noted, what comes after nobody has
//! looked at. With several runners the reason is that of the one nearest to taking work, and so are the conditions.

use super::{WaitReason, Waiting};
use crate::account::HoldReason;

/// Makes an enum of words with the list of all of them, which so cannot lack one.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word for programs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// A [`WaitReason`] without what it carries.
    WaitCode {
        /// [`WaitReason::NotDue`]
        NotDue = "not_due",
        /// [`WaitReason::Paused`]
        Paused = "paused",
        /// [`WaitReason::PausedPart`]
        PausedPart = "paused_part",
        /// [`WaitReason::NotLooked`]
        NotLooked = "not_looked",
        /// [`WaitReason::UnknownProject`]
        UnknownProject = "unknown_project",
        /// [`WaitReason::UnknownStage`]
        UnknownStage = "unknown_stage",
        /// [`WaitReason::Prompt`]
        Prompt = "prompt",
        /// [`WaitReason::QuotaReserve`]
        QuotaReserve = "quota_reserve",
        /// [`WaitReason::ProjectLimit`]
        ProjectLimit = "project_limit",
        /// [`WaitReason::ConcurrencyLimit`]
        ConcurrencyLimit = "concurrency_limit",
        /// [`WaitReason::Serial`]
        Serial = "serial",
        /// [`WaitReason::BudgetSpent`]
        BudgetSpent = "budget_spent",
        /// [`WaitReason::BudgetReserved`]
        BudgetReserved = "budget_reserved",
        /// [`WaitReason::NoRunner`]
        NoRunner = "no_runner",
        /// [`WaitReason::Restored`]
        Restored = "restored",
        /// [`WaitReason::Unreachable`]
        Unreachable = "unreachable",
        /// [`WaitReason::Draining`]
        Draining = "draining",
        /// [`WaitReason::Preflight`]
        Preflight = "preflight",
        /// [`WaitReason::Resting`]
        Resting = "resting",
        /// [`WaitReason::Containment`]
        Containment = "containment",
        /// [`WaitReason::AccountHeld`]
        AccountHeld = "account_held",
        /// [`WaitReason::BreakerOpen`]
        BreakerOpen = "breaker_open",
        /// [`WaitReason::Probe`]
        Probe = "probe",
        /// [`WaitReason::Faltering`]
        Faltering = "faltering",
        /// [`WaitReason::Resuming`]
        Resuming = "resuming",
        /// [`WaitReason::NoSlot`]
        NoSlot = "no_slot",
        /// [`WaitReason::Session`]
        Session = "session",
    }
}

words! {
    /// What a job has to pass before it starts.
    Condition {
        /// Its time has come.
        Due = "due",
        /// Nobody paused starts.
        Unpaused = "unpaused",
        /// The scheduler has looked at it since.
        Looked = "looked",
        /// Its project is known.
        Project = "project",
        /// Nobody paused its project or its stage.
        Going = "going",
        /// Its stage is known.
        Stage = "stage",
        /// Its prompt can be made.
        Prompt = "prompt",
        /// There is quota for its stage.
        Quota = "quota",
        /// Its project's `max_concurrency`.
        ProjectLimit = "project_limit",
        /// `ORCH_MAX_CONCURRENCY`.
        FleetLimit = "fleet_limit",
        /// Nothing runs that it must not run beside.
        Serial = "serial",
        /// The budgets it is counted in.
        Budget = "budget",
        /// Some runner is known.
        Registered = "registered",
        /// No agent of a restored database's past can live.
        Settled = "settled",
        /// A runner answers.
        Reachable = "reachable",
        /// The runner takes new work.
        Open = "open",
        /// The runner can start an agent.
        Preflight = "preflight",
        /// The runner refused nothing a moment ago.
        Rested = "rested",
        /// The runner can contain the agent as far as its project asks for.
        Contained = "contained",
        /// The account is not held.
        Account = "account",
        /// The account's breaker.
        Breaker = "breaker",
        /// The account was not freed just now.
        Spread = "spread",
        /// The runner has a free slot.
        Slot = "slot",
        /// The runner has the conversation that the job goes on with.
        Session = "session",
    }
}

/// How a condition stands for a job that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was met when the reason was noted.
    Met,
    /// It is what the job waits for.
    Holds,
    /// Nobody looked at it: one before it holds the job.
    Unknown,
}

impl Standing {
    /// The word for programs and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Holds => "holds",
            Self::Unknown => "unknown",
        }
    }
}

impl WaitCode {
    /// The condition that is not met.
    pub const fn condition(self) -> Condition {
        match self {
            Self::NotDue => Condition::Due,
            Self::Paused => Condition::Unpaused,
            Self::PausedPart => Condition::Going,
            Self::NotLooked => Condition::Looked,
            Self::UnknownProject => Condition::Project,
            Self::UnknownStage => Condition::Stage,
            Self::Prompt => Condition::Prompt,
            Self::QuotaReserve => Condition::Quota,
            Self::ProjectLimit => Condition::ProjectLimit,
            Self::ConcurrencyLimit => Condition::FleetLimit,
            Self::Serial => Condition::Serial,
            Self::BudgetSpent | Self::BudgetReserved => Condition::Budget,
            Self::NoRunner => Condition::Registered,
            Self::Restored => Condition::Settled,
            Self::Unreachable => Condition::Reachable,
            Self::Draining => Condition::Open,
            Self::Preflight => Condition::Preflight,
            Self::Resting => Condition::Rested,
            Self::Containment => Condition::Contained,
            Self::AccountHeld => Condition::Account,
            Self::BreakerOpen | Self::Probe | Self::Faltering => Condition::Breaker,
            Self::Resuming => Condition::Spread,
            Self::NoSlot => Condition::Slot,
            Self::Session => Condition::Session,
        }
    }
}

impl Condition {
    /// What holds when it is met, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Due => "its time has come",
            Self::Unpaused => "starts are not paused",
            Self::Looked => "the scheduler has looked at it since",
            Self::Project => "its project is in orch.toml",
            Self::Going => "neither its project nor its stage is paused",
            Self::Stage => "its stage is in orch.toml",
            Self::Prompt => "its prompt can be made",
            Self::Quota => "the quota has enough left for its stage",
            Self::ProjectLimit => "its project may have one run more",
            Self::FleetLimit => "all runners together may have one run more",
            Self::Serial => "nothing runs that it must not run beside",
            Self::Budget => "its budgets have room",
            Self::Registered => "a runner has registered",
            Self::Settled => "no agent from before a restore can live",
            Self::Reachable => "a runner answers",
            Self::Open => "it takes new work",
            Self::Preflight => "it can start agents",
            Self::Rested => "it refused nothing a moment ago",
            Self::Contained => "it can contain the agent as far as its project asks for",
            Self::Account => "its account is not held",
            Self::Breaker => "its account's breaker lets a run through",
            Self::Spread => "its account was not freed just now",
            Self::Slot => "it has a free slot",
            Self::Session => "it has the conversation that the job goes on with, if any",
        }
    }

    /// Whether it is a matter of this very job; the others hold all jobs alike.
    const fn is_of_the_job(self) -> bool {
        match self {
            Self::Project
            | Self::Going
            | Self::Stage
            | Self::Prompt
            | Self::Quota
            | Self::ProjectLimit
            | Self::Serial
            | Self::Budget
            | Self::Contained => true,
            Self::Due
            | Self::Unpaused
            | Self::Looked
            | Self::FleetLimit
            | Self::Registered
            | Self::Settled
            | Self::Reachable
            | Self::Open
            | Self::Preflight
            | Self::Rested
            | Self::Account
            | Self::Breaker
            | Self::Spread
            | Self::Slot
            | Self::Session => false,
        }
    }
}

impl Waiting {
    /// Every condition in its order, with how it stands; `looked_at`: a claim looked at this very job, and did not only
    /// find that no job starts whatever it is.
    pub fn conditions(&self, looked_at: bool) -> Vec<(Condition, Standing)> {
        let held = self.reason.code().condition();
        let standing = |condition: Condition| match condition.cmp(&held) {
            std::cmp::Ordering::Less if looked_at || !condition.is_of_the_job() => Standing::Met,
            std::cmp::Ordering::Equal => Standing::Holds,
            std::cmp::Ordering::Less | std::cmp::Ordering::Greater => Standing::Unknown,
        };
        Condition::ALL.iter().map(|condition| (*condition, standing(*condition))).collect()
    }
}

impl WaitReason {
    /// Its word for programs.
    pub const fn code(&self) -> WaitCode {
        match self {
            Self::NotDue => WaitCode::NotDue,
            Self::Paused => WaitCode::Paused,
            Self::PausedPart { .. } => WaitCode::PausedPart,
            Self::NotLooked => WaitCode::NotLooked,
            Self::UnknownProject => WaitCode::UnknownProject,
            Self::UnknownStage { .. } => WaitCode::UnknownStage,
            Self::Prompt { .. } => WaitCode::Prompt,
            Self::QuotaReserve { .. } => WaitCode::QuotaReserve,
            Self::ProjectLimit { .. } => WaitCode::ProjectLimit,
            Self::ConcurrencyLimit { .. } => WaitCode::ConcurrencyLimit,
            Self::Serial { .. } => WaitCode::Serial,
            Self::BudgetSpent { .. } => WaitCode::BudgetSpent,
            Self::BudgetReserved { .. } => WaitCode::BudgetReserved,
            Self::NoRunner => WaitCode::NoRunner,
            Self::Restored => WaitCode::Restored,
            Self::Unreachable => WaitCode::Unreachable,
            Self::Draining => WaitCode::Draining,
            Self::Preflight { .. } => WaitCode::Preflight,
            Self::Resting => WaitCode::Resting,
            Self::Containment { .. } => WaitCode::Containment,
            Self::AccountHeld { .. } => WaitCode::AccountHeld,
            Self::BreakerOpen { .. } => WaitCode::BreakerOpen,
            Self::Probe { .. } => WaitCode::Probe,
            Self::Faltering { .. } => WaitCode::Faltering,
            Self::Resuming { .. } => WaitCode::Resuming,
            Self::NoSlot => WaitCode::NoSlot,
            Self::Session { .. } => WaitCode::Session,
        }
    }

    /// What ends the wait, and what a person can do to end it sooner.
    pub fn ends(&self) -> String {
        match self {
            Self::NotDue => "by itself, at that time".to_owned(),
            Self::Paused => "when somebody says `orch resume`".to_owned(),
            Self::PausedPart { part } => {
                format!("when somebody says `orch resume --{} {}`", part.scope(), part.name())
            }
            Self::NotLooked => {
                "by itself, at the scheduler's next look (ORCH_QUEUE_POLL_INTERVAL at the latest)".to_owned()
            }
            Self::UnknownProject => {
                "when orch.toml has the project again (`orch config check` reads it), or with `orch cancel`"
                    .to_owned()
            }
            Self::UnknownStage { .. } => {
                "when orch.toml has the stage again (`orch config check` reads it), or with `orch cancel`"
                    .to_owned()
            }
            Self::Prompt { .. } => "when the stage's template is mended: it is read again by itself".to_owned(),
            Self::QuotaReserve { .. } => {
                "when the window is over; `essential = true` lets a stage use the reserve".to_owned()
            }
            Self::ProjectLimit { .. } => {
                "when a run of its project ends, or with a higher max_concurrency in orch.toml".to_owned()
            }
            Self::ConcurrencyLimit { .. } => {
                "when any run ends, or with a higher ORCH_MAX_CONCURRENCY of the scheduler".to_owned()
            }
            Self::Serial { behind } => {
                format!("when job {behind} ends: `orch why {behind}` says how far it is")
            }
            Self::BudgetSpent { exceeded } => {
                format!("when there is more to spend: {}, or more in orch.toml", exceeded.raise())
            }
            Self::BudgetReserved { .. } => {
                "when a run that is counted in it ends and leaves what it did not use; `orch budget` shows it"
                    .to_owned()
            }
            Self::NoRunner => "when a runner registers: start `orch-runner`".to_owned(),
            Self::Restored => "by itself, once no agent from before can live".to_owned(),
            Self::Unreachable => {
                "when a runner is heard again: `orch runners` shows since when it is silent; `orch runners lost NODE` \
                 if its host is gone for good"
                    .to_owned()
            }
            Self::Draining => "when a drained runner is started again, or another one registers".to_owned(),
            Self::Preflight { .. } => {
                "when the runner finds its agent well, which it looks for by itself (ORCH_PREFLIGHT_CACHE_TTL)"
                    .to_owned()
            }
            Self::Resting => "by itself, in a moment".to_owned(),
            Self::Containment { .. } => {
                "when a runner can, which each looks for by itself (`orch runners` shows what it lacks), or with another \
                 `containment` of the project in orch.toml"
                    .to_owned()
            }
            Self::AccountHeld { reason: HoldReason::UsageLimit, account } => {
                format!("by itself when the window is over; `orch account resume {account}` tries at once")
            }
            Self::AccountHeld { account, .. } => {
                format!("with `orch account resume {account}`, once what it was held for is mended")
            }
            Self::BreakerOpen { account } => {
                format!("with one probe after the pause; `orch breaker reset {account}` tries at once")
            }
            Self::Probe { account } => {
                format!("when the probe ends; `orch breaker reset {account}` does not wait for it")
            }
            Self::Faltering { .. } => "when a run that is out ends, well or not".to_owned(),
            Self::Resuming { .. } => "by itself, within seconds".to_owned(),
            Self::NoSlot => {
                "when an agent ends, or with more slots (ORCH_RUNNER_SLOTS) or another runner".to_owned()
            }
            Self::Session { .. } => "when that runner has a slot, or the wait is over".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, NodeId};

    fn named(condition: Condition, conditions: &[(Condition, Standing)]) -> Standing {
        conditions.iter().find(|(one, _)| *one == condition).unwrap().1
    }

    #[test]
    fn what_comes_before_the_reason_is_met_and_what_comes_after_is_not_known() {
        let conditions = WaitReason::NoSlot.open_ended().conditions(true);
        let count = |standing| conditions.iter().filter(|(_, one)| *one == standing).count();
        assert_eq!((count(Standing::Met), count(Standing::Holds), count(Standing::Unknown)), (22, 1, 1));
        assert_eq!(named(Condition::Slot, &conditions), Standing::Holds);
        let paused = WaitReason::Paused.open_ended().conditions(true);
        assert_eq!(named(Condition::Due, &paused), Standing::Met);
        assert_eq!(named(Condition::Slot, &paused), Standing::Unknown);
    }

    #[test]
    fn a_reason_that_is_all_jobs_alike_says_nothing_of_the_job_itself() {
        let conditions = WaitReason::NoSlot.open_ended().conditions(false);
        assert_eq!(named(Condition::Serial, &conditions), Standing::Unknown);
        assert_eq!(named(Condition::Reachable, &conditions), Standing::Met);
    }

    #[test]
    fn a_code_is_the_word_that_the_reason_is_kept_under() {
        let account = Account("a".to_owned());
        for reason in [
            WaitReason::NotDue,
            WaitReason::UnknownStage { stage: "s".to_owned() },
            WaitReason::AccountHeld { account: account.clone(), reason: HoldReason::Auth },
            WaitReason::Faltering { account, count: 2 },
            WaitReason::Session { node: NodeId("n".to_owned()) },
        ] {
            assert_eq!(serde_json::to_value(&reason).unwrap()["code"], reason.code().as_str());
        }
    }
}
