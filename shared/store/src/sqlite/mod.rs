//! The SQLite database: one file in WAL mode, one writer task per process, a few readers.
//!
//! Everything that writes goes through [`writer`]; what is written is [`crate::sql`]'s to say.

pub(crate) mod backup;
mod checkpoint;
pub(crate) mod direct;
mod migrate;
mod open;
mod pragmas;
pub(crate) mod predecessor;
pub(crate) mod restore;
mod turnstile;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;

use async_trait::async_trait;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use self::writer::Door;
use crate::sql::Database;
use crate::sql::connection::Reader;
use crate::sql::fault::unavailable;
use crate::sql::request::{Answer, Request};
use crate::{Error, StoreStats};

/// A SQLite file, open for reading, or for both.
#[derive(Debug)]
pub(crate) struct SqliteFile {
    path: Box<Path>,
    readers: SqlitePool,
    /// To the writer; none of a file opened for reading.
    door: Option<Door>,
    /// The writer and the checkpointer.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteFile {
    fn readers(&self) -> Result<&SqlitePool, Error> {
        if self.path.exists() {
            return Ok(&self.readers);
        }
        Err(unavailable(format!(
            "there is no database at {} yet: start ingest or the scheduler, or run `orch migrate`",
            self.path.display()
        )))
    }
}

#[async_trait]
impl Database for SqliteFile {
    async fn ask(&self, request: Request) -> Result<Answer, Error> {
        match &self.door {
            Some(door) => door.ask(request).await,
            None => Err(Error::Setup("this process opened the database for reading only".into())),
        }
    }

    async fn reader(&self) -> Result<Reader, Error> {
        Ok(Reader::Sqlite(self.readers()?.acquire().await?))
    }

    async fn snapshot(&self) -> Result<Reader, Error> {
        Ok(Reader::SqliteSnapshot(self.readers()?.begin().await?))
    }

    async fn check_writable(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn stats(&self) -> Result<StoreStats, Error> {
        Ok(StoreStats {
            file_bytes: checkpoint::file_bytes(&self.path),
            wal_bytes: checkpoint::file_bytes(&checkpoint::wal_path(&self.path)),
        })
    }

    async fn close(&self) {
        if let Some(door) = &self.door {
            door.close().await;
        }
        for task in self.tasks.lock().await.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the store failed");
            }
        }
        self.readers.close().await;
    }
}
