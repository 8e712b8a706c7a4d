//! One way to run a statement and read its rows, whatever database is behind it.
//!
//! A statement is a file of the same name for every database; what the databases do not share of opening, writing and
//! failing is in their own modules.

use std::borrow::Cow;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    ColumnIndex, Decode, PgConnection, Postgres, Row as _, Sqlite, SqliteConnection, Transaction, Type,
};
use tokio::time::timeout;

use crate::postgres::{ANSWER_WAIT_MAX, Transacting};
use crate::sql::argument::{Argument, Rows, without_nul};
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

/// A statement with its values.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    statement: Statement,
    arguments: Vec<Argument<'a>>,
}

impl<'a> Query<'a> {
    pub(crate) const fn new(statement: Statement) -> Self {
        Self { statement, arguments: Vec::new() }
    }

    pub(crate) fn bind(mut self, value: impl Into<Argument<'a>>) -> Self {
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

    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        for_sqlite(self.statement, self.arguments)
    }

    fn postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        for_postgres(self.statement, self.arguments)
    }
}

impl Statement {
    /// Runs it for each of the rows; says how many rows it touched.
    pub(crate) async fn execute_each<const N: usize>(
        self,
        rows: Rows<'_, N>,
        conn: &mut Connection<'_>,
    ) -> Result<u64, sqlx::Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        match conn {
            Connection::Sqlite(conn) => {
                let mut touched = 0;
                for row in rows.into_inner() {
                    touched += for_sqlite(self, row).execute(&mut **conn).await?.rows_affected();
                }
                Ok(touched)
            }
            Connection::Direct(conn) => conn.execute_each(self.sqlite, &rows),
            Connection::Postgres(conn) => {
                let all = for_postgres(self, [rows.into_json()?.into()]);
                Ok(answered(all.execute(&mut **conn)).await?.rows_affected())
            }
        }
    }

    /// Runs it for each of the rows; gives what it returns.
    pub(crate) async fn fetch_each<const N: usize>(
        self,
        rows: Rows<'_, N>,
        conn: &mut Connection<'_>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        match conn {
            Connection::Sqlite(conn) => {
                let mut returned = Vec::new();
                for row in rows.into_inner() {
                    returned.extend(for_sqlite(self, row).fetch_all(&mut **conn).await?);
                }
                Ok(returned.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Direct(conn) => {
                Ok(conn.fetch_each(self.sqlite, &rows)?.into_iter().map(Row::Direct).collect())
            }
            Connection::Postgres(conn) => {
                let all = for_postgres(self, [rows.into_json()?.into()]);
                let returned = answered(all.fetch_all(&mut **conn)).await?;
                Ok(returned.into_iter().map(Row::Postgres).collect())
            }
        }
    }
}

fn for_sqlite<'a>(
    statement: Statement,
    arguments: impl IntoIterator<Item = Argument<'a>>,
) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    let mut query = sqlx::query(statement.sqlite);
    for argument in arguments {
        query = match argument {
            Argument::Integer(value) => query.bind(value),
            Argument::Real(value) => query.bind(value),
            Argument::Text(value) => query.bind(value.map(Cow::into_owned)),
            Argument::Bool(value) => query.bind(value),
        };
    }
    query
}

/// Without a name on the server: behind a proxy the next transaction may meet another one.
fn for_postgres<'a>(
    statement: Statement,
    arguments: impl IntoIterator<Item = Argument<'a>>,
) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(statement.postgres).persistent(false);
    for argument in arguments {
        query = match argument {
            Argument::Integer(value) => query.bind(value),
            Argument::Real(value) => query.bind(value),
            Argument::Text(value) => query.bind(value.map(|text| without_nul(text.into_owned()))),
            Argument::Bool(value) => query.bind(value),
        };
    }
    query
}

/// Waits for an answer no longer than any takes: a server that went away may leave the connection open.
async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(ANSWER_WAIT_MAX, answer)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
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
