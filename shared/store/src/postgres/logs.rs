//! The logs of runs as rows: one for each piece, in the order they came.

use async_trait::async_trait;
use domain::log::LogPiece;
use domain::retention::LogBytes;
use domain::{JobId, RunId, Timestamp};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};
use tokio::sync::Semaphore;

use super::transaction::{Begin, Server};
use crate::run_logs::ForgottenLogs;
use crate::{Error, RunLogs};

/// Transactions on logs at a time: the rest of the process's connections are for what cannot wait.
const AT_ONCE_MAX: usize = 3;

/// Runs whose logs are looked at in one step, and pieces deleted in it: a piece is large, and so is what deleting it writes.
const RUNS_PER_STEP: i64 = 64;
const PIECES_PER_STEP: i64 = 64;

/// The table of all logs.
#[derive(Debug)]
pub(super) struct PostgresLogs {
    server: Server,
    turns: Semaphore,
}

impl PostgresLogs {
    pub(super) const fn new(server: Server) -> Self {
        Self { server, turns: Semaphore::const_new(AT_ONCE_MAX) }
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
        let _turn = self.turns.acquire().await.map_err(|_| Error::Closed)?;
        let query = append(run, piece);
        let mut transacting = self.server.begin(Begin::Write(None)).await?;
        let written = transacting.fetch(query).await?.is_some();
        transacting.commit().await?;
        Ok(written)
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

/// Adds a piece where the log ends; a row when it begins there.
pub(super) fn append(run: RunId, piece: LogPiece) -> Query<'static, Postgres, PgArguments> {
    let end = piece.end();
    let (from, bytes) = match piece {
        LogPiece::Bytes { offset, bytes } => (offset, Some(bytes)),
        LogPiece::Gap { from, .. } => (from, None),
    };
    sqlx::query(include_str!("sql/run_log_append.sql"))
        .bind(run.to_string())
        .bind(offset(from))
        .bind(offset(end))
        .bind(bytes)
}
