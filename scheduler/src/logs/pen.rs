//! What is written into log files: the pieces of all logs in one queue, drained by one thread while anything is in it.
//!
//! A piece is taken without a wait for the disk, as long as there is room. A log of which a piece could not be written takes
//! no more, so that no hole is left that nothing declares. Making logs durable is not its business.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use service::tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long pieces wait for others to be written with, unless somebody waits for them.
const GATHER: Duration = Duration::from_millis(10);
/// From so many bytes on they do not wait.
const ENOUGH_BYTES: usize = 128 * 1024;
/// How much of one log waits to be written, in bytes.
const ROOM_OF_ONE: u32 = 256 * 1024;
/// How much of all logs, in bytes.
const ROOM_OF_ALL: u32 = 16 * 1024 * 1024;

/// Writes logs.
#[derive(Debug)]
pub(super) struct Pen {
    queue: Mutex<Queue>,
    grown: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: Vec<Piece>,
    bytes: usize,
    /// Logs to open once the pieces before are written.
    openings: Vec<Opening>,
    /// Somebody waits.
    is_urgent: bool,
    /// A thread drains it.
    is_drained: bool,
}

/// A log that is open for writing.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    room: Arc<Semaphore>,
    /// Why a piece of it could not be written.
    failure: OnceLock<(io::ErrorKind, String)>,
}

#[derive(Debug)]
struct Piece {
    log: Arc<Log>,
    at: u64,
    bytes: Bytes,
    /// Free again once it is written: in the log's room, and in that of all.
    _room: [OwnedSemaphorePermit; 2],
}

#[derive(Debug)]
struct Opening {
    path: PathBuf,
    opened: oneshot::Sender<io::Result<(Arc<Log>, u64)>>,
}

impl Default for Pen {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            grown: Condvar::new(),
            room: Arc::new(Semaphore::new(ROOM_OF_ALL as usize)),
        }
    }
}

impl Pen {
    /// Opens a log after what was to be written before; gives its length, too.
    pub(super) async fn open(self: &Arc<Self>, path: PathBuf) -> io::Result<(Arc<Log>, u64)> {
        let (opened, answer) = oneshot::channel();
        self.change(|queue| {
            queue.openings.push(Opening { path, opened });
            queue.is_urgent = true;
        });
        answer.await.map_err(io::Error::other)?
    }

    /// Takes bytes to be written at an offset; waits while there is no room.
    ///
    /// # Errors
    /// An earlier piece of the log could not be written.
    pub(super) async fn write(self: &Arc<Self>, log: &Arc<Log>, at: u64, bytes: Bytes) -> io::Result<()> {
        log.check()?;
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(ROOM_OF_ONE);
        // One after the other: what waits for its log's room takes none from the others.
        let own = self.take(&log.room, size).await?;
        let room = [own, self.take(&self.room, size).await?];
        self.change(|queue| {
            queue.bytes += bytes.len();
            queue.pieces.push(Piece { log: Arc::clone(log), at, bytes, _room: room });
        });
        Ok(())
    }

    /// Waits until everything of a log is written.
    ///
    /// # Errors
    /// A piece of it could not be written.
    pub(super) async fn settle(self: &Arc<Self>, log: &Log) -> io::Result<()> {
        drop(self.take(&log.room, ROOM_OF_ONE).await?);
        log.check()
    }

    async fn take(self: &Arc<Self>, room: &Arc<Semaphore>, size: u32) -> io::Result<OwnedSemaphorePermit> {
        if let Ok(taken) = Arc::clone(room).try_acquire_many_owned(size) {
            return Ok(taken);
        }
        self.change(|queue| queue.is_urgent = true);
        Arc::clone(room).acquire_many_owned(size).await.map_err(io::Error::other)
    }

    /// Changes the queue, and sees to it that somebody drains it.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        change(&mut queue);
        if queue.is_empty() {
            return;
        }
        if mem::replace(&mut queue.is_drained, true) {
            if !queue.may_wait() {
                self.grown.notify_one();
            }
            return;
        }
        drop(queue);
        let pen = Arc::clone(self);
        let gather = if tasks::blocking_has_threads() { GATHER } else { Duration::ZERO };
        tasks::blocking_apart(move || pen.drain(gather));
    }

    fn drain(&self, gather: Duration) {
        while let Some((pieces, openings)) = self.next(gather) {
            write_all(pieces);
            for opening in openings {
                // Who asked may have gone.
                let _ = opening.opened.send(Log::open(&opening.path));
            }
        }
    }

    /// What waits to be done, after a wait for more of it.
    fn next(&self, gather: Duration) -> Option<(Vec<Piece>, Vec<Opening>)> {
        let mut queue = self.lock();
        if !queue.is_empty() && !gather.is_zero() {
            let waited = self.grown.wait_timeout_while(queue, gather, |queue| queue.may_wait());
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if queue.is_empty() {
            queue.is_drained = false;
            return None;
        }
        (queue.bytes, queue.is_urgent) = (0, false);
        Some((mem::take(&mut queue.pieces), mem::take(&mut queue.openings)))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    const fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.openings.is_empty()
    }

    const fn may_wait(&self) -> bool {
        !self.is_urgent && self.bytes < ENOUGH_BYTES
    }
}

impl Log {
    fn new(file: File) -> Self {
        Self { file, room: Arc::new(Semaphore::new(ROOM_OF_ONE as usize)), failure: OnceLock::new() }
    }

    fn open(path: &Path) -> io::Result<(Arc<Self>, u64)> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let end = file.metadata()?.len();
        Ok((Arc::new(Self::new(file)), end))
    }

    /// The file itself, for what is done to it once everything is written.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    fn check(&self) -> io::Result<()> {
        let failed = |(kind, text): &(io::ErrorKind, String)| Err(io::Error::new(*kind, text.clone()));
        self.failure.get().map_or(Ok(()), failed)
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        if self.failure.get().is_none()
            && let Err(error) = self.file.write_all_at(bytes, at)
        {
            // Nothing was there before.
            let _ = self.failure.set((error.kind(), error.to_string()));
        }
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

/// Writes pieces, those of a log that follow on each other by one call.
fn write_all(mut pieces: Vec<Piece>) {
    // It keeps the order of those of one log.
    pieces.sort_by_key(|piece| Arc::as_ptr(&piece.log).addr());
    let follows = |one: &Piece, next: &Piece| Arc::ptr_eq(&one.log, &next.log) && one.end() == next.at;
    let mut joined = Vec::new();
    for row in pieces.chunk_by(follows) {
        match row {
            [] => {}
            [one] => one.log.write(one.at, &one.bytes),
            [first, ..] => {
                joined.clear();
                for piece in row {
                    joined.extend_from_slice(&piece.bytes);
                }
                first.log.write(first.at, &joined);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_many_logs_take_at_once_is_in_each_of_them_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let (pen, path) = (Arc::new(Pen::default()), |n: usize| folder.path().join(n.to_string()));
        let one = async |n: usize| {
            let (log, mut end) = pen.open(path(n)).await.unwrap();
            for line in 0..50 {
                let text = format!("{n} {line}\n").repeat(if line == 25 { 40_000 } else { 1 });
                let size = text.len() as u64;
                pen.write(&log, end, text.into()).await.unwrap();
                end += size;
            }
            if n.is_multiple_of(2) {
                pen.settle(&log).await.unwrap();
            }
            drop(log);
            // Whoever opens it next finds everything that was taken before.
            assert_eq!(pen.open(path(n)).await.unwrap().1, end);
        };
        join_all((0..20).map(one)).await;
        for n in 0..20 {
            let lines = |line| format!("{n} {line}\n").repeat(if line == 25 { 40_000 } else { 1 });
            assert_eq!(fs::read_to_string(path(n)).unwrap(), (0..50).map(lines).collect::<String>());
        }
        all_room_is_free_again(&pen).await;
    }

    #[tokio::test]
    async fn a_log_whose_piece_could_not_be_written_takes_no_more_and_others_do() {
        let folder = tempfile::tempdir().unwrap();
        let (pen, path) = (Arc::new(Pen::default()), folder.path().join("good"));
        let full = Arc::new(Log::new(OpenOptions::new().write(true).open("/dev/full").unwrap()));
        let (good, _) = pen.open(path.clone()).await.unwrap();
        pen.write(&full, 0, Bytes::from_static(b"never")).await.unwrap();
        pen.write(&good, 0, Bytes::from_static(b"written")).await.unwrap();
        assert_eq!(pen.settle(&full).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let again = pen.write(&full, 5, Bytes::from_static(b"a hole before it")).await;
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::StorageFull);
        pen.settle(&good).await.unwrap();
        assert_eq!(fs::read(path).unwrap(), b"written");
        all_room_is_free_again(&pen).await;
    }

    async fn all_room_is_free_again(pen: &Arc<Pen>) {
        let free = tokio::time::timeout(Duration::from_secs(20), pen.take(&pen.room, ROOM_OF_ALL)).await;
        drop(free.expect("somebody keeps room").unwrap());
    }
}
