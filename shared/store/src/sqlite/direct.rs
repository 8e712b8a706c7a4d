//! The writer's connection: SQLite called on the writer's own thread.
//!
//! `sqlx` hands each statement to a thread of its own and waits for the answer, which costs more than most of the
//! writer's statements take. Everybody else reads through `sqlx`: there a statement is a whole request.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, ToSql};
use sqlx::error::{BoxDynError, DatabaseError, ErrorKind};

use super::pragmas::{self, Wanted};
use crate::Error;
#[cfg(feature = "force")]
use crate::force::record;
use crate::sql::argument::{Argument, Rows};

/// Statements kept prepared: more than there are.
const STATEMENTS_MAX: usize = 256;

/// A connection that works in the calling thread.
#[derive(Debug)]
pub(crate) struct Direct(Connection);

impl Direct {
    /// Opens a database that is there, and proves that SQLite took every setting.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(sqlx_error)?;
        conn.busy_timeout(pragmas::BUSY_TIMEOUT).map_err(sqlx_error)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let mut direct = Self(conn);
        direct.run(pragmas::WRITER_SETTINGS)?;
        direct.check(pragmas::WRITER)?;
        #[cfg(feature = "force")]
        if crate::force::is_hasty() {
            direct.run("PRAGMA synchronous = NORMAL")?;
        }
        Ok(direct)
    }

    fn check(&mut self, wanted: Wanted) -> Result<(), Error> {
        for (name, value) in wanted {
            let rows = self.fetch(&format!("PRAGMA {name}"), &[], 1)?;
            let found = match rows.first().and_then(|row| row.values.first()) {
                Some(Value::Integer(number)) => number.to_string(),
                Some(Value::Text(text)) => text.clone(),
                Some(Value::Null | Value::Real(_) | Value::Blob(_)) | None => "nothing".to_owned(),
            };
            if found != *value {
                return Err(pragmas::not_taken(name, value, &found));
            }
        }
        Ok(())
    }

    /// Runs a statement to its end; says how many rows it touched.
    pub(crate) fn execute(&mut self, sql: &str, arguments: &[Argument<'_>]) -> Result<u64, sqlx::Error> {
        let mut statement = self.prepare(sql)?;
        run(&mut statement, sql, arguments)?;
        drop(statement);
        Ok(self.0.changes())
    }

    /// Runs a statement for each of the rows; says how many rows it touched.
    pub(crate) fn execute_each<const N: usize>(
        &mut self,
        sql: &str,
        rows: &Rows<'_, N>,
    ) -> Result<u64, sqlx::Error> {
        let mut statement = self.prepare(sql)?;
        let mut touched = 0;
        for row in rows.iter() {
            run(&mut statement, sql, row)?;
            touched += self.0.changes();
        }
        Ok(touched)
    }

    /// Runs a statement and keeps at most so many of its rows.
    pub(crate) fn fetch(
        &mut self,
        sql: &str,
        arguments: &[Argument<'_>],
        most: usize,
    ) -> Result<Vec<Cells>, sqlx::Error> {
        let mut statement = self.prepare(sql)?;
        let names = names(&statement);
        let mut kept = Vec::new();
        keep(&mut statement, sql, arguments, &names, most, &mut kept)?;
        Ok(kept)
    }

    /// Runs a statement for each of the rows and keeps what it returns.
    pub(crate) fn fetch_each(
        &mut self,
        sql: &str,
        rows: &[&[Argument<'_>]],
    ) -> Result<Vec<Cells>, sqlx::Error> {
        let mut statement = self.prepare(sql)?;
        let names = names(&statement);
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            keep(&mut statement, sql, row, &names, usize::MAX, &mut kept)?;
        }
        Ok(kept)
    }

    /// Runs statements that have no values and no rows.
    pub(crate) fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        self.0.execute_batch(sql).map_err(sqlx_error)
    }

    /// Closes it; on failure it is closed all the same.
    pub(super) fn close(self) -> Result<(), sqlx::Error> {
        self.0.close().map_err(|(_, error)| sqlx_error(error))
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, sqlx::Error> {
        self.0.prepare_cached(sql).map_err(sqlx_error)
    }
}

/// Measurements alone keep what is run.
#[cfg(not(feature = "force"))]
const fn record(_sql: &str, _arguments: &[Argument<'_>]) {}

fn bind(
    statement: &mut CachedStatement<'_>,
    sql: &str,
    arguments: &[Argument<'_>],
) -> Result<(), sqlx::Error> {
    record(sql, arguments);
    for (place, argument) in (1..).zip(arguments) {
        statement.raw_bind_parameter(place, argument).map_err(sqlx_error)?;
    }
    Ok(())
}

/// Runs it to its end.
fn run(
    statement: &mut CachedStatement<'_>,
    sql: &str,
    arguments: &[Argument<'_>],
) -> Result<(), sqlx::Error> {
    bind(statement, sql, arguments)?;
    let mut rows = statement.raw_query();
    while rows.next().map_err(sqlx_error)?.is_some() {}
    Ok(())
}

/// Runs it and adds its rows to those kept, until there are so many.
fn keep(
    statement: &mut CachedStatement<'_>,
    sql: &str,
    arguments: &[Argument<'_>],
    names: &Arc<[String]>,
    most: usize,
    kept: &mut Vec<Cells>,
) -> Result<(), sqlx::Error> {
    bind(statement, sql, arguments)?;
    let mut rows = statement.raw_query();
    while kept.len() < most
        && let Some(row) = rows.next().map_err(sqlx_error)?
    {
        let values = (0..names.len()).map(|place| row.get(place)).collect::<Result<_, _>>();
        kept.push(Cells { names: Arc::clone(names), values: values.map_err(sqlx_error)? });
    }
    Ok(())
}

fn names(statement: &CachedStatement<'_>) -> Arc<[String]> {
    statement.column_names().into_iter().map(str::to_owned).collect()
}

impl ToSql for Argument<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(Some(number)) => ValueRef::Integer(*number),
            Self::Real(Some(number)) => ValueRef::Real(*number),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bool(yes) => ValueRef::Integer((*yes).into()),
            Self::Integer(None) | Self::Real(None) | Self::Text(None) => ValueRef::Null,
        }))
    }
}

/// A row of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    names: Arc<[String]>,
    values: Vec<Value>,
}

impl Cells {
    /// Reads one column as `sqlx` does.
    pub(crate) fn try_get<'r, T: FromCell<'r>>(&'r self, place: &impl Place) -> Result<T, sqlx::Error> {
        let at = place.among(&self.names);
        let (place, value) = at
            .and_then(|at| Some((at, self.values.get(at)?)))
            .ok_or_else(|| sqlx::Error::ColumnNotFound(format!("{place:?}")))?;
        T::from_cell(value).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: self.names[place].clone(),
            source: format!("not of the type that is read: {:?}", value.data_type()).into(),
        })
    }
}

/// A column's name or place.
pub(crate) trait Place: fmt::Debug {
    /// Its place among the columns of these names.
    fn among(&self, names: &[String]) -> Option<usize>;
}

impl Place for usize {
    fn among(&self, _names: &[String]) -> Option<usize> {
        Some(*self)
    }
}

impl Place for &str {
    /// Of two columns of one name, the last.
    fn among(&self, names: &[String]) -> Option<usize> {
        names.iter().rposition(|name| name == self)
    }
}

/// What can be read of a value.
pub(crate) trait FromCell<'r>: Sized {
    /// None where the value is of another type.
    fn from_cell(value: &'r Value) -> Option<Self>;
}

impl FromCell<'_> for i64 {
    fn from_cell(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value { Some(*number) } else { None }
    }
}

impl FromCell<'_> for bool {
    fn from_cell(value: &Value) -> Option<Self> {
        i64::from_cell(value).map(|number| number != 0)
    }
}

impl FromCell<'_> for f64 {
    fn from_cell(value: &Value) -> Option<Self> {
        if let Value::Real(number) = value { Some(*number) } else { None }
    }
}

impl<'r> FromCell<'r> for &'r str {
    fn from_cell(value: &'r Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl<'r> FromCell<'r> for String {
    fn from_cell(value: &'r Value) -> Option<Self> {
        <&str>::from_cell(value).map(str::to_owned)
    }
}

impl<'r, T: FromCell<'r>> FromCell<'r> for Option<T> {
    fn from_cell(value: &'r Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_cell(value).map(Some) }
    }
}

/// The failure in the form that every other connection has, result code included.
fn sqlx_error(error: rusqlite::Error) -> sqlx::Error {
    if error.sqlite_error().is_some() {
        sqlx::Error::Database(Box::new(Failure(error)))
    } else {
        sqlx::Error::Decode(Box::new(error))
    }
}

#[derive(Debug)]
struct Failure(rusqlite::Error);

impl Failure {
    fn code(&self) -> i32 {
        self.0.sqlite_error().map_or(0, |error| error.extended_code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code(), self.0)
    }
}

impl std::error::Error for Failure {}

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        if let rusqlite::Error::SqliteFailure(_, Some(message)) = &self.0 { message } else { "SQLite failed" }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Failure::code(self).to_string().into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> BoxDynError {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
