//! The live runs of this process: their leases, what their supervisors wait for, and who is looked after already.
//!
//! A run is here from the moment its claim is committed until its end is. The database stays the authority.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::RunId;
use domain::job::LiveRunState;
use tokio::sync::watch;

use crate::lease::{LeaseBook, LiveRun};

/// Where a supervised run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Offered,
    Started,
    /// No longer live, whoever ended it.
    Over,
}

/// The most runs kept in mind as unknown; more of them are looked up at every renew.
const UNKNOWN_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct LiveRuns {
    inner: Mutex<Inner>,
    looked_after: Arc<Mutex<BTreeSet<RunId>>>,
    /// Runs that nodes hold and the database never made.
    unknown: Mutex<BTreeSet<RunId>>,
}

#[derive(Debug, Default)]
struct Inner {
    book: LeaseBook,
    phases: BTreeMap<RunId, watch::Sender<Phase>>,
}

impl LiveRuns {
    /// Takes a run in, heard of now.
    pub(crate) fn insert(&self, run: LiveRun, boot_ms: i64) -> watch::Receiver<Phase> {
        let mut inner = self.lock();
        let phase = match run.state {
            LiveRunState::Offered => Phase::Offered,
            LiveRunState::Started => Phase::Started,
        };
        let id = run.run;
        inner.book.insert(run, boot_ms);
        inner.phases.entry(id).or_insert_with(|| watch::Sender::new(phase)).subscribe()
    }

    /// Says that a run's start is committed.
    pub(crate) fn start(&self, run: RunId) {
        let mut inner = self.lock();
        inner.book.set_started(run);
        if let Some(phase) = inner.phases.get(&run) {
            phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Started) != Phase::Started);
        }
    }

    /// Says that a run's end is committed.
    pub(crate) fn end(&self, run: RunId) {
        let mut inner = self.lock();
        inner.book.remove(run);
        if let Some(phase) = inner.phases.remove(&run) {
            phase.send_replace(Phase::Over);
        }
    }

    /// Works on the leases under the lock.
    pub(crate) fn book<T>(&self, work: impl FnOnce(&mut LeaseBook) -> T) -> T {
        work(&mut self.lock().book)
    }

    /// Makes the caller the only task that looks after a run, until the guard is dropped.
    pub(crate) fn look_after(&self, run: RunId) -> Option<LookedAfter> {
        let mut all = self.looked_after.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(run).then(|| LookedAfter { run, all: self.looked_after.clone() })
    }

    /// Whether a task of this process looks after a run.
    pub(crate) fn is_looked_after(&self, run: RunId) -> bool {
        self.looked_after.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }

    /// Keeps in mind that the database never made a run: run ids are committed before any node hears of them.
    pub(crate) fn note_unknown(&self, run: RunId) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() < UNKNOWN_MAX {
            unknown.insert(run);
        }
    }

    pub(crate) fn is_unknown(&self, run: RunId) -> bool {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the one task that talks to a node about a run.
#[derive(Debug)]
pub(crate) struct LookedAfter {
    run: RunId,
    all: Arc<Mutex<BTreeSet<RunId>>>,
}

impl Drop for LookedAfter {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}
