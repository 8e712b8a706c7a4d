//! The ways to build the protocol wrong that the model has to notice.

/// One thing done wrong, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The protocol as it stands.
    Faithful,
    /// The node spawns when the Launch arrives.
    SpawnOnLaunch,
    /// An outcome moves the job whatever run it speaks of.
    OutcomeNotFenced,
    /// The node counts its lease from the receipt of an answer.
    LeaseFromReceipt,
    /// The node's lease is as long as the scheduler's.
    RunnerLeaseNotShorter,
    /// The timer that ends an agent lives in the runner and dies with it.
    NoDeadMan,
    /// An agent lives on when its shim dies.
    AgentOutlivesShim,
    /// What the runner journaled is gone after its crash.
    JournalNotDurable,
    /// After a restart the runner believes a remembered pid.
    PidTrusted,
    /// A lost run's job is queued with the run still written on it.
    RequeueKeepsOwnership,
    /// The scheduler acknowledges an outcome before it is committed.
    AckBeforeCommit,
    /// A started run that a renew does not list counts as lost.
    AbsenceIsLoss,
    /// The reaper takes runs on nodes without a session for orphans.
    ReaperJoinsRunners,
    /// After a restart the runner spawns what it meant to spawn.
    RespawnFromIntent,
    /// A Start that finds its run started is refused and the run given up.
    RepeatedStartRefused,
    /// A repeated Start is answered first, and the lease extended after.
    ExtendAfterAnswer,
    /// Renew numbers begin anew with each Register, and an answer that renewed nothing counts as a renewal.
    StragglerCounts,
    /// A scheduler that starts gives the runs it finds no time.
    NoGraceAtStart,
}

impl Variant {
    /// Every broken one.
    pub const BROKEN: [Self; 17] = [
        Self::SpawnOnLaunch,
        Self::OutcomeNotFenced,
        Self::LeaseFromReceipt,
        Self::RunnerLeaseNotShorter,
        Self::NoDeadMan,
        Self::AgentOutlivesShim,
        Self::JournalNotDurable,
        Self::PidTrusted,
        Self::RequeueKeepsOwnership,
        Self::AckBeforeCommit,
        Self::AbsenceIsLoss,
        Self::ReaperJoinsRunners,
        Self::RespawnFromIntent,
        Self::RepeatedStartRefused,
        Self::ExtendAfterAnswer,
        Self::StragglerCounts,
        Self::NoGraceAtStart,
    ];
}
