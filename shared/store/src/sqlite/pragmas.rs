//! How connections are opened, and the proof that SQLite took every setting.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};

use crate::Error;

/// How long SQLite itself waits for a lock before it says so; the writer asks again until its deadline.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// Pages kept in memory per connection, in KiB (negative is SQLite's way to say so).
const CACHE_KIB: &str = "-16000";
/// Rows a statement may produce ahead of their reader.
const ROW_BUFFER: usize = 1_024;

/// The settings a connection must have, as `PRAGMA name` says them.
pub(super) type Wanted = &'static [(&'static str, &'static str)];

/// Of the connections that write: commits are on disk when they return, checkpoints are not theirs.
pub(super) const WRITER: Wanted = &[
    ("journal_mode", "wal"),
    ("synchronous", "2"),
    ("foreign_keys", "1"),
    ("busy_timeout", "500"),
    ("wal_autocheckpoint", "0"),
    ("query_only", "0"),
];

/// How the writer's own connection is given them; the journal mode is the file's.
pub(super) const WRITER_SETTINGS: &str =
    "PRAGMA foreign_keys = ON; PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY;
    PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0";

/// Of the connections that read.
pub(super) const READER: Wanted = &[("foreign_keys", "1"), ("busy_timeout", "500"), ("query_only", "1")];

fn common(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", CACHE_KIB)
        .pragma("temp_store", "memory")
        .row_buffer_size(ROW_BUFFER)
        .disable_statement_logging()
}

/// For the writer and the checkpointer.
pub(super) fn writer(path: &Path) -> SqliteConnectOptions {
    common(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0")
}

/// For everybody else: makes no file and writes nothing, not even the journal mode.
pub(super) fn reader(path: &Path) -> SqliteConnectOptions {
    common(path).create_if_missing(false).pragma("query_only", "1")
}

/// Reads every setting back.
///
/// # Errors
/// [`Error::Setup`] naming the first that did not take.
pub(super) async fn check(conn: &mut SqliteConnection, wanted: Wanted) -> Result<(), Error> {
    for (name, value) in wanted {
        let row = sqlx::query(AssertSqlSafe(format!("PRAGMA {name}"))).fetch_one(&mut *conn).await?;
        let found = match row.try_get_unchecked::<i64, _>(0) {
            Ok(number) if name != &"journal_mode" => number.to_string(),
            Ok(_) | Err(_) => row.try_get_unchecked::<String, _>(0)?,
        };
        if found != *value {
            return Err(not_taken(name, value, &found));
        }
    }
    Ok(())
}

/// What a setting that did not take means.
pub(super) fn not_taken(name: &str, value: &str, found: &str) -> Error {
    Error::Setup(format!(
        "SQLite did not take PRAGMA {name} = {value}, it says {found}: is the database on a file system \
         without shared memory or locks, such as NFS?"
    ))
}
