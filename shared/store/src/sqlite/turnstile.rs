//! Whose turn it is to write, among processes that share one file.
//!
//! SQLite's own lock is not fair: of two processes the one that loops tighter starves the other for seconds. Two
//! advisory locks make them alternate: whoever wants to write holds the *gate* while waiting for the *pen*, so that
//! a process that just put the pen down finds the gate taken by the one that waits. Fairness only: correctness is
//! SQLite's, and a turn that does not come within [`TURN_WAIT_MAX`] is done without.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{mpsc, oneshot};

/// How long to wait for a turn: longer than any batch takes, so that only a stopped process is overtaken.
pub(super) const TURN_WAIT_MAX: Duration = Duration::from_secs(1);

/// The place to ask for a turn.
#[derive(Debug)]
pub(super) struct Turnstile {
    locks: Arc<Locks>,
    /// To the thread that waits where waiting is needed; it ends with the turnstile.
    waiter: mpsc::UnboundedSender<oneshot::Sender<Turn>>,
}

/// The right to write next, given back on drop.
#[derive(Debug)]
pub(super) struct Turn(Arc<Locks>);

#[derive(Debug)]
struct Locks {
    gate: File,
    pen: File,
}

impl Turnstile {
    /// Opens the two lock files beside `database`.
    pub(super) fn open(database: &Path) -> io::Result<Self> {
        let locks = Arc::new(Locks { gate: lock_file(database, "gate")?, pen: lock_file(database, "pen")? });
        let (waiter, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<Turn>>();
        let waiting = Arc::clone(&locks);
        std::thread::Builder::new().name("store-turnstile".into()).spawn(move || {
            while let Some(reply) = asked.blocking_recv() {
                if waiting.wait().is_ok() {
                    // Nobody there any more: the returned turn drops, which gives it back.
                    drop(reply.send(Turn(Arc::clone(&waiting))));
                }
            }
        })?;
        Ok(Self { locks, waiter })
    }

    /// Waits for a turn; `None` when it did not come in time.
    pub(super) async fn enter(&self) -> Option<Turn> {
        if self.locks.try_now() {
            return Some(Turn(Arc::clone(&self.locks)));
        }
        let (reply, turn) = oneshot::channel();
        self.waiter.send(reply).ok()?;
        if let Ok(turn) = tokio::time::timeout(TURN_WAIT_MAX, turn).await {
            return turn.ok();
        }
        tracing::warn!("another process holds the turn to write for too long, going on without");
        None
    }
}

impl Locks {
    /// Takes both locks if nobody has or wants them.
    fn try_now(&self) -> bool {
        if flock(&self.gate, FlockOperation::NonBlockingLockExclusive).is_err() {
            return false;
        }
        let taken = flock(&self.pen, FlockOperation::NonBlockingLockExclusive).is_ok();
        let _ = flock(&self.gate, FlockOperation::Unlock);
        taken
    }

    fn wait(&self) -> rustix::io::Result<()> {
        lock_blocking(&self.gate)?;
        let taken = lock_blocking(&self.pen);
        let _ = flock(&self.gate, FlockOperation::Unlock);
        taken
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = flock(&self.0.pen, FlockOperation::Unlock);
    }
}

fn lock_blocking(file: &File) -> rustix::io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result,
        }
    }
}

fn lock_file(database: &Path, suffix: &str) -> io::Result<File> {
    let mut name = database.as_os_str().to_owned();
    name.push("-");
    name.push(suffix);
    OpenOptions::new().create(true).truncate(false).write(true).open(PathBuf::from(name))
}
