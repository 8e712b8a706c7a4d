//! One transaction on a pooled connection, and how it is begun.
//!
//! Whatever a session would keep is said anew for each transaction, in the one message that begins it, so that a proxy
//! may give each of them another server connection. A transaction that is dropped before its end takes its connection
//! with it: nobody knows what that one would still say.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Postgres, Row as _};
use tokio::time::timeout;

use super::ANSWER_WAIT_MAX;
use crate::sql::connection::Connection;
use crate::sql::fault::{Fault, FaultKind};

/// Connections of one process.
pub(super) const CONNECTIONS_MAX: u32 = 10;
/// How long to wait for one of them: with a statement's time still below the 5 s after which Gitea hangs up.
pub(super) const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a connection may take to be made where the pool's wait said nothing.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long to look for how a transaction ended whose COMMIT was not answered.
const DOUBT_MAX: Duration = Duration::from_secs(10);
const DOUBT_PAUSE: Duration = Duration::from_millis(50);

/// What every transaction says first. A statement that waits for a lock, or computes, for longer than any should, ends
/// there; so does a transaction whose process stands still while it holds locks.
const LIMITS: &str = "SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '3s'; \
                      SET LOCAL idle_in_transaction_session_timeout = '15s'; SET LOCAL jit = off";

/// What a migration says first: it may take its time, and those who start meanwhile wait.
const LIMITS_OF_MIGRATIONS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";

/// The first number of our advisory locks, which another program in the same database will hardly have.
const LOCKS: i32 = 0x4f72_6368;

/// Who takes turns with whom, over all processes. One that makes jobs or moves work items reads what is there before it
/// writes; one that claims counts what lives; one that takes messages looks who has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Schema = 1,
    Intake = 2,
    Claim = 3,
    Outbox = 4,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// Each statement sees what is committed when it begins.
    Read,
    /// All statements see one state.
    Snapshot,
    /// Writes, after its turn has come, where it takes one.
    Write(Option<Turn>),
    /// Changes the schema, however long that takes.
    Migrate,
}

impl Begin {
    fn sql(self) -> String {
        let (mode, limits, turn) = match self {
            Self::Read => ("READ COMMITTED READ ONLY", LIMITS, None),
            Self::Snapshot => ("REPEATABLE READ READ ONLY", LIMITS, None),
            Self::Write(turn) => ("READ COMMITTED", LIMITS, turn),
            Self::Migrate => ("READ COMMITTED", LIMITS_OF_MIGRATIONS, Some(Turn::Schema)),
        };
        let take_turn = turn.map(|turn| format!("; SELECT pg_advisory_xact_lock({LOCKS}, {})", turn as i32));
        format!("BEGIN ISOLATION LEVEL {mode}; {limits}{}", take_turn.unwrap_or_default())
    }
}

/// The server, by its connections.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) pool: PgPool,
    pub(super) options: PgConnectOptions,
}

impl Server {
    /// Begins a transaction. A connection that turns out to be dead is replaced: a restart of the server kills all of them.
    pub(super) async fn begin(&self, begin: Begin) -> Result<Transacting, Fault> {
        let sql = begin.sql();
        let mut tries = 0;
        loop {
            let conn = match self.pool.acquire().await {
                Ok(conn) => conn,
                Err(sqlx::Error::PoolTimedOut) => return Err(self.why_no_connection().await),
                Err(error @ sqlx::Error::PoolClosed) => return Err(error.into()),
                Err(error) => return Err(self.could_not_connect(&error)),
            };
            let mut transacting = Transacting { conn, ended: false };
            match transacting.run(sql.clone()).await {
                Ok(()) => return Ok(transacting),
                Err(fault) if fault.kind == FaultKind::Broken && tries <= CONNECTIONS_MAX => tries += 1,
                Err(fault) => return Err(fault),
            }
        }
    }

    /// The pool says only that it waited; whether the server is away or all connections are in use is found out.
    async fn why_no_connection(&self) -> Fault {
        match timeout(PROBE_WAIT_MAX, self.options.connect()).await {
            Ok(Ok(conn)) => {
                drop(conn.close().await);
                Fault::new(
                    FaultKind::Full,
                    format!(
                        "all {CONNECTIONS_MAX} connections of this process were in use for {} s",
                        CONNECTION_WAIT_MAX.as_secs()
                    ),
                )
            }
            Ok(Err(error)) => self.could_not_connect(&error),
            Err(_) => {
                Fault::new(FaultKind::Broken, format!("PostgreSQL at {} does not answer", self.place()))
            }
        }
    }

    fn could_not_connect(&self, error: &sqlx::Error) -> Fault {
        Fault::new(FaultKind::Broken, format!("could not connect to PostgreSQL at {}: {error}", self.place()))
    }

    fn place(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// How the transaction of that id ended, whose COMMIT nobody answered; false: it did not commit.
    pub(super) async fn has_committed(&self, xid: &str) -> Result<bool, Fault> {
        let look = async {
            loop {
                match self.status_of(xid).await {
                    Ok(Some(status)) => return status == "committed",
                    Ok(None) | Err(_) => tokio::time::sleep(DOUBT_PAUSE).await,
                }
            }
        };
        timeout(DOUBT_MAX, look).await.map_err(|_| {
            Fault::new(
                FaultKind::Broken,
                "the connection broke at COMMIT, and whether it happened could not be found out",
            )
        })
    }

    /// `None` while it is still under way.
    async fn status_of(&self, xid: &str) -> Result<Option<String>, Fault> {
        let mut reader = self.begin(Begin::Read).await?;
        let query = sqlx::query(include_str!("sql/transaction_status.sql")).bind(xid).persistent(false);
        let status: Option<String> = query.fetch_one(&mut *reader.conn).await?.try_get(0)?;
        reader.commit().await?;
        Ok(status.filter(|status| status != "in progress"))
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A transaction under way.
#[derive(Debug)]
pub(crate) struct Transacting {
    conn: PoolConnection<Postgres>,
    ended: bool,
}

impl Transacting {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        Connection::Postgres(&mut self.conn)
    }

    /// Runs a statement of PostgreSQL's own that has no values and one row.
    pub(super) async fn fetch_one(&mut self, sql: &'static str) -> Result<PgRow, Fault> {
        self.fetch(sqlx::query(sql)).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Runs a statement of PostgreSQL's own that has one row at most.
    pub(super) async fn fetch(
        &mut self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Option<PgRow>, Fault> {
        let answer = query.persistent(false).fetch_optional(&mut *self.conn);
        Ok(timeout(ANSWER_WAIT_MAX, answer).await.map_err(|_| no_answer())??)
    }

    /// Runs a statement of PostgreSQL's own that has a few rows.
    pub(super) async fn fetch_all(
        &mut self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Fault> {
        let answer = query.persistent(false).fetch_all(&mut *self.conn);
        Ok(timeout(ANSWER_WAIT_MAX, answer).await.map_err(|_| no_answer())??)
    }

    /// Runs statements without values or rows, however long they take.
    pub(super) async fn run_long(&mut self, sql: String) -> Result<(), Fault> {
        Ok(sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.conn).await.map(|_| ())?)
    }

    /// Runs a statement that has one value, or none, and gives one number, however long it takes.
    pub(super) async fn number_long(&mut self, sql: String, value: Option<String>) -> Result<i64, Fault> {
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        let query = match value {
            Some(value) => query.bind(value),
            None => query,
        };
        Ok(query.fetch_one(&mut *self.conn).await?.try_get(0)?)
    }

    /// Its id, by which its end can be asked for later; none while nothing is written.
    pub(super) async fn id(&mut self) -> Result<Option<String>, Fault> {
        Ok(self.fetch_one(include_str!("sql/transaction_id.sql")).await?.try_get(0)?)
    }

    /// Ends it, and gives the connection back.
    pub(crate) async fn commit(mut self) -> Result<(), Fault> {
        self.run("COMMIT".into()).await?;
        self.ended = true;
        Ok(())
    }

    /// Undoes it, and gives the connection back.
    pub(super) async fn roll_back(mut self) {
        self.ended = self.run("ROLLBACK".into()).await.is_ok();
    }

    async fn run(&mut self, sql: String) -> Result<(), Fault> {
        let run = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *self.conn);
        match timeout(ANSWER_WAIT_MAX, run).await {
            Ok(done) => Ok(done.map(|_| ())?),
            Err(_) => Err(no_answer()),
        }
    }
}

fn no_answer() -> Fault {
    Fault::new(FaultKind::Broken, "PostgreSQL does not answer")
}

impl Drop for Transacting {
    fn drop(&mut self) {
        if !self.ended {
            self.conn.close_on_drop();
        }
    }
}
