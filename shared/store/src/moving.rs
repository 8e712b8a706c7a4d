//! Copies of a database and the way back, for the keepers of one SQLite file (a PostgreSQL server has tools of its own for
//! that, which its keepers know better), and what another program's file holds.

use std::path::{Path, PathBuf};

use domain::Timestamp;
use domain::import::Predecessor;

use crate::open::{is_postgres, sqlite_path};
use crate::{Error, sqlite};

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// The size of the copy.
    pub bytes: u64,
    /// The database's generation at that moment.
    pub generation: i64,
    /// Jobs in it, of every status.
    pub jobs: u64,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup held.
    pub backup: BackedUp,
    /// The generation from now on: no database had it before.
    pub generation: i64,
    /// Where what was there before lies now; `None`: there was nothing.
    pub kept: Option<PathBuf>,
}

/// Copies the database that `url` names, as it is at one moment, to a new file that only its owner may read; others go on
/// reading and writing meanwhile. The copy is whole and on disk when this returns, or it is not there.
///
/// # Errors
/// [`Error::Setup`] when there is no database or `to` exists, [`Error::Newer`] for one of a newer program,
/// [`Error::Corrupt`] when the copy is not whole, [`Error::Unavailable`] when it could not be written.
pub async fn backup(url: &str, to: &Path) -> Result<BackedUp, Error> {
    sqlite::backup::backup(&file_of(url)?, to).await
}

/// Puts a copy in the place of the database that `url` names, brought to this program's schema and with a generation of its
/// own (`PROTOCOL.md`), so that no run of before is taken for one of afterwards. What was there is kept beside it.
///
/// # Errors
/// [`Error::Setup`] when there is no backup, or the database is in use; otherwise as [`backup`].
pub async fn restore(from: &Path, url: &str, now: Timestamp) -> Result<Restored, Error> {
    sqlite::restore::restore(from, &file_of(url)?, now).await
}

/// Reads the SQLite file of the in-process predecessor, of one moment; writes nothing to it.
///
/// # Errors
/// [`Error::Setup`] when there is no such file, or it is another program's.
pub async fn predecessor(file: &Path) -> Result<Predecessor, Error> {
    sqlite::predecessor::read(file).await
}

fn file_of(url: &str) -> Result<PathBuf, Error> {
    if is_postgres(url) {
        return Err(Error::Setup(
            "a PostgreSQL database is backed up and restored with pg_dump and pg_restore: docs/INSTALL.md says what to do \
             after it"
                .to_owned(),
        ));
    }
    sqlite_path(url)
}
