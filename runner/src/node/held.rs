//! One run that the node holds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::outcome::Outcome;
use proto::v1::{HeldRun, RunPhase};
use tokio::sync::watch;

use crate::run_dir::{Assignment, RunDir};
use crate::shim::Wish;

/// A run and where it is. Its tasks and the calls about it meet here.
#[derive(Debug)]
pub(crate) struct Held {
    /// Without the prompt, which is on disk.
    pub(crate) assignment: Assignment,
    pub(crate) dir: RunDir,
    pub(crate) phase: watch::Sender<RunPhase>,
    /// Who wants its end.
    pub(crate) wish: watch::Sender<Option<Wish>>,
    /// How far its log was sent, to whoever was sent most.
    pub(crate) sent: AtomicU64,
    fenced: Arc<AtomicBool>,
    ended_at_ms: Mutex<Option<i64>>,
}

impl Held {
    pub(crate) fn new(mut assignment: Assignment, dir: RunDir, phase: RunPhase) -> Self {
        assignment.prompt = String::new();
        let fenced = Arc::new(AtomicBool::new(dir.is_fenced()));
        Self {
            assignment,
            dir,
            phase: watch::Sender::new(phase),
            wish: watch::Sender::new(None),
            sent: AtomicU64::new(0),
            fenced,
            ended_at_ms: Mutex::new(None),
        }
    }

    /// A program of the run's beside its agent, kept in a folder of its own: it ends with the run, and is fenced with it.
    pub(crate) fn beside(&self, assignment: Assignment, dir: RunDir) -> Self {
        Self {
            wish: self.wish.clone(),
            fenced: self.fenced.clone(),
            ..Self::new(assignment, dir, RunPhase::Started)
        }
    }

    pub(crate) fn phase(&self) -> RunPhase {
        *self.phase.borrow()
    }

    /// The outcome is on disk.
    pub(crate) fn ended(&self, outcome: &Outcome) {
        *self.ended_at_ms.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome.ended_at.as_ms());
        self.phase.send_replace(RunPhase::Ended);
    }

    pub(crate) fn ended_at_ms(&self) -> Option<i64> {
        *self.ended_at_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants the run's end; a stronger wish stays.
    pub(crate) fn wish(&self, wish: Wish) {
        self.wish.send_if_modified(|known| {
            let changed = Some(wish) > *known;
            *known = (*known).max(Some(wish));
            changed
        });
    }

    /// Ends the run as one that no longer owns its job.
    pub(crate) fn fence(&self) {
        self.wish(Wish::Fence);
        if self.fenced.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::warn!(run.id = %self.assignment.run, job.id = %self.assignment.job, "fenced: the run no longer owns its job");
        if let Err(error) = self.dir.mark_fenced() {
            tracing::warn!(run.id = %self.assignment.run, %error, "could not note that a run is fenced");
        }
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::SeqCst)
    }

    /// Whether the run counts against the node's slots.
    pub(crate) fn takes_slot(&self) -> bool {
        self.phase() != RunPhase::Ended && !self.is_fenced()
    }

    pub(crate) fn listed(&self) -> HeldRun {
        HeldRun {
            run: Some(self.assignment.key()),
            job_id: self.assignment.job.0,
            phase: self.phase().into(),
        }
    }
}
