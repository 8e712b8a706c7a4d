//! Opening: the folder, the file, its schema, the writer and the readers.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::checkpoint::{self, Checkpoints};
use super::direct::Direct;
use super::turnstile::Turnstile;
use super::writer::Writer;
use super::{SqliteFile, migrate, pragmas, writer};
use crate::sql::connection::Connection;
use crate::sql::fault::unavailable;
use crate::sql::schema;
use crate::{Access, Error};

/// Connections that read at once.
const READERS_MAX: u32 = 4;
/// How long a read may wait for one of them.
const READER_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long another process may hold the database while this one starts.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

impl SqliteFile {
    /// Opens the database at `path`; see [`crate::open`].
    pub(crate) async fn open(path: &Path, access: Access) -> Result<Self, Error> {
        let mut store =
            Self { path: path.into(), readers: readers(path), door: None, tasks: Mutex::new(Vec::new()) };
        if access == Access::Write {
            store.start_writer().await?;
        }
        Ok(store)
    }

    async fn start_writer(&mut self) -> Result<(), Error> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| {
                unavailable(format!("could not make folder {}: {error}", folder.display()))
            })?;
        }
        refuse_unfit(&self.path).await?;
        let turnstile = Turnstile::open(&self.path).map_err(|error| {
            unavailable(format!("could not open the lock files beside {}: {error}", self.path.display()))
        })?;
        let turn = turnstile.enter().await;
        let conn = open_migrated(&self.path).await?;
        drop(turn);
        let checkpoints = Arc::new(Checkpoints::new(&self.path));
        let (door, writer) = writer::writer(&self.path, conn, turnstile, Arc::clone(&checkpoints));
        let written =
            start(writer).map_err(|error| unavailable(format!("could not start a thread: {error}")))?;
        let checkpointer = checkpoint::run(self.path.to_path_buf(), checkpoints, door.downgrade());
        self.tasks = Mutex::new(vec![spawn(written), spawn(checkpointer)]);
        self.door = Some(door);
        Ok(())
    }
}

/// Starts the writer on a thread of its own, where SQLite may block; the future ends with it.
fn start(writer: Writer) -> std::io::Result<impl Future<Output = ()>> {
    let (ended, end) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new().name("store-writer".into()).spawn(move || {
        runtime.block_on(writer.run());
        // Nobody waits for it where the store was dropped.
        let _ = ended.send(());
    })?;
    Ok(async {
        if end.await.is_err() {
            tracing::error!("the store's writer failed");
        }
    })
}

/// Looks before anything is written: a newer database, or another program's, is left as it is.
async fn refuse_unfit(path: &Path) -> Result<(), Error> {
    if checkpoint::file_bytes(path) == 0 {
        return Ok(());
    }
    let mut conn = pragmas::reader(path).connect().await?;
    let found = schema::read(&mut Connection::Sqlite(&mut conn)).await;
    conn.close().await?;
    match schema::check(found?) {
        Ok(()) | Err(Error::Older { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Two processes that start at once both want the file for themselves for a moment; one of them asks again.
async fn open_migrated(path: &Path) -> Result<Direct, Error> {
    let give_up_at = Instant::now() + OPEN_DEADLINE;
    loop {
        match try_open_migrated(path).await {
            Err(Error::Unavailable(error)) if Instant::now() < give_up_at => {
                tracing::debug!(error, "could not open the database yet");
                tokio::time::sleep(pragmas::BUSY_TIMEOUT / 10).await;
            }
            result => return result,
        }
    }
}

async fn try_open_migrated(path: &Path) -> Result<Direct, Error> {
    let mut conn = pragmas::writer(path).connect().await?;
    pragmas::check(&mut conn, pragmas::WRITER).await?;
    migrate::migrate(&mut conn).await?;
    let direct = Direct::open(path)?;
    conn.close().await?;
    Ok(direct)
}

/// Connects when first asked, so that a reader may start before the database is there.
fn readers(path: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(READER_WAIT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(|conn, _| {
            Box::pin(async move {
                pragmas::check(conn, pragmas::READER)
                    .await
                    .map_err(|error| sqlx::Error::Configuration(Box::new(error)))
            })
        })
        .connect_lazy_with(pragmas::reader(path))
}

#[expect(clippy::disallowed_methods, reason = "tracked by its handle, which `Store::close` waits for")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
