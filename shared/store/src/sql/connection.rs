//! One way to run a statement and read its rows, whatever database is behind it.
//!
//! A statement is a file of the same name for every database; what the databases do not share of opening, writing and
//! failing is in their own modules.

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Row as _, Sqlite, SqliteConnection, Transaction, Type};

/// A connection, borrowed from whoever writes or reads.
#[derive(Debug)]
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
}

/// One statement, as each database wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    pub(crate) sqlite: &'static str,
}

/// A statement by the name of its files.
macro_rules! statement {
    ($name:literal) => {
        $crate::sql::connection::Statement {
            sqlite: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/sqlite/sql/", $name, ".sql")),
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
        }
    }

    pub(crate) async fn fetch_all(self, conn: &mut Connection<'_>) -> Result<Vec<Row>, sqlx::Error> {
        match conn {
            Connection::Sqlite(conn) => {
                let rows = self.sqlite().fetch_all(&mut **conn).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
        }
    }

    pub(crate) async fn fetch_optional(self, conn: &mut Connection<'_>) -> Result<Option<Row>, sqlx::Error> {
        match conn {
            Connection::Sqlite(conn) => Ok(self.sqlite().fetch_optional(&mut **conn).await?.map(Row::Sqlite)),
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
}

impl Connection<'_> {
    /// Runs what has no values and no rows, such as a statement about savepoints.
    pub(crate) async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.run_statement(Statement { sqlite: sql }).await
    }

    /// Runs statements that have no values and no rows.
    pub(crate) async fn run_statement(&mut self, statement: Statement) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(statement.sqlite).execute(&mut **conn).await.map(|_| ()),
        }
    }

    /// What to do where the database has tables, but none of ours.
    pub(crate) const fn belongs_to_another(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => {
                "the database file belongs to another program: set ORCH_DATABASE_URL to a file of its own"
            }
        }
    }
}

/// A connection that reads, given back when it is dropped.
#[derive(Debug)]
pub(crate) enum Reader {
    Sqlite(PoolConnection<Sqlite>),
    SqliteSnapshot(Transaction<'static, Sqlite>),
}

impl Reader {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(conn) => Connection::Sqlite(conn),
            Self::SqliteSnapshot(conn) => Connection::Sqlite(conn),
        }
    }

    /// Gives it back now.
    pub(crate) async fn finish(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::SqliteSnapshot(snapshot) => snapshot.rollback().await,
        }
    }
}

/// A row of an answer.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
}

/// What can be read from a column of every database.
pub(crate) trait Column<'r>: Decode<'r, Sqlite> + Type<Sqlite> {}

impl<'r, T: Decode<'r, Sqlite> + Type<Sqlite>> Column<'r> for T {}

impl Row {
    /// Reads one column, by its name or place.
    pub(crate) fn try_get<'r, T: Column<'r>, I: ColumnIndex<SqliteRow>>(
        &'r self,
        index: I,
    ) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(index),
        }
    }
}
