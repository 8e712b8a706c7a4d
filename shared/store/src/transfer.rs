//! From one SQLite file to an empty PostgreSQL database, on a stopped system: every table, every log, in one transaction,
//! counted on both sides before it commits. See [`transfer`].

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use domain::log::LogPiece;
use domain::{RunId, Timestamp};
use futures::TryStreamExt as _;
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Row as _, SqliteConnection};
use sqlx::{TypeInfo as _, ValueRef as _};

use crate::open::{is_postgres, sqlite_path};
use crate::postgres::{Target, open_target};
use crate::sql::connection::Connection;
use crate::sql::fault::{Fault, FaultKind, unavailable};
use crate::sql::{rows, schema};
use crate::{Error, sqlite};

/// Rows sent at once, and about how many bytes of them.
const ROWS_MAX: usize = 500;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Tables that others refer to, in the order in which they are filled; the rest follows in the order of their names.
const FIRST: [&str; 2] = ["jobs", "runs"];
/// Counts that SQLite keeps for itself.
const OWN: [&str; 1] = ["job_counts"];

/// The log of a run, piece by piece, from its start; nothing of a run that has none.
pub type SavedLog = Box<dyn Iterator<Item = io::Result<LogPiece>> + Send>;

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Rows by table, as they were counted on both sides.
    pub tables: BTreeMap<String, u64>,
    /// Logs that had anything.
    pub logs: u64,
    /// The bytes of logs, gaps included.
    pub log_bytes: u64,
    /// The generation from now on: no run of before is taken for one of afterwards.
    pub generation: i64,
}

/// Moves all of the SQLite database `from` into the empty PostgreSQL database `to`, with the logs that `logs` reads. The source
/// is held meanwhile, and left paused, so that a service that is started on it by mistake starts nothing.
///
/// # Errors
/// [`Error::Setup`] when the source is in use or the target is not empty; nothing was written then, nor after any other error.
pub async fn transfer(
    from: &str,
    to: &str,
    now: Timestamp,
    logs: &(dyn Fn(RunId) -> SavedLog + Sync),
) -> Result<Transferred, Error> {
    if is_postgres(from) || !is_postgres(to) {
        return Err(Error::Setup(
            "a database is moved from sqlite://… to postgres://…; pg_dump and pg_restore move between servers".into(),
        ));
    }
    let path = sqlite_path(from)?;
    let mut source = hold(&path).await?;
    let moved = fill(&mut source, to, now, logs).await;
    if moved.is_ok() {
        sqlx::query(include_str!("sqlite/sql/source_pause.sql"))
            .bind(now.as_ms())
            .execute(&mut source)
            .await?;
    }
    source.close().await?;
    moved
}

/// Takes the whole file, so that nobody else has it open.
async fn hold(path: &Path) -> Result<SqliteConnection, Error> {
    if !path.exists() {
        return Err(Error::Setup(format!("there is no database at {}", path.display())));
    }
    sqlite::restore::hold(path).await.map_err(|fault| match fault.kind {
        FaultKind::Locked => Error::Setup(format!(
            "{} is in use: stop ingest, the scheduler and the console first",
            path.display()
        )),
        FaultKind::Again
        | FaultKind::Full
        | FaultKind::Broken
        | FaultKind::ReadsOnly
        | FaultKind::Refused => fault.into_error(),
    })
}

async fn fill(
    source: &mut SqliteConnection,
    to: &str,
    now: Timestamp,
    logs: &(dyn Fn(RunId) -> SavedLog + Sync),
) -> Result<Transferred, Error> {
    schema::check(schema::read(&mut Connection::Sqlite(source)).await?)?;
    let mut target = open_target(to).await?;
    let tables = tables(source).await?;
    for table in &tables {
        target.check_empty(table).await?;
    }
    let mut counted = BTreeMap::new();
    for table in &tables {
        let sent = copy(source, &mut target, table).await?;
        let there = target.count(table).await?;
        if there != sent {
            return Err(Error::Corrupt(format!("{sent} rows of {table} were sent, {there} are there")));
        }
        counted.insert(table.clone(), sent);
    }
    for row in sqlx::query(include_str!("sqlite/sql/source_numbers.sql")).fetch_all(&mut *source).await? {
        target.set_number(row.try_get(0)?, row.try_get(1)?).await?;
    }
    let (mut with_log, mut log_bytes) = (0, 0);
    for row in sqlx::query(include_str!("sqlite/sql/source_runs.sql")).fetch_all(&mut *source).await? {
        let run = rows::run_id(row.try_get(0)?)?;
        let mut end = 0;
        for piece in logs(run) {
            let piece = piece.map_err(|error| unavailable(format!("the log of run {run}: {error}")))?;
            end = piece.end();
            target.append_log(run, piece).await?;
        }
        with_log += u64::from(end > 0);
        log_bytes += end;
    }
    let generation: i64 = sqlx::query(include_str!("sqlite/sql/generation_read.sql"))
        .fetch_one(&mut *source)
        .await?
        .try_get(0)?;
    let run_secret =
        sqlx::query(include_str!("sqlite/sql/run_secret_read.sql")).fetch_one(source).await?.try_get(0)?;
    let generation = generation.saturating_add(1).max(now.as_ms() / 1_000);
    target.finish(generation, run_secret).await?;
    Ok(Transferred { tables: counted, logs: with_log, log_bytes, generation })
}

/// The tables of the source, those first that others refer to.
async fn tables(source: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(include_str!("sqlite/sql/source_tables.sql")).fetch_all(source).await?;
    let names: Result<Vec<String>, sqlx::Error> = rows.iter().map(|row| row.try_get(0)).collect();
    let mut names = names?;
    names.retain(|name| !OWN.contains(&name.as_str()));
    names.sort_by_key(|name| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    Ok(names)
}

/// Sends all rows of a table; says how many.
async fn copy(source: &mut SqliteConnection, target: &mut Target, table: &str) -> Result<u64, Error> {
    let mut all = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch(source);
    let (mut batch, mut bytes, mut sent) = (Vec::new(), 0, 0);
    let mut columns = Vec::new();
    while let Some(row) = all.try_next().await? {
        if columns.is_empty() {
            columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
        }
        let (row, size) = read(&row)?;
        batch.push(Value::Object(row));
        bytes += size;
        sent += 1;
        if batch.len() >= ROWS_MAX || bytes >= BYTES_MAX {
            target.insert(table, &columns, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        target.insert(table, &columns, batch).await?;
    }
    Ok(sent)
}

/// A row by the names of its columns, and about how large it is.
fn read(row: &SqliteRow) -> Result<(Map<String, Value>, usize), Error> {
    let mut read = Map::new();
    let mut size = 0;
    for (place, column) in row.columns().iter().enumerate() {
        let value = row.try_get_raw(place)?;
        let value = if value.is_null() {
            Value::Null
        } else {
            match value.type_info().name() {
                "INTEGER" => Value::from(row.try_get_unchecked::<i64, _>(place)?),
                "REAL" => Value::from(row.try_get_unchecked::<f64, _>(place)?),
                "TEXT" => {
                    let text: String = row.try_get_unchecked(place)?;
                    size += text.len();
                    Value::String(text)
                }
                other => return Err(Fault::refused(format!("{} holds {other}", column.name())).into_error()),
            }
        };
        size += column.name().len() + 8;
        read.insert(column.name().to_owned(), value);
    }
    Ok((read, size))
}
