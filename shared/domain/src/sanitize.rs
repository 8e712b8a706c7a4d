//! What to do about rows that break I1 to I3: imported, restored, or written with the constraints switched off.
//!
//! One pure rule per shape. The store finds the rows and writes what is said here; a healthy row is left alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::{Chance, Policy};
use crate::transition::{After, LostHow};
use crate::{Budgets, Epoch, JobId, JobState, Status, Timestamp};

/// A job that may break an invariant, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its id.
    pub job: JobId,
    /// Its row; `None`: there is none, or it has a status nobody knows.
    pub row: Option<SuspectRow>,
    /// Its runs that are not, or not wholly, ended.
    pub runs: Vec<SuspectRun>,
}

/// The columns of a job that can contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspectRow {
    /// What it says it is.
    pub status: Status,
    /// The run it points at: a text, since a row made by force may hold any.
    pub run: Option<String>,
    /// Whether it says it may be claimed.
    pub due: bool,
    /// Not claimed before this instant.
    pub available_at: Timestamp,
    /// When its end was asked for.
    pub cancel_requested_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// What has been spent.
    pub budgets: Budgets,
    /// The newest epoch of the row and of all its runs.
    pub epoch: Epoch,
    /// The row's revision.
    pub revision: i64,
}

/// A run that is not wholly ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspectRun {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub state: SuspectRunState,
}

/// Where a run is that is not wholly ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspectRunState {
    /// Promised: nothing has been spawned for it.
    Offered,
    /// Under a lease: its agent may be alive.
    Started,
    /// Ended by one of its columns and not by another.
    HalfEnded,
}

/// What was wrong; each kind is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A queued job that owned something (I1).
    ImpossibleQueued,
    /// A running job without a live run of its own (I2).
    ImpossibleRunning,
    /// A finished job that owned something, or did not say how it ended (I2).
    ImpossibleFinished,
    /// A run that is not ended and that no running job points at (I2, I3).
    OrphanedRun,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ImpossibleQueued, Self::ImpossibleRunning, Self::ImpossibleFinished, Self::OrphanedRun];

    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImpossibleQueued => "impossible_queued",
            Self::ImpossibleRunning => "impossible_running",
            Self::ImpossibleFinished => "impossible_finished",
            Self::OrphanedRun => "orphaned_run",
        }
    }
}

/// What shall be written for one suspect, all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The job.
    pub job: JobId,
    /// The revision its row must still have and what it says afterwards; `None`: it is left alone.
    pub row: Option<(i64, After)>,
    /// The runs that end, lost, as [`ORPHANED`].
    pub ends: Vec<String>,
    /// What was wrong, a kind for the row and one for each run.
    pub kinds: Vec<Kind>,
}

/// The reason of a run that a repair ended.
pub const ORPHANED: &str = "orphaned";

/// What a repair may use.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The instant of the repair.
    pub now: Timestamp,
    /// How long an agent may live that nobody can be asked about: the scheduler's lease.
    pub lease: Duration,
    /// Budgets and waits.
    pub policy: Policy,
    /// For the jitter of a wait.
    pub chance: Chance,
}

/// Says how a suspect is repaired; `None` when it breaks none of I1 to I3.
pub fn repair(suspect: &Suspect, rules: &Rules) -> Option<Repair> {
    let mut repair = Repair { job: suspect.job, row: None, ends: Vec::new(), kinds: Vec::new() };
    let own = suspect.row.as_ref().and_then(|row| own_run(row, &suspect.runs));
    repair.ends.extend(suspect.runs.iter().filter(|run| Some(*run) != own).map(|run| run.id.clone()));
    if let Some(row) = &suspect.row
        && let Some((kind, state, budgets)) = mend(row, own.is_some(), &suspect.runs, rules)
    {
        repair.row = Some((row.revision, After { state, budgets, epoch: row.epoch }));
        repair.kinds.push(kind);
    }
    repair.kinds.extend(repair.ends.iter().map(|_| Kind::OrphanedRun));
    (!repair.kinds.is_empty()).then_some(repair)
}

/// The live run that a running job rightly points at.
fn own_run<'a>(row: &SuspectRow, runs: &'a [SuspectRun]) -> Option<&'a SuspectRun> {
    let pointed_at =
        |run: &&SuspectRun| row.run.as_ref() == Some(&run.id) && run.state != SuspectRunState::HalfEnded;
    runs.iter().find(pointed_at).filter(|_| row.status == Status::Running)
}

fn mend(
    row: &SuspectRow,
    owns: bool,
    runs: &[SuspectRun],
    rules: &Rules,
) -> Option<(Kind, JobState, Budgets)> {
    let now = rules.now;
    // Who asked for its end is not disappointed: a cancelled job never runs again by itself.
    let cancelled = row.cancel_requested_at.map(|_| JobState::Cancelled { finished_at: now });
    // Its agent cannot be asked, and is certainly gone only after a whole lease.
    let agent_alive = runs.iter().any(|run| run.state != SuspectRunState::Offered);
    let gone_at = if agent_alive { now.plus(rules.lease) } else { Timestamp::default() };
    match row.status {
        Status::Queued => {
            let clean = row.run.is_none()
                && row.cancel_requested_at.is_none()
                && row.finished_at.is_none()
                && row.failure_reason.is_none();
            if clean && runs.is_empty() {
                return None;
            }
            let queued = JobState::Queued { available_at: row.available_at.max(gone_at) };
            Some((Kind::ImpossibleQueued, cancelled.unwrap_or(queued), row.budgets))
        }
        Status::Running if owns => None,
        Status::Running => {
            let (state, budgets) = lost(row, gone_at, rules);
            match cancelled {
                Some(cancelled) => Some((Kind::ImpossibleRunning, cancelled, row.budgets)),
                None => Some((Kind::ImpossibleRunning, state, budgets)),
            }
        }
        Status::Done | Status::Failed | Status::Cancelled => {
            let clean = row.run.is_none()
                && row.cancel_requested_at.is_none()
                && row.finished_at.is_some()
                && !row.due
                && row.failure_reason.is_some() == (row.status == Status::Failed);
            if clean {
                return None;
            }
            let finished_at = row.finished_at.unwrap_or(now);
            let reason = || row.failure_reason.clone().unwrap_or_else(|| "no reason was kept".to_owned());
            let state = match row.status {
                Status::Failed => JobState::Failed { finished_at, reason: reason() },
                Status::Cancelled => JobState::Cancelled { finished_at },
                Status::Done | Status::Queued | Status::Running => JobState::Done { finished_at },
            };
            Some((Kind::ImpossibleFinished, state, row.budgets))
        }
    }
}

/// A try was under way and nobody will report on it: what DESIGN.md section 4 says of a started run that is lost. Its
/// budget is spent, so that a row that breaks again and again is quarantined instead of being tried for ever.
fn lost(row: &SuspectRow, gone_at: Timestamp, rules: &Rules) -> (JobState, Budgets) {
    let (spent, now) = (row.budgets, rules.now);
    let budgets = Budgets { infra_attempts: spent.infra_attempts.saturating_add(1), ..spent };
    if budgets.infra_attempts >= rules.policy.infra_attempts_max {
        let last = LostHow::NodeLost.as_str();
        let reason =
            format!("quarantined: lost {} times, last: {last}, without a run", budgets.infra_attempts);
        return (JobState::Failed { finished_at: now, reason }, budgets);
    }
    let at = match spent.infra_attempts {
        0 => now,
        n => rules.policy.retry_at(now, n - 1, None, rules.chance),
    };
    (JobState::Queued { available_at: at.max(gone_at) }, budgets)
}

#[cfg(test)]
mod tests;
