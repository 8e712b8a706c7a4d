//! Reads the file of the in-process predecessor (`domain::import`), whatever its columns hold; writes nothing to it.

use std::path::Path;

use domain::import::{Predecessor, Row, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use sqlx::{TypeInfo as _, ValueRef as _};

use super::{checkpoint, pragmas};
use crate::Error;

/// The most rows of a table that are read: more is no queue, and would not fit into memory.
const ROWS_MAX: usize = 1_000_000;

/// Reads `jobs` and, where it is there, `agent_runs`.
pub(crate) async fn read(path: &Path) -> Result<Predecessor, Error> {
    if checkpoint::file_bytes(path) == 0 {
        return Err(Error::Setup(format!("there is no database at {}", path.display())));
    }
    let mut conn = pragmas::reader(path).connect().await?;
    let read = tables(&mut conn, path).await;
    conn.close().await?;
    read
}

async fn tables(conn: &mut SqliteConnection, path: &Path) -> Result<Predecessor, Error> {
    // One moment of both tables, if somebody writes still.
    let mut at_once = conn.begin().await?;
    let rows = sqlx::query(include_str!("predecessor_sql/tables.sql")).fetch_all(&mut *at_once).await?;
    let tables: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    if has("meta") && has("job_payloads") {
        return Err(Error::Setup(format!(
            "{} is a database of Orch itself: `orch backup` and `orch restore` move it",
            path.display()
        )));
    }
    if !has("jobs") {
        let found = if tables.is_empty() { "no table".to_owned() } else { tables.join(", ") };
        return Err(Error::Setup(format!("{} has no table jobs, it has {found}", path.display())));
    }
    let jobs = table(&mut at_once, include_str!("predecessor_sql/jobs.sql")).await?;
    let runs = if has("agent_runs") {
        table(&mut at_once, include_str!("predecessor_sql/agent_runs.sql")).await?
    } else {
        Vec::new()
    };
    Ok(Predecessor { jobs, runs })
}

async fn table(conn: &mut SqliteConnection, sql: &'static str) -> Result<Vec<Row>, Error> {
    let most = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
    let found = sqlx::query(sql).bind(most.saturating_add(1)).fetch_all(conn).await?;
    if found.len() > ROWS_MAX {
        return Err(Error::Setup(format!(
            "a table has more than {ROWS_MAX} rows: delete what is over first"
        )));
    }
    found.iter().map(columns).collect()
}

fn columns(row: &SqliteRow) -> Result<Row, Error> {
    row.columns()
        .iter()
        .map(|column| Ok((column.name().to_ascii_lowercase(), value(row, column.ordinal())?)))
        .collect()
}

/// By the type of the value itself: the column's is a wish.
fn value(row: &SqliteRow, index: usize) -> Result<Value, Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    Ok(match raw.type_info().name() {
        "INTEGER" | "BOOLEAN" => Value::Integer(row.try_get_unchecked(index)?),
        "REAL" => Value::Real(row.try_get_unchecked(index)?),
        _ => {
            let bytes: Vec<u8> = row.try_get_unchecked(index)?;
            String::from_utf8(bytes).map_or(Value::Bytes, Value::Text)
        }
    })
}
