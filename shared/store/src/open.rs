//! From a database url to a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::postgres::PostgresDatabase;
use crate::sql::SqlStore;
use crate::sqlite::SqliteFile;
use crate::{Error, Store};

/// What a process wants of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Ingest, scheduler, `orch migrate`: makes the folder and the database, applies pending migrations, may write.
    Write,
    /// Console, doctor: makes nothing, migrates nothing, writes nothing. A database that is not there yet is
    /// [`Error::Unavailable`] at every call until it is.
    Read,
}

/// Opens the store that `url` names: `sqlite://relative/path`, `sqlite:///absolute/path` or `sqlite:path`.
///
/// # Errors
/// [`Error::Setup`] for an url or a file that is no Orch database, [`Error::Newer`] for one of a newer program,
/// [`Error::Unavailable`] when it could not be opened now.
pub async fn open(url: &str, access: Access) -> Result<Arc<dyn Store>, Error> {
    if is_postgres(url) {
        return Ok(Arc::new(SqlStore::new(PostgresDatabase::open(url, access).await?)));
    }
    let path = sqlite_path(url)?;
    Ok(Arc::new(SqlStore::new(SqliteFile::open(&path, access).await?)))
}

/// Whether `url` names a PostgreSQL database, which several processes on several hosts may share.
pub fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

pub(crate) fn sqlite_path(url: &str) -> Result<PathBuf, Error> {
    let path = url
        .strip_prefix("sqlite:")
        .map(|rest| rest.strip_prefix("//").unwrap_or(rest))
        .ok_or_else(|| Error::Setup(format!("database url {url:?} does not start with sqlite:")))?;
    if path.is_empty() || path == ":memory:" || path.contains('?') || path.ends_with('/') {
        return Err(Error::Setup(format!(
            "database url {url:?} names no file: use sqlite://path/to/orch.db, without options"
        )));
    }
    Ok(Path::new(path).to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files() {
        for (url, path) in [
            ("sqlite://orch-data/orch.db", "orch-data/orch.db"),
            ("sqlite:///var/lib/orch/orch.db", "/var/lib/orch/orch.db"),
            ("sqlite:orch.db", "orch.db"),
        ] {
            assert_eq!(sqlite_path(url).unwrap(), Path::new(path), "{url}");
        }
        for url in
            ["sqlite://", "sqlite::memory:", "sqlite://a.db?mode=ro", "mysql://x", "orch.db", "sqlite:a/"]
        {
            assert!(matches!(sqlite_path(url), Err(Error::Setup(_))), "{url}");
        }
    }
}
