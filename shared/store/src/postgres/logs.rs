//! The logs of runs as rows: one for each piece, in the order they came.
//!
//! Pieces of many logs that come while others are written are committed together, by whoever of them is first.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::log::LogPiece;
use domain::retention::LogBytes;
use domain::{JobId, RunId, Timestamp};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, oneshot};

use super::transaction::{Begin, Server};
use crate::run_logs::ForgottenLogs;
use crate::sql::fault::{Fault, FaultKind, unavailable};
use crate::{Error, RunLogs};

/// Transactions on logs at a time: the rest of the process's connections are for what cannot wait.
const AT_ONCE_MAX: usize = 3;

/// Pieces, and about how many bytes of them, committed together.
const PIECES_MAX: usize = 256;
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// Runs whose logs are looked at in one step, and pieces deleted in it: a piece is large, and so is what deleting it writes.
const RUNS_PER_STEP: i64 = 64;
const PIECES_PER_STEP: i64 = 64;

/// The table of all logs.
#[derive(Debug)]
pub(super) struct PostgresLogs {
    server: Server,
    turns: Semaphore,
    /// Pieces that nobody writes yet.
    waiting: Mutex<VecDeque<Waiting>>,
    /// Whoever writes them.
    writing: AsyncMutex<()>,
}

/// A piece whose writer waits for its commit.
#[derive(Debug)]
struct Waiting {
    run: RunId,
    piece: LogPiece,
    written: oneshot::Sender<Result<bool, Error>>,
}

impl PostgresLogs {
    pub(super) const fn new(server: Server) -> Self {
        Self {
            server,
            turns: Semaphore::const_new(AT_ONCE_MAX),
            waiting: Mutex::new(VecDeque::new()),
            writing: AsyncMutex::const_new(()),
        }
    }

    /// Pieces to write together, one of a log at most: whether it begins where its log ends is seen once a statement.
    fn next_batch(&self) -> Vec<Waiting> {
        let (mut batch, mut runs, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
        let mut waiting = self.waiting();
        while batch.len() < PIECES_MAX
            && bytes < BYTES_MAX
            && let Some(next) = waiting.pop_front()
        {
            if !runs.insert(next.run) {
                waiting.push_front(next);
                break;
            }
            bytes += next.bytes();
            batch.push(next);
        }
        batch
    }

    /// Writes pieces and answers for them: together, or each by itself where one of them is refused.
    async fn write(&self, batch: Vec<Waiting>) {
        let together = self.write_all(&batch).await;
        let is_refused = together.as_ref().is_err_and(|fault| fault.kind == FaultKind::Refused);
        let is_shared = batch.len() > 1;
        for one in batch {
            let written = if is_refused && is_shared {
                self.write_all(std::slice::from_ref(&one)).await
            } else {
                together.clone()
            };
            let answer = written.map(|runs| runs.contains(&one.run.to_string())).map_err(Error::from);
            // Who asked may have gone.
            let _ = one.written.send(answer);
        }
    }

    async fn write_all(&self, batch: &[Waiting]) -> Result<BTreeSet<String>, Fault> {
        let mut transacting = self.server.begin(Begin::Write(None)).await?;
        let rows = transacting.fetch_all(append(batch.iter().map(|one| (one.run, &one.piece)))).await?;
        transacting.commit().await?;
        rows.iter().map(|row| Ok(row.try_get("run_id")?)).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        match &self.piece {
            LogPiece::Bytes { bytes, .. } => bytes.len(),
            LogPiece::Gap { .. } => 0,
        }
    }
}

#[async_trait]
impl RunLogs for PostgresLogs {
    async fn log_end(&self, run: RunId) -> Result<u64, Error> {
        let _turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let mut reader = self.server.begin(Begin::Read).await?;
        let query = sqlx::query(include_str!("sql/run_log_end.sql")).bind(run.to_string());
        let end: i64 = reader.fetch(query).await?.map_or(Ok(0), |row| row.try_get(0))?;
        reader.commit().await?;
        Ok(end.unsigned_abs())
    }

    async fn append_log(&self, run: RunId, piece: LogPiece) -> Result<bool, Error> {
        let (written, mut answer) = oneshot::channel();
        self.waiting().push_back(Waiting { run, piece, written });
        // Whoever took it up may have gone before it was committed.
        let lost = || unavailable("the piece may not have been written");
        let _mine = tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(|_| lost())?,
            mine = self.writing.lock() => mine,
        };
        let _turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        loop {
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(oneshot::error::TryRecvError::Closed) => return Err(lost()),
                Err(oneshot::error::TryRecvError::Empty) => self.write(self.next_batch()).await,
            }
        }
    }

    async fn read_log(&self, run: RunId, from: u64) -> Result<Option<LogPiece>, Error> {
        let _turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let mut reader = self.server.begin(Begin::Read).await?;
        let query =
            sqlx::query(include_str!("sql/run_log_read.sql")).bind(run.to_string()).bind(offset(from));
        let row = reader.fetch(query).await?;
        reader.commit().await?;
        let Some(row) = row else { return Ok(None) };
        let (begins, to): (i64, i64) = (row.try_get("from_offset")?, row.try_get("to_offset")?);
        let to = to.unsigned_abs();
        Ok(Some(match row.try_get::<Option<Vec<u8>>, _>("bytes")? {
            None => LogPiece::Gap { from, to },
            Some(mut bytes) => {
                let known = usize::try_from(from - begins.unsigned_abs()).unwrap_or(usize::MAX);
                LogPiece::Bytes { offset: from, bytes: bytes.split_off(known.min(bytes.len())) }
            }
        }))
    }

    async fn log_bytes(&self, since: Timestamp, over: u64) -> Result<Vec<LogBytes>, Error> {
        let _turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let mut reader = self.server.begin(Begin::Read).await?;
        let query =
            sqlx::query(include_str!("sql/run_logs_bytes.sql")).bind(since.as_ms()).bind(offset(over));
        let rows = reader.fetch_all(query).await?;
        reader.commit().await?;
        let hour = |row: &sqlx::postgres::PgRow| {
            let (hour, bytes): (i64, i64) = (row.try_get("hour")?, row.try_get("bytes")?);
            Ok(LogBytes { from: Timestamp::from_ms(hour), bytes: bytes.unsigned_abs() })
        };
        rows.iter().map(hour).collect()
    }

    async fn forget_logs(&self, after: Timestamp, before: Timestamp) -> Result<ForgottenLogs, Error> {
        let _turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let mut transacting = self.server.begin(Begin::Write(None)).await?;
        let query = sqlx::query(include_str!("sql/run_logs_forget.sql"))
            .bind(after.as_ms())
            .bind(before.as_ms())
            .bind(RUNS_PER_STEP)
            .bind(PIECES_PER_STEP);
        let row = transacting.fetch(query).await?;
        transacting.commit().await?;
        let Some(row) = row else { return Ok(ForgottenLogs::default()) };
        let pieces: i64 = row.try_get("pieces")?;
        let next = if pieces == PIECES_PER_STEP {
            Some(after)
        } else {
            let through: Option<i64> = row.try_get("through")?;
            through.filter(|_| row.try_get("is_more").unwrap_or(false)).map(Timestamp::from_ms)
        };
        Ok(ForgottenLogs { pieces: pieces.unsigned_abs(), next })
    }

    async fn forget_logs_of(&self, job: JobId) -> Result<u64, Error> {
        let _turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let mut transacting = self.server.begin(Begin::Write(None)).await?;
        let query = sqlx::query(include_str!("sql/run_logs_forget_of.sql")).bind(job.0).bind(PIECES_PER_STEP);
        let row = transacting.fetch(query).await?;
        transacting.commit().await?;
        Ok(row.map_or(Ok(0), |row| row.try_get::<i64, _>("pieces"))?.unsigned_abs())
    }
}

/// PostgreSQL's integers are signed; nothing real comes near.
fn offset(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Adds pieces, each where its log ends; gives the runs of those that begin there.
pub(super) fn append<'p>(
    pieces: impl Iterator<Item = (RunId, &'p LogPiece)>,
) -> Query<'static, Postgres, PgArguments> {
    let (mut runs, mut from, mut to, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (run, piece) in pieces {
        runs.push(run.to_string());
        to.push(offset(piece.end()));
        match piece {
            LogPiece::Bytes { offset: begins, bytes: piece } => {
                from.push(offset(*begins));
                bytes.push(Some(piece.clone()));
            }
            LogPiece::Gap { from: begins, .. } => {
                from.push(offset(*begins));
                bytes.push(None);
            }
        }
    }
    sqlx::query(include_str!("sql/run_logs_append.sql")).bind(runs).bind(from).bind(to).bind(bytes)
}
