//! Past every rule, for tests and measurements alone: SQL as a person with `sqlite3` or `psql` could type it, commits that do not
//! wait for the disk, and the statements that a store ran.

mod tape;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

pub(crate) use self::tape::Tape;
pub use self::tape::Transaction;
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

/// Begins to keep what stores of this process run: statements of SQLite, transactions of PostgreSQL.
pub fn begin_recording() {
    RECORDING.store(true, Ordering::SeqCst);
}

/// Ends it; gives what SQLite ran.
pub fn end_recording() -> Vec<Recorded> {
    RECORDING.store(false, Ordering::SeqCst);
    std::mem::take(&mut RECORD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Ends it; gives what PostgreSQL was sent.
pub fn end_recording_transactions() -> Vec<Transaction> {
    RECORDING.store(false, Ordering::SeqCst);
    tape::take()
}

fn is_recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

pub(crate) fn record(sql: &str, arguments: &[Argument<'_>]) {
    if !is_recording() {
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

/// A connection to PostgreSQL with nothing around it.
#[derive(Debug)]
pub struct Session(PgConnection);

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// There is no such database.
    pub async fn open(url: &str) -> Result<Self, Error> {
        Ok(Self(PgConnection::connect(url).await?))
    }

    /// Sends a message of any number of statements, and reads their answers to the end.
    ///
    /// # Errors
    /// One of them is refused.
    pub async fn send(&mut self, message: &str) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(message.to_owned())).execute(&mut self.0).await?;
        Ok(())
    }

    /// Closes it.
    ///
    /// # Errors
    /// It was lost already.
    pub async fn close(self) -> Result<(), Error> {
        Ok(self.0.close().await?)
    }
}
