//! One transaction on a pooled connection, and how it is begun.
//!
//! Whatever a session would keep is said anew for each transaction, in the one message that begins it, so that a proxy
//! may give each of them another server connection. Statements whose answers nobody waits for travel with the next one
//! that is waited for: each message is a way to the server and back. A transaction that is dropped before its end takes
//! its connection with it: nobody knows what that one would still say.

use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Either, Executor as _, PgPool, Postgres, Row as _,
};
use tokio::time::timeout;

use super::ANSWER_WAIT_MAX;
#[cfg(feature = "force")]
use crate::force::Tape;
use crate::sql::connection::{Connection, check_touched};
use crate::sql::fault::{Fault, FaultKind};

/// Connections of one process.
pub(super) const CONNECTIONS_MAX: u32 = 10;
/// How long to wait for one of them: with a statement's time still below the 5 s after which Gitea hangs up.
pub(super) const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a connection may take to be made where the pool's wait said nothing.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(1);

/// What every transaction says first. A statement that waits for a lock, or computes, for longer than any should, ends
/// there; so does a transaction whose process stands still while it holds locks.
const LIMITS: &[&str] = &[
    "SET LOCAL statement_timeout = '10s'",
    "SET LOCAL lock_timeout = '3s'",
    "SET LOCAL idle_in_transaction_session_timeout = '15s'",
    "SET LOCAL jit = off",
];

/// What a transaction that writes says besides. It looks rows up by their keys, however few there are now: a session keeps the
/// plans of its foreign keys, and one made for an empty table would read all of a large one at each check.
const BY_KEYS: &str = "SET LOCAL enable_seqscan = off";

/// What a migration says first: it may take its time, and those who start meanwhile wait.
const LIMITS_OF_MIGRATIONS: &[&str] = &["SET LOCAL statement_timeout = 0", "SET LOCAL lock_timeout = 0"];

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
    /// What is said to begin it, in that order.
    fn statements(self) -> Vec<String> {
        let (mode, limits, turn) = match self {
            Self::Read => ("READ COMMITTED READ ONLY", LIMITS, None),
            Self::Snapshot => ("REPEATABLE READ READ ONLY", LIMITS, None),
            Self::Write(turn) => ("READ COMMITTED", LIMITS, turn),
            Self::Migrate => ("READ COMMITTED", LIMITS_OF_MIGRATIONS, Some(Turn::Schema)),
        };
        let take_turn = turn.map(|turn| format!("SELECT pg_advisory_xact_lock({LOCKS}, {})", turn as i32));
        let begin = format!("BEGIN ISOLATION LEVEL {mode}");
        let by_keys = matches!(self, Self::Write(_)).then_some(BY_KEYS);
        let settings = limits.iter().copied().chain(by_keys).map(str::to_owned);
        std::iter::once(begin).chain(settings).chain(take_turn).collect()
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
        let mut tries = 0;
        loop {
            let mut transacting = self.begin_unsent(begin).await?;
            match transacting.send().await {
                Ok(()) => return Ok(transacting),
                Err(fault) if fault.kind == FaultKind::Broken && tries <= CONNECTIONS_MAX => tries += 1,
                Err(fault) => return Err(fault),
            }
        }
    }

    /// A transaction that begins with the first message to it, which then may find the connection dead.
    pub(super) async fn begin_unsent(&self, begin: Begin) -> Result<Transacting, Fault> {
        let conn = match self.pool.acquire().await {
            Ok(conn) => conn,
            Err(sqlx::Error::PoolTimedOut) => return Err(self.why_no_connection().await),
            Err(error @ sqlx::Error::PoolClosed) => return Err(error.into()),
            Err(error) => return Err(self.could_not_connect(&error)),
        };
        let mut transacting = Transacting::new(conn);
        for statement in begin.statements() {
            transacting.later(&statement, None);
        }
        Ok(transacting)
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

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A transaction under way.
#[derive(Debug)]
pub(crate) struct Transacting {
    conn: PoolConnection<Postgres>,
    unsent: Unsent,
    progress: Progress,
    tape: Tape,
}

/// Measurements alone keep what is sent.
#[cfg(not(feature = "force"))]
#[derive(Debug, Default)]
struct Tape(());

#[cfg(not(feature = "force"))]
impl Tape {
    #[expect(clippy::unused_self, reason = "the one that keeps needs it")]
    const fn keep(&mut self, _message: &str) {}
}

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing was sent.
    New,
    /// Something was sent, nothing answered.
    Sent,
    Begun,
    Ended,
}

/// Statements that go with the next message.
#[derive(Debug, Default)]
struct Unsent {
    sql: String,
    /// How many rows each of them must touch, where that is known.
    touching: Vec<Option<u64>>,
}

/// What a statement answered.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) rows: Vec<PgRow>,
    pub(crate) touched: u64,
}

impl Transacting {
    fn new(conn: PoolConnection<Postgres>) -> Self {
        Self { conn, unsent: Unsent::default(), progress: Progress::New, tape: Tape::default() }
    }

    pub(crate) fn connection(&mut self) -> Connection<'_> {
        Connection::Postgres(self)
    }

    /// Has a statement travel with the next message; a count of rows other than `touching` is a failure of that one.
    pub(crate) fn later(&mut self, statement: &str, touching: Option<u64>) {
        self.unsent.sql.push_str(statement);
        self.unsent.sql.push_str(";\n");
        self.unsent.touching.push(touching);
    }

    /// Runs statements, after those that wait to be sent, in one message; gives what these answer.
    pub(crate) async fn ask(&mut self, statements: &[String]) -> Result<Vec<Answered>, Fault> {
        let Unsent { mut sql, touching } = std::mem::take(&mut self.unsent);
        sql.push_str(&statements.join(";\n"));
        if self.progress == Progress::New {
            self.progress = Progress::Sent;
        }
        self.tape.keep(&sql);
        let asked = answers(&mut self.conn, sql);
        let mut before = timeout(ANSWER_WAIT_MAX, asked).await.map_err(|_| no_answer())??;
        self.progress = Progress::Begun;
        if before.len() != touching.len() + statements.len() {
            return Err(Fault::refused(format!(
                "{} statements gave {} answers",
                touching.len() + statements.len(),
                before.len()
            )));
        }
        let asked_for = before.split_off(touching.len());
        for (answer, touching) in before.iter().zip(touching) {
            check_touched(touching, answer.touched)?;
        }
        Ok(asked_for)
    }

    /// Runs any number of statements without values whose answers say nothing.
    pub(crate) async fn run(&mut self, sql: &'static str) -> Result<(), Fault> {
        self.send().await?;
        self.tape.keep(sql);
        let run = sqlx::raw_sql(sql).execute(&mut *self.conn);
        timeout(ANSWER_WAIT_MAX, run).await.map_err(|_| no_answer())??;
        Ok(())
    }

    /// Sends what waits to be sent.
    async fn send(&mut self) -> Result<(), Fault> {
        if self.unsent.touching.is_empty() {
            return Ok(());
        }
        self.ask(&[]).await.map(|_| ())
    }

    /// Sends what must be answered before COMMIT: that rows were touched as wanted.
    pub(super) async fn settle(&mut self) -> Result<(), Fault> {
        if self.unsent.touching.iter().any(Option::is_some) { self.send().await } else { Ok(()) }
    }

    /// Whether the server answered anything of it.
    pub(super) const fn has_begun(&self) -> bool {
        matches!(self.progress, Progress::Begun)
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

    /// Ends it, and gives the connection back.
    pub(crate) async fn commit(mut self) -> Result<(), Fault> {
        let ended = self.ask(&["COMMIT".into()]).await;
        match &ended {
            Ok(_) => self.progress = Progress::Ended,
            // Something that went with COMMIT failed, so that it did not happen.
            Err(fault) if !fault.kind.ends_connection() => self.roll_back().await,
            Err(_) => {}
        }
        ended.map(|_| ())
    }

    /// Undoes it, and gives the connection back.
    pub(super) async fn roll_back(mut self) {
        self.unsent = Unsent::default();
        if self.progress == Progress::New || self.ask(&["ROLLBACK".into()]).await.is_ok() {
            self.progress = Progress::Ended;
        }
    }
}

/// The answers to the statements of a message.
async fn answers(conn: &mut PoolConnection<Postgres>, sql: String) -> Result<Vec<Answered>, sqlx::Error> {
    let mut said = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
    let (mut answers, mut rows) = (Vec::new(), Vec::new());
    while let Some(part) = said.try_next().await? {
        match part {
            Either::Right(row) => rows.push(row),
            Either::Left(end) => {
                answers.push(Answered { rows: std::mem::take(&mut rows), touched: end.rows_affected() });
            }
        }
    }
    Ok(answers)
}

fn no_answer() -> Fault {
    Fault::new(FaultKind::Broken, "PostgreSQL does not answer")
}

impl Drop for Transacting {
    fn drop(&mut self) {
        if !matches!(self.progress, Progress::New | Progress::Ended) {
            self.conn.close_on_drop();
        }
    }
}
