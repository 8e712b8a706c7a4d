//! The PostgreSQL database: any number of processes on one server, through a pooling proxy or not.
//!
//! What is written is [`crate::sql`]'s to say; here is how a transaction is begun, how far it may take, and who takes
//! turns. Nothing lives in a session: settings, locks and statements are a transaction's own.

mod announce;
mod fault;
mod lanes;
mod logs;
mod mark;
mod open;
mod text;
mod transaction;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

pub(crate) use self::fault::kind_of;
use self::lanes::Lanes;
use self::logs::PostgresLogs;
pub(crate) use self::text::filled;
pub(crate) use self::transaction::{Answered, Transacting};
use self::transaction::{Begin, Server};
pub(crate) use self::transfer::{Target, open_target};
use crate::sql::Database;
use crate::sql::connection::Reader;
use crate::sql::fault::unavailable;
use crate::sql::request::{Answer, Request};
use crate::{Error, Heard, RunLogs, StoreStats};

/// How long a statement's answer may take on this side, whatever became of the server's own limit: past it the
/// connection is given up.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);

/// Changes of the counts of jobs that one transaction folds; the next one goes on.
const FOLDED_AT_ONCE: i64 = 20_000;

/// A PostgreSQL database, open for reading, or for both.
#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    server: Server,
    logs: Arc<PostgresLogs>,
    /// To the writers; none of a database opened for reading.
    lanes: Option<Lanes>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

#[async_trait]
impl Database for PostgresDatabase {
    async fn ask(&self, request: Request) -> Result<Answer, Error> {
        match &self.lanes {
            Some(lanes) => lanes.ask(request).await,
            None => Err(Error::Setup("this process opened the database for reading only".into())),
        }
    }

    async fn reader(&self) -> Result<Reader, Error> {
        Ok(Reader::Postgres(self.server.begin(Begin::Read).await?))
    }

    async fn snapshot(&self) -> Result<Reader, Error> {
        Ok(Reader::Postgres(self.server.begin(Begin::Snapshot).await?))
    }

    fn run_logs(&self) -> Option<Arc<dyn RunLogs>> {
        Some(Arc::clone(&self.logs) as Arc<dyn RunLogs>)
    }

    async fn fold_counts(&self) -> Result<(), Error> {
        let mut transacting = self.server.begin(Begin::Write(None)).await?;
        let fold = sqlx::query(include_str!("sql/counts_fold.sql")).bind(FOLDED_AT_ONCE);
        transacting.fetch(fold).await?;
        Ok(transacting.commit().await?)
    }

    async fn listen(&self, direct: Option<String>, heard: Heard) {
        announce::listen(&self.server, direct.as_deref(), &heard).await;
    }

    async fn check_writable(&self) -> Result<(), Error> {
        if self.lanes.is_none() {
            return Ok(());
        }
        // A connection to a server that was failed over from is closed, until one finds the server that takes writes.
        for _ in 0..=self.server.pool.num_idle() {
            let mut reader = self.server.begin(Begin::Write(None)).await?;
            if !reader.fetch_one(include_str!("sql/server_reads_only.sql")).await?.try_get::<bool, _>(0)? {
                return Ok(reader.commit().await?);
            }
        }
        Err(unavailable("the PostgreSQL server only reads: it is a standby, or set to read only"))
    }

    async fn stats(&self) -> Result<StoreStats, Error> {
        let mut reader = self.server.begin(Begin::Read).await?;
        let bytes: i64 = reader.fetch_one(include_str!("sql/database_bytes.sql")).await?.try_get(0)?;
        reader.commit().await?;
        Ok(StoreStats { file_bytes: bytes.unsigned_abs(), wal_bytes: 0 })
    }

    async fn close(&self) {
        if let Some(lanes) = &self.lanes {
            lanes.close().await;
        }
        for task in self.tasks.lock().await.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the store failed");
            }
        }
        self.server.close().await;
    }
}
