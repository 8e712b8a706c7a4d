//! Deliberately broken variants of the system, each made at a seam that the simulation has anyway: the keepers, the
//! store, the calls, the clocks. Each must be found.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// The node spawns when a Launch arrives, without a Start.
    SpawnOnLaunch,
    /// A write is not guarded by what it expects of the row and the run.
    OutcomeNotFenced,
    /// The node counts its lease from the receipt of the answer.
    LeaseFromReceipt,
    /// The node's lease is longer than the scheduler's.
    NodeLeaseTooLong,
    /// Nothing ends an agent whose lease is over.
    NoDeadManTimer,
    /// A keeper that comes late does not look at its lease before it spawns.
    LateSpawn,
    /// What the node journaled is gone after a crash.
    JournalNotDurable,
    /// A node forgets its keepers when it restarts: agents are killed.
    RestartKillsAgents,
    /// A node spawns again what its journal meant to spawn.
    RespawnFromJournal,
    /// A dead keeper's leftovers are believed dead unseen.
    LeftoversIgnored,
    /// The scheduler is told that a write is durable before it is.
    AckBeforeCommit,
    /// A run that a renew does not list is given up.
    AbsenceIsLoss,
    /// Every run is given up when the scheduler starts.
    NoGraceAtStart,
    /// The scheduler gives a run up when its watch is cut.
    CutWatchIsLoss,
    /// A cancel is told once and never repeated in a renew.
    CancelNotOnRenew,
    /// A Start that comes again is refused.
    RepeatedStartRefused,
    /// Claims are made at once after the database was restored.
    ClaimsDoNotWait,
}

impl Broken {
    /// All of them, by the name the command line takes.
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::SpawnOnLaunch, "spawn-on-launch"),
        (Self::OutcomeNotFenced, "outcome-not-fenced"),
        (Self::LeaseFromReceipt, "lease-from-receipt"),
        (Self::NodeLeaseTooLong, "node-lease-too-long"),
        (Self::NoDeadManTimer, "no-dead-man-timer"),
        (Self::LateSpawn, "late-spawn"),
        (Self::JournalNotDurable, "journal-not-durable"),
        (Self::RestartKillsAgents, "restart-kills-agents"),
        (Self::RespawnFromJournal, "respawn-from-journal"),
        (Self::LeftoversIgnored, "leftovers-ignored"),
        (Self::AckBeforeCommit, "ack-before-commit"),
        (Self::AbsenceIsLoss, "absence-is-loss"),
        (Self::NoGraceAtStart, "no-grace-at-start"),
        (Self::CutWatchIsLoss, "cut-watch-is-loss"),
        (Self::CancelNotOnRenew, "cancel-not-on-renew"),
        (Self::RepeatedStartRefused, "repeated-start-refused"),
        (Self::ClaimsDoNotWait, "claims-do-not-wait"),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(broken, _)| *broken == self).map_or("", |(_, name)| name)
    }

    /// The variant of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(broken, _)| *broken)
    }
}
