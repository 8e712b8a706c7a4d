//! One way to run a statement and read its rows, whatever database is behind it.
//!
//! A statement is a file of the same name for every database; what the databases do not share of opening, writing and
//! failing is in their own modules.

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{
    ColumnIndex, Decode, PgConnection, Postgres, Row as _, Sqlite, SqliteConnection, Transaction, Type,
};
use tokio::time::timeout;

use crate::postgres::{ANSWER_WAIT_MAX, Transacting};
use crate::sql::fault::Fault;
use crate::sqlite::direct::{Cells, Direct, FromCell, Place};

/// A connection, borrowed from whoever writes or reads.
#[derive(Debug)]
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    /// In the calling thread.
    Direct(&'c mut Direct),
    Postgres(&'c mut PgConnection),
}

/// One statement, as each database wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// A statement by the name of its files.
macro_rules! statement {
    ($name:literal) => {
        $crate::sql::connection::Statement {
            sqlite: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/sqlite/sql/", $name, ".sql")),
            postgres: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/postgres/sql/", $name, ".sql")),
        }
    };
}

/// A statement by the name of its files, to bind values to and run.
macro_rules! query {
    ($name:literal) => {
        $crate::sql::connection::Query::new($crate::sql::connection::statement!($name))
    };
}

pub(crate) use {query, statement};

/// A value bound to a statement.
#[derive(Clone, Debug)]
pub(crate) enum Argument {
    Integer(Option<i64>),
    Text(Option<String>),
    Bool(bool),
}

impl From<i64> for Argument {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        Self::Integer(Some(value.into()))
    }
}

impl From<Option<i64>> for Argument {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Argument {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<String> for Argument {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&str> for Argument {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<&String> for Argument {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<Option<String>> for Argument {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Option<&str>> for Argument {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<Option<&String>> for Argument {
    fn from(value: Option<&String>) -> Self {
        Self::Text(value.cloned())
    }
}

impl From<&Option<String>> for Argument {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

/// A statement with its values.
#[derive(Debug)]
pub(crate) struct Query {
    statement: Statement,
    arguments: Vec<Argument>,
}

impl Query {
    pub(crate) const fn new(statement: Statement) -> Self {
        Self { statement, arguments: Vec::new() }
    }

    pub(crate) fn bind(mut self, value: impl Into<Argument>) -> Self {
        self.arguments.push(value.into());
        self
    }

    /// Runs it; says how many rows it touched.
    pub(crate) async fn execute(self, conn: &mut Connection<'_>) -> Result<u64, sqlx::Error> {
        match conn {
            Connection::Sqlite(conn) => Ok(self.sqlite().execute(&mut **conn).await?.rows_affected()),
            Connection::Direct(conn) => conn.execute(self.statement.sqlite, &self.arguments),
            Connection::Postgres(conn) => {
                Ok(answered(self.postgres().execute(&mut **conn)).await?.rows_affected())
            }
        }
    }

    pub(crate) async fn fetch_all(self, conn: &mut Connection<'_>) -> Result<Vec<Row>, sqlx::Error> {
        match conn {
            Connection::Sqlite(conn) => {
                let rows = self.sqlite().fetch_all(&mut **conn).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Direct(conn) => {
                let rows = conn.fetch(self.statement.sqlite, &self.arguments, usize::MAX)?;
                Ok(rows.into_iter().map(Row::Direct).collect())
            }
            Connection::Postgres(conn) => {
                let rows = answered(self.postgres().fetch_all(&mut **conn)).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn fetch_optional(self, conn: &mut Connection<'_>) -> Result<Option<Row>, sqlx::Error> {
        match conn {
            Connection::Sqlite(conn) => Ok(self.sqlite().fetch_optional(&mut **conn).await?.map(Row::Sqlite)),
            Connection::Direct(conn) => {
                Ok(conn.fetch(self.statement.sqlite, &self.arguments, 1)?.pop().map(Row::Direct))
            }
            Connection::Postgres(conn) => {
                Ok(answered(self.postgres().fetch_optional(&mut **conn)).await?.map(Row::Postgres))
            }
        }
    }

    pub(crate) async fn fetch_one(self, conn: &mut Connection<'_>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(conn).await?.ok_or(sqlx::Error::RowNotFound)
    }

    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
        let mut query = sqlx::query(self.statement.sqlite);
        for argument in self.arguments {
            query = match argument {
                Argument::Integer(value) => query.bind(value),
                Argument::Text(value) => query.bind(value),
                Argument::Bool(value) => query.bind(value),
            };
        }
        query
    }

    /// Without a name on the server: behind a proxy the next transaction may meet another one.
    fn postgres(self) -> sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments> {
        let mut query = sqlx::query(self.statement.postgres).persistent(false);
        for argument in self.arguments {
            query = match argument {
                Argument::Integer(value) => query.bind(value),
                Argument::Text(value) => query.bind(value.map(without_nul)),
                Argument::Bool(value) => query.bind(value),
            };
        }
        query
    }
}

/// Waits for an answer no longer than any takes: a server that went away may leave the connection open.
async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(ANSWER_WAIT_MAX, answer)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// The text with another character for NUL, which PostgreSQL holds neither in text nor in the text of JSON.
pub(crate) fn without_nul(text: String) -> String {
    let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    if !text.contains(r"\u0000") {
        return text;
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        // What is escaped is one character, or `u` and four digits.
        let (before, escape) = rest.split_at(at);
        clean.push_str(before);
        let length = 2.min(escape.len());
        if let Some(after) = escape.strip_prefix(r"\u0000") {
            clean.push('\u{fffd}');
            rest = after;
        } else if let Some((escape, after)) = escape.split_at_checked(length) {
            clean.push_str(escape);
            rest = after;
        } else {
            break;
        }
    }
    clean.push_str(rest);
    clean
}

impl Connection<'_> {
    /// Runs what has no values and no rows, such as a statement about savepoints.
    pub(crate) async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.run_statement(Statement { sqlite: sql, postgres: sql }).await
    }

    /// Runs statements that have no values and no rows.
    pub(crate) async fn run_statement(&mut self, statement: Statement) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(statement.sqlite).execute(&mut **conn).await.map(|_| ()),
            Self::Direct(conn) => conn.run(statement.sqlite),
            Self::Postgres(conn) => {
                answered(sqlx::raw_sql(statement.postgres).execute(&mut **conn)).await.map(|_| ())
            }
        }
    }

    /// What to do where the database has tables, but none of ours.
    pub(crate) const fn belongs_to_another(&self) -> &'static str {
        match self {
            Self::Sqlite(_) | Self::Direct(_) => {
                "the database file belongs to another program: set ORCH_DATABASE_URL to a file of its own"
            }
            Self::Postgres(_) => {
                "the database belongs to another program: set ORCH_DATABASE_URL to a database of its own"
            }
        }
    }
}

/// A connection that reads, given back when it is dropped.
#[derive(Debug)]
pub(crate) enum Reader {
    Sqlite(PoolConnection<Sqlite>),
    SqliteSnapshot(Transaction<'static, Sqlite>),
    Postgres(Transacting),
}

impl Reader {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(conn) => Connection::Sqlite(conn),
            Self::SqliteSnapshot(conn) => Connection::Sqlite(conn),
            Self::Postgres(conn) => conn.connection(),
        }
    }

    /// Gives it back now.
    pub(crate) async fn finish(self) -> Result<(), Fault> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::SqliteSnapshot(snapshot) => Ok(snapshot.rollback().await?),
            Self::Postgres(transacting) => transacting.commit().await,
        }
    }
}

/// A row of an answer.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Direct(Cells),
    Postgres(PgRow),
}

/// What can be read from a column of every database.
pub(crate) trait Column<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + FromCell<'r> + Decode<'r, Postgres> + Type<Postgres>
{
}

impl<'r, T: Decode<'r, Sqlite> + Type<Sqlite> + FromCell<'r> + Decode<'r, Postgres> + Type<Postgres>>
    Column<'r> for T
{
}

impl Row {
    /// Reads one column, by its name or place.
    pub(crate) fn try_get<'r, T: Column<'r>, I: ColumnIndex<SqliteRow> + Place + ColumnIndex<PgRow>>(
        &'r self,
        index: I,
    ) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(index),
            Self::Direct(row) => row.try_get(&index),
            Self::Postgres(row) => row.try_get(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_and_nothing_else() {
        for (text, clean) in [
            ("a\0b", "a\u{fffd}b"),
            (r#"["a\u0000b"]"#, "[\"a\u{fffd}b\"]"),
            // JSON within JSON: the escape is of the inner text, and stays an escape.
            (r#"["{\"t\":\"a\\u0000b\"}"]"#, r#"["{\"t\":\"a\\u0000b\"}"]"#),
            (r#"["\\\u0000\u0000"]"#, "[\"\\\\\u{fffd}\u{fffd}\"]"),
            (r"\u0000\", "\u{fffd}\\"),
            (r#""\u0001 é""#, r#""\u0001 é""#),
        ] {
            assert_eq!(without_nul(text.to_owned()), clean, "{text}");
        }
    }
}
