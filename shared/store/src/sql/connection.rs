//! One way to run a statement and read its rows, whatever database is behind it.
//!
//! A statement is a file of the same name for every database; what the databases do not share of opening, writing and
//! failing is in their own modules.

use std::borrow::Cow;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, Sqlite, SqliteConnection, Transaction, Type};

use crate::postgres::{Answered, Transacting, filled};
use crate::sql::argument::{Argument, Rows};
use crate::sql::fault::Fault;
use crate::sql::rows::text_of;
use crate::sqlite::direct::{Cells, Direct, FromCell, Place};

/// A connection, borrowed from whoever writes or reads.
#[derive(Debug)]
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    /// In the calling thread.
    Direct(&'c mut Direct),
    Postgres(&'c mut Transacting),
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
    /// How many of the values are a row, of a statement that is run for each row.
    width: Option<usize>,
}

impl<'a> Query<'a> {
    pub(crate) const fn new(statement: Statement) -> Self {
        Self { statement, arguments: Vec::new(), width: None }
    }

    /// A statement to be run for each of the rows, and read; none without rows.
    pub(crate) fn of_rows<const N: usize>(statement: Statement, rows: Rows<'a, N>) -> Option<Self> {
        let arguments: Vec<_> = rows.into_inner().into_iter().flatten().collect();
        (!arguments.is_empty()).then_some(Self { statement, arguments, width: Some(N) })
    }

    pub(crate) fn bind(mut self, value: impl Into<Argument<'a>>) -> Self {
        self.arguments.push(value.into());
        self
    }

    /// Runs it; says how many rows it touched.
    pub(crate) async fn execute(self, conn: &mut Connection<'_>) -> Result<u64, Fault> {
        match conn {
            Connection::Sqlite(conn) => Ok(self.sqlite().execute(&mut **conn).await?.rows_affected()),
            Connection::Direct(conn) => Ok(conn.execute(self.statement.sqlite, &self.arguments)?),
            Connection::Postgres(conn) => Ok(ask(conn, self.postgres()?).await?.touched),
        }
    }

    /// Runs it, and waits for its answer no sooner than for that of the next statement, where each answer is waited for.
    pub(crate) async fn execute_later(self, conn: &mut Connection<'_>) -> Result<(), Fault> {
        if let Connection::Postgres(conn) = conn {
            conn.later(&self.postgres()?, None);
            return Ok(());
        }
        self.execute(conn).await.map(|_| ())
    }

    pub(crate) async fn fetch_all(self, conn: &mut Connection<'_>) -> Result<Vec<Row>, Fault> {
        match conn {
            Connection::Sqlite(conn) => {
                let mut rows = Vec::new();
                for row in self.runs() {
                    rows.extend(for_sqlite(self.statement, row.to_vec()).fetch_all(&mut **conn).await?);
                }
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Direct(conn) => {
                let rows = conn.fetch_each(self.statement.sqlite, &self.runs())?;
                Ok(rows.into_iter().map(Row::Direct).collect())
            }
            Connection::Postgres(conn) => {
                let rows = ask(conn, self.postgres()?).await?.rows;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn fetch_optional(self, conn: &mut Connection<'_>) -> Result<Option<Row>, Fault> {
        match conn {
            Connection::Sqlite(conn) => Ok(self.sqlite().fetch_optional(&mut **conn).await?.map(Row::Sqlite)),
            Connection::Direct(conn) => {
                Ok(conn.fetch(self.statement.sqlite, &self.arguments, 1)?.pop().map(Row::Direct))
            }
            Connection::Postgres(conn) => {
                let rows = ask(conn, self.postgres()?).await?.rows;
                Ok(rows.into_iter().next().map(Row::Postgres))
            }
        }
    }

    pub(crate) async fn fetch_one(self, conn: &mut Connection<'_>) -> Result<Row, Fault> {
        self.fetch_optional(conn).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        debug_assert!(self.width.is_none(), "what is run for each row is read by `fetch_all`");
        for_sqlite(self.statement, self.arguments)
    }

    fn postgres(self) -> Result<String, Fault> {
        Ok(match self.width {
            None => filled(self.statement.postgres, &self.arguments),
            Some(width) => {
                let rows: Vec<_> = self.arguments.chunks(width).collect();
                filled(self.statement.postgres, &[text_of(&rows)?.into()])
            }
        })
    }

    /// The values of each time that SQLite runs it.
    fn runs(&self) -> Vec<&[Argument<'a>]> {
        match self.width {
            None => vec![&self.arguments],
            Some(width) => self.arguments.chunks(width).collect(),
        }
    }
}

/// Runs statements that need nothing of each other's answers, none for each that is not there; gives their rows.
pub(crate) async fn fetch_together<const N: usize>(
    queries: [Option<Query<'_>>; N],
    conn: &mut Connection<'_>,
) -> Result<[Vec<Row>; N], Fault> {
    let mut fetched = [const { Vec::new() }; N];
    if let Connection::Postgres(conn) = conn {
        let (mut places, mut statements) = (Vec::new(), Vec::new());
        for (rows, query) in fetched.iter_mut().zip(queries) {
            if let Some(query) = query {
                places.push(rows);
                statements.push(query.postgres()?);
            }
        }
        if !statements.is_empty() {
            for (rows, answered) in places.into_iter().zip(conn.ask(&statements).await?) {
                *rows = answered.rows.into_iter().map(Row::Postgres).collect();
            }
        }
        return Ok(fetched);
    }
    for (rows, query) in fetched.iter_mut().zip(queries) {
        if let Some(query) = query {
            *rows = query.fetch_all(conn).await?;
        }
    }
    Ok(fetched)
}

impl Statement {
    /// Runs it for each of the rows, as [`Query::execute_later`] does.
    pub(crate) async fn execute_each_later<const N: usize>(
        self,
        rows: Rows<'_, N>,
        conn: &mut Connection<'_>,
    ) -> Result<(), Fault> {
        self.run_each(rows, false, conn).await
    }

    /// Runs it for each of the rows, as [`Query::execute_later`] does; fails unless it touches as many.
    pub(crate) async fn touch_each_later<const N: usize>(
        self,
        rows: Rows<'_, N>,
        conn: &mut Connection<'_>,
    ) -> Result<(), Fault> {
        self.run_each(rows, true, conn).await
    }

    async fn run_each<const N: usize>(
        self,
        rows: Rows<'_, N>,
        touches_each: bool,
        conn: &mut Connection<'_>,
    ) -> Result<(), Fault> {
        if rows.is_empty() {
            return Ok(());
        }
        let wanted = touches_each.then_some(rows.len() as u64);
        let touched = match conn {
            Connection::Sqlite(conn) => {
                let mut touched = 0;
                for row in rows.into_inner() {
                    touched += for_sqlite(self, row).execute(&mut **conn).await?.rows_affected();
                }
                touched
            }
            Connection::Direct(conn) => conn.execute_each(self.sqlite, &rows)?,
            Connection::Postgres(conn) => {
                conn.later(&filled(self.postgres, &[rows.into_json()?.into()]), wanted);
                return Ok(());
            }
        };
        check_touched(wanted, touched)
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

async fn ask(conn: &mut Transacting, statement: String) -> Result<Answered, Fault> {
    Ok(conn.ask(&[statement]).await?.pop().unwrap_or_default())
}

/// Refuses another number of rows than wanted, where one is.
pub(crate) fn check_touched(wanted: Option<u64>, touched: u64) -> Result<(), Fault> {
    match wanted.filter(|wanted| *wanted != touched) {
        None => Ok(()),
        Some(wanted) => Err(Fault::refused(format!(
            "{wanted} rows were to change beside their jobs, {touched} did: they disagree"
        ))),
    }
}

impl Connection<'_> {
    /// Runs what has no values and no rows, such as a statement about savepoints.
    pub(crate) async fn run(&mut self, sql: &'static str) -> Result<(), Fault> {
        self.run_statement(Statement { sqlite: sql, postgres: sql }).await
    }

    /// Runs statements that have no values and no rows.
    pub(crate) async fn run_statement(&mut self, statement: Statement) -> Result<(), Fault> {
        match self {
            Self::Sqlite(conn) => {
                sqlx::raw_sql(statement.sqlite).execute(&mut **conn).await?;
                Ok(())
            }
            Self::Direct(conn) => Ok(conn.run(statement.sqlite)?),
            Self::Postgres(conn) => conn.run(statement.postgres).await,
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
