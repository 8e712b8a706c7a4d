//! A copy in the place of the database; see [`crate::restore`]. It never overwrites: what was there keeps its rows under
//! another name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domain::Timestamp;
use sqlx::sqlite::SqliteLockingMode;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::backup::{Part, copy, could_not, named, sync_folder};
use super::{checkpoint, migrate, pragmas};
use crate::sql::fault::{Fault, FaultKind};
use crate::{Error, Restored};

/// Puts the copy at `from` in the place of the database at `to`.
pub(crate) async fn restore(from: &Path, to: &Path, now: Timestamp) -> Result<Restored, Error> {
    if checkpoint::file_bytes(from) == 0 {
        return Err(Error::Setup(format!("there is no backup at {}", from.display())));
    }
    // A link to the database stays one.
    let to = &to.canonicalize().unwrap_or_else(|_| to.to_path_buf());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| could_not("make", folder, &error))?;
    }
    let mut present = Present::hold(to).await?;
    let restored = put(from, to, present.generation, now).await;
    // Until here nobody else could open what was there.
    if let Some(conn) = present.conn.take() {
        conn.close().await?;
    }
    restored
}

/// What is to be replaced, held so that nobody else has it open.
#[derive(Debug)]
struct Present {
    conn: Option<SqliteConnection>,
    /// `None`: there is nothing, or nothing that can be read.
    generation: Option<i64>,
}

impl Present {
    async fn hold(path: &Path) -> Result<Self, Error> {
        if checkpoint::file_bytes(path) == 0 {
            return Ok(Self { conn: None, generation: None });
        }
        match take(path).await {
            Ok((conn, generation)) => Ok(Self { conn: Some(conn), generation: Some(generation) }),
            Err(fault) if fault.kind == FaultKind::Locked => Err(Error::Setup(format!(
                "{} is in use: stop ingest, the scheduler and the console first",
                path.display()
            ))),
            // A database that is broken is what people restore for.
            Err(fault) => {
                tracing::warn!(database = %path.display(), error = %fault, "what is there cannot be read");
                Ok(Self { conn: None, generation: None })
            }
        }
    }
}

/// Takes the whole file of a database, so that nobody else has it open.
pub(crate) async fn hold(path: &Path) -> Result<SqliteConnection, Fault> {
    Ok(take(path).await?.0)
}

/// Takes the whole file, with nothing of it left in a write-ahead log; gives its generation.
async fn take(path: &Path) -> Result<(SqliteConnection, i64), Fault> {
    let options = pragmas::reader(path).pragma("query_only", "0");
    let mut conn = options.locking_mode(SqliteLockingMode::Exclusive).connect().await?;
    sqlx::query(include_str!("sql/journal_delete.sql")).fetch_one(&mut conn).await?;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut conn).await?;
    sqlx::query("COMMIT").execute(&mut conn).await?;
    let row = sqlx::query(include_str!("sql/generation_read.sql")).fetch_one(&mut conn).await?;
    Ok((conn, row.try_get(0)?))
}

async fn put(from: &Path, to: &Path, present: Option<i64>, now: Timestamp) -> Result<Restored, Error> {
    let part = Part::beside(to, "restoring")?;
    let backup = copy(from, &part).await?;
    let generation = after(backup.generation, present, now);
    let mut conn = pragmas::writer(&part.0).connect().await?;
    let raised = raise(&mut conn, generation).await;
    // The last one to close it leaves no write-ahead log.
    conn.close().await?;
    raised?;
    let kept = replace(&part.0, to, generation).map_err(|error| could_not("replace", to, &error))?;
    Ok(Restored { backup, generation, kept })
}

/// A generation that no database of this name had: not the one that is replaced, and not one that was restored from the same
/// copy before and lost since, of which only the clock knows.
fn after(backup: i64, present: Option<i64>, now: Timestamp) -> i64 {
    let now_s = now.as_ms() / 1_000;
    backup.max(present.unwrap_or(0)).saturating_add(1).max(now_s)
}

async fn raise(conn: &mut SqliteConnection, generation: i64) -> Result<(), Error> {
    migrate::migrate(conn).await?;
    sqlx::query(include_str!("sql/generation_raise.sql")).bind(generation).execute(conn).await?;
    Ok(())
}

/// There is a database under `to` at every moment, the old one or the new one; the old one is named after the generation that
/// follows it.
fn replace(new: &Path, to: &Path, generation: i64) -> io::Result<Option<PathBuf>> {
    let kept = named(to, &format!("before-{generation}"));
    let was_there = match fs::hard_link(to, &kept) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    // Of a database that could not be read; a new one must not be joined with it.
    for ending in ["wal", "shm"] {
        let side = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!("-{ending}"));
            PathBuf::from(name)
        };
        match fs::rename(side(to), side(&kept)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(new, to)?;
    sync_folder(to)?;
    Ok(was_there.then_some(kept))
}
