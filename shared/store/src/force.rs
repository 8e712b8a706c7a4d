//! Past every rule, for tests and measurements alone: SQL as a person with `sqlite3` or `psql` could type it, commits that do not
//! wait for the disk, and the statements that a store ran.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::Error;
use crate::sql::argument::Argument;

/// Runs statements on a database: on a SQLite file with its constraints switched off.
///
/// # Errors
/// The database cannot be opened, or a statement is not SQL.
pub async fn execute(url: &str, sql: &str) -> Result<(), Error> {
    if crate::is_postgres(url) {
        let mut conn = PgConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await?;
        return Ok(conn.close().await?);
    }
    let path = crate::open::sqlite_path(url)?;
    let mut conn = SqliteConnectOptions::new().filename(path).foreign_keys(false).connect().await?;
    let sql = format!("PRAGMA ignore_check_constraints = ON; {sql}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

static HASTY: AtomicBool = AtomicBool::new(false);

/// Has SQLite files that are opened from now on commit with `synchronous=NORMAL`: the newest commits do not survive a crash of the
/// host.
pub fn set_hasty(hasty: bool) {
    HASTY.store(hasty, Ordering::SeqCst);
}

pub(crate) fn is_hasty() -> bool {
    HASTY.load(Ordering::SeqCst)
}

/// A statement as a SQLite store ran it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The statement.
    pub sql: String,
    /// What was bound to it.
    pub values: Vec<Value>,
}

/// A value that was bound to a statement.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "what SQLite calls them")]
pub enum Value {
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
}

static RECORDING: AtomicBool = AtomicBool::new(false);
static RECORD: Mutex<Vec<Recorded>> = Mutex::new(Vec::new());

/// Begins to keep the statements that SQLite stores of this process run.
pub fn begin_recording() {
    RECORDING.store(true, Ordering::SeqCst);
}

/// Ends it; gives what was kept.
pub fn end_recording() -> Vec<Recorded> {
    RECORDING.store(false, Ordering::SeqCst);
    std::mem::take(&mut RECORD.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) fn record(sql: &str, arguments: &[Argument<'_>]) {
    if !RECORDING.load(Ordering::Relaxed) {
        return;
    }
    let value = |argument: &Argument<'_>| match argument {
        Argument::Integer(value) => Value::Integer(*value),
        Argument::Real(value) => Value::Real(*value),
        Argument::Text(value) => Value::Text(value.as_deref().map(str::to_owned)),
        Argument::Bool(value) => Value::Integer(Some((*value).into())),
    };
    let values = arguments.iter().map(value).collect();
    RECORD.lock().unwrap_or_else(PoisonError::into_inner).push(Recorded { sql: sql.to_owned(), values });
}
