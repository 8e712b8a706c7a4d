//! A store in memory for seeded simulations: each verb runs to its end at once, so that the same calls always give
//! the same answers. Never in a shipped binary.
//!
//! What may happen is decided where SQLite's store has it decided; the contract suite runs on both. The [`Disk`] is
//! what outlives a process: it is opened again after a crash, fails on request, and tells a checker of every commit.

mod accept;
mod apply;
mod claim;
mod doctor;
mod fleet;
mod outbox;
mod outside;
mod reads;
mod retention;
mod sanitize;
mod spending;
mod tables;
mod verbs;
mod views;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::overview::LateOutcome;
use domain::{Job, Run};

use self::tables::Tables;
use crate::{Error, Store, Violation};

/// What outlives the processes that use it. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

/// One committed change, as [`Disk::watch`] tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// Counts the commits of this disk, from 1.
    pub number: u64,
    /// Who wrote, by the name it opened the disk with.
    pub process: String,
    /// The verb of [`Store`] that wrote.
    pub verb: &'static str,
    /// The jobs that are new or changed, by id.
    pub jobs: Vec<Moved<Job>>,
    /// The runs that are new or changed, by id.
    pub runs: Vec<Moved<Run>>,
}

/// A row before and after a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved<T> {
    /// `None`: it is new.
    pub before: Option<T>,
    /// As committed.
    pub after: T,
}

/// Everything a checker judges, of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// All jobs, by id.
    pub jobs: Vec<Job>,
    /// All runs, by id.
    pub runs: Vec<Run>,
    /// All reports that came after their run was given up, by run.
    pub late_outcomes: Vec<LateOutcome>,
}

impl Disk {
    /// Opens the disk for a process. A handle that the same process opened earlier is closed by it: to open again is
    /// to have crashed and restarted. Processes of other names share the disk.
    pub fn open(&self, process: &str) -> Arc<dyn Store> {
        let mut state = self.state();
        state.opened += 1;
        let handle = state.opened;
        state.open.insert(process.to_owned(), handle);
        Arc::new(MemoryStore { disk: self.clone(), process: process.to_owned(), handle })
    }

    /// Closes a process's handle: whatever still holds it gets [`Error::Closed`] from now on.
    pub fn crash(&self, process: &str) {
        self.state().open.remove(process);
    }

    /// Lets the next `writes` writes fail with [`Error::Unavailable`], as behind a lock that somebody else holds.
    pub fn set_busy(&self, writes: u32) {
        self.state().busy_writes = writes;
    }

    /// Lets every write fail with [`Error::Unavailable`] until it is set to false.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Calls `watcher` at every commit from now on, in their order. It must not use the disk.
    pub fn watch(&self, watcher: impl FnMut(&Commit) + Send + 'static) {
        self.state().watchers.push(Watcher(Box::new(watcher)));
    }

    /// Reads all that a checker judges.
    pub fn snapshot(&self) -> Snapshot {
        self.state().tables.snapshot()
    }

    /// Looks for rows that break an invariant, as [`Store::violations`] does, past any process.
    pub fn violations(&self) -> Vec<Violation> {
        self.state().tables.violations()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disk, behind its lock.
#[derive(Debug, Default)]
struct State {
    tables: Tables,
    /// The handle of each process that has it open.
    open: BTreeMap<String, u64>,
    /// How many handles there were.
    opened: u64,
    commits: u64,
    busy_writes: u32,
    full: bool,
    watchers: Vec<Watcher>,
}

struct Watcher(Box<dyn FnMut(&Commit) + Send>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watcher").finish_non_exhaustive()
    }
}

/// A process's handle.
#[derive(Debug)]
struct MemoryStore {
    disk: Disk,
    process: String,
    handle: u64,
}

/// Why the disk took nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("somebody else holds the lock")]
    Busy,
    #[error("the disk is full")]
    Full,
}

impl MemoryStore {
    fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.disk.state();
        if state.open.get(&self.process) == Some(&self.handle) { Ok(state) } else { Err(Error::Closed) }
    }

    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, Error> {
        Ok(read(&self.state()?.tables))
    }

    /// Commits all that `write` did, or nothing when it fails.
    fn write<T>(
        &self,
        verb: &'static str,
        write: impl FnOnce(&mut Tables) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.state()?;
        state.fail_if_asked()?;
        match write(&mut state.tables) {
            Ok(answer) => {
                state.commit(&self.process, verb);
                Ok(answer)
            }
            Err(error) => {
                state.tables.roll_back();
                Err(error)
            }
        }
    }
}

impl State {
    fn fail_if_asked(&mut self) -> Result<(), Error> {
        if self.full {
            return Err(Error::Unavailable(Box::new(Fault::Full)));
        }
        if self.busy_writes > 0 {
            self.busy_writes -= 1;
            return Err(Error::Unavailable(Box::new(Fault::Busy)));
        }
        Ok(())
    }

    fn commit(&mut self, process: &str, verb: &'static str) {
        self.commits += 1;
        let (jobs, runs) = self.tables.commit();
        let commit = Commit { number: self.commits, process: process.to_owned(), verb, jobs, runs };
        for watcher in &mut self.watchers {
            (watcher.0)(&commit);
        }
    }
}
