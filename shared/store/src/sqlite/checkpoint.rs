//! Keeps the write-ahead log small without making commits wait.
//!
//! The bulk of a checkpoint runs on a connection of its own while commits go on. What was written meanwhile is
//! copied by the writer between two batches, when nobody writes: only a log copied to its end is begun anew, and a
//! log that is overwritten rather than grown commits faster. Past a hard limit the file is truncated too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::direct::Direct;
use super::pragmas;
use super::writer::WeakDoor;
use crate::sql::connection::{Connection, Query, Statement};
use crate::sql::fault::Fault;

/// A log of this many pages is copied into the database (16 MiB of 4 KiB pages).
const PAGES_SOFT_MAX: i64 = 4_096;
/// Past this size the file is cut, which makes the next commits slower: it stays an exception, such as after a long read.
const FILE_BYTES_HARD_MAX: u64 = 256 * 1024 * 1024;
/// The least time between two cuts: each may wait [`pragmas::BUSY_TIMEOUT`] for a reader while the writer stands.
const CUT_INTERVAL: Duration = Duration::from_secs(30);
/// The least time between two looks at the log while commits go on.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Passes of the bulk while commits go on; each has less to do than the one before.
const PASSES_MAX: usize = 3;
/// Few enough pages to leave the rest to the writer.
const PAGES_FEW: i64 = 256;

/// Shared by the writer and the checkpointer.
#[derive(Debug)]
pub(super) struct Checkpoints {
    wal: PathBuf,
    committed: Notify,
    ended: AtomicBool,
    /// When the file was last cut, or tried to.
    cut_at: Mutex<Option<Instant>>,
}

impl Checkpoints {
    pub(super) fn new(database: &Path) -> Self {
        Self {
            wal: wal_path(database),
            committed: Notify::new(),
            ended: AtomicBool::new(false),
            cut_at: Mutex::new(None),
        }
    }

    /// Tells the checkpointer that something was committed.
    pub(super) fn nudge(&self) {
        self.committed.notify_one();
    }

    /// Tells the checkpointer that the writer is gone.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.nudge();
    }

    /// Copies the rest of the log while nobody writes, so that the next commit begins it anew.
    pub(super) async fn finish(&self, conn: &mut Direct) {
        let mut mode = Mode::Passive;
        if file_bytes(&self.wal) > FILE_BYTES_HARD_MAX {
            let mut cut_at = self.cut_at.lock().await;
            if cut_at.is_none_or(|at| at.elapsed() >= CUT_INTERVAL) {
                *cut_at = Some(Instant::now());
                mode = Mode::Truncate;
            }
        }
        if let Err(error) = checkpoint(&mut Connection::Direct(conn), mode).await {
            tracing::warn!(%error, "could not finish a checkpoint of the database");
        }
    }
}

/// Runs until the writer is gone.
pub(super) async fn run(database: PathBuf, checkpoints: Arc<Checkpoints>, writer: WeakDoor) {
    let mut conn: Option<SqliteConnection> = None;
    loop {
        checkpoints.committed.notified().await;
        if checkpoints.ended.load(Ordering::SeqCst) {
            break;
        }
        match look(&database, &mut conn).await {
            Ok(false) => {}
            Ok(true) => {
                if !writer.finish_checkpoint().await {
                    break;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not checkpoint the database, trying again after the next commit");
                conn = None;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    if let Some(conn) = conn
        && let Err(error) = conn.close().await
    {
        tracing::warn!(%error, "could not close the checkpointer's connection cleanly");
    }
}

/// Copies most of a log that has grown enough; false when it has not.
async fn look(database: &Path, conn: &mut Option<SqliteConnection>) -> Result<bool, Fault> {
    let conn = match conn {
        Some(conn) => conn,
        empty @ None => empty.insert(pragmas::writer(database).create_if_missing(false).connect().await?),
    };
    let conn = &mut Connection::Sqlite(conn);
    if checkpoint(conn, Mode::Look).await?.pages < PAGES_SOFT_MAX {
        return Ok(false);
    }
    for _ in 0..PASSES_MAX {
        let log = checkpoint(conn, Mode::Passive).await?;
        if log.pages - log.copied <= PAGES_FEW {
            break;
        }
    }
    Ok(true)
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// Only tell.
    Look,
    Passive,
    Truncate,
}

/// The log's length, and how much of it is in the database.
#[derive(Clone, Copy, Debug)]
struct Log {
    pages: i64,
    copied: i64,
}

async fn checkpoint(conn: &mut Connection<'_>, mode: Mode) -> Result<Log, Fault> {
    let sql = match mode {
        Mode::Look => "PRAGMA wal_checkpoint(NOOP)",
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let row = Query::new(Statement { sqlite: sql, postgres: "" }).fetch_one(conn).await?;
    Ok(Log { pages: row.try_get(1)?, copied: row.try_get(2)? })
}

/// Where SQLite keeps the log of `database`.
pub(super) fn wal_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// A file's size; 0 when there is none.
pub(super) fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
