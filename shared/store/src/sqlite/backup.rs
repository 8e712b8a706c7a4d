//! A copy of the database while others use it; see [`crate::backup`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::{checkpoint, pragmas};
use crate::sql::connection::Connection;
use crate::sql::fault::unavailable;
use crate::sql::schema;
use crate::{BackedUp, Error, Schema};

/// Only its owner reads a copy: prompts and what agents printed are in it.
const MODE: u32 = 0o600;

/// Copies the database at `from` to the new file `to`.
pub(crate) async fn backup(from: &Path, to: &Path) -> Result<BackedUp, Error> {
    if to.symlink_metadata().is_ok() {
        return Err(Error::Setup(format!("{} is there already: name a new file", to.display())));
    }
    let part = Part::beside(to, "part")?;
    let copied = copy(from, &part).await?;
    fs::rename(&part.0, to).and_then(|()| sync_folder(to)).map_err(|error| could_not("write", to, &error))?;
    Ok(copied)
}

/// A file that is not whole yet; what is left of a try goes with it.
#[derive(Debug)]
pub(super) struct Part(pub(super) PathBuf);

impl Part {
    /// A new file beside `whole`, in the place of what an earlier try left.
    pub(super) fn beside(whole: &Path, ending: &str) -> Result<Self, Error> {
        let part = Self(named(whole, ending));
        let make = || {
            match fs::remove_file(&part.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            OpenOptions::new().write(true).create_new(true).mode(MODE).open(&part.0)
        };
        make().map_err(|error| could_not("write", &part.0, &error))?;
        Ok(part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it is whole it has another name.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the database as it is at one moment to `to`, on disk, and looks whether the copy is whole.
pub(super) async fn copy(from: &Path, to: &Part) -> Result<BackedUp, Error> {
    if checkpoint::file_bytes(from) == 0 {
        return Err(Error::Setup(format!("there is no database at {}", from.display())));
    }
    let mut conn = pragmas::reader(from).pragma("query_only", "0").connect().await?;
    let written = write(&mut conn, &to.0).await;
    conn.close().await?;
    written?;
    File::open(&to.0).and_then(|file| file.sync_all()).map_err(|error| could_not("write", &to.0, &error))?;
    let mut conn = pragmas::reader(&to.0).connect().await?;
    let contents = contents(&mut conn).await;
    conn.close().await?;
    let (generation, jobs) = contents?;
    Ok(BackedUp { bytes: checkpoint::file_bytes(&to.0), generation, jobs })
}

async fn write(conn: &mut SqliteConnection, to: &Path) -> Result<(), Error> {
    match schema::read(&mut Connection::Sqlite(&mut *conn)).await? {
        Schema { found: 0, .. } => {
            return Err(Error::Setup("there is no Orch database in this file".to_owned()));
        }
        Schema { found, needed } if found > needed => return Err(Error::Newer { found, known: needed }),
        Schema { .. } => {}
    }
    let to = to.to_str().ok_or_else(|| Error::Setup(format!("{} is not UTF-8", to.display())))?;
    sqlx::query(include_str!("sql/backup.sql")).bind(to).execute(conn).await?;
    Ok(())
}

async fn contents(conn: &mut SqliteConnection) -> Result<(i64, u64), Error> {
    let row = sqlx::query(include_str!("sql/integrity.sql")).fetch_one(&mut *conn).await?;
    let found: String = row.try_get(0)?;
    if found != "ok" {
        return Err(Error::Corrupt(found));
    }
    let row = sqlx::query(include_str!("sql/backup_contents.sql")).fetch_one(conn).await?;
    Ok((row.try_get(0)?, u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0)))
}

/// `path` with `ending` added to its name.
pub(super) fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Has the folder's entry of `path` on disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

pub(super) fn could_not(verb: &str, path: &Path, error: &io::Error) -> Error {
    unavailable(format!("could not {verb} {}: {error}", path.display()))
}
