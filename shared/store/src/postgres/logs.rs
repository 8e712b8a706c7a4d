//! The logs of runs as rows: one for each piece, in the order they came.

use async_trait::async_trait;
use domain::RunId;
use domain::log::LogPiece;
use sqlx::Row as _;
use tokio::sync::Semaphore;

use super::transaction::{Begin, Server};
use crate::{Error, RunLogs};

/// Transactions on logs at a time: the rest of the process's connections are for what cannot wait.
const AT_ONCE_MAX: usize = 3;

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
        let end = piece.end();
        let (from, bytes) = match piece {
            LogPiece::Bytes { offset, bytes } => (offset, Some(bytes)),
            LogPiece::Gap { from, .. } => (from, None),
        };
        let mut transacting = self.server.begin(Begin::Write(None)).await?;
        let query = sqlx::query(include_str!("sql/run_log_append.sql"))
            .bind(run.to_string())
            .bind(offset(from))
            .bind(offset(end))
            .bind(bytes);
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
}

/// PostgreSQL's integers are signed; nothing real comes near.
fn offset(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
