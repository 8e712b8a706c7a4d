//! One scheduler per SQLite database: an advisory lock on a file beside it, held as long as the process.
//!
//! The lock makes answers from memory possible; what is written stays safe without it, by compare-and-set.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use service::Refused;
use service::settings::DatabaseUrl;

/// Held while this scheduler runs; released when it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: Option<File>,
}

/// Takes the lock of a SQLite database; any other database has its own way.
pub(crate) fn take(url: &DatabaseUrl) -> Result<DatabaseLock, Refused> {
    let Some(rest) = url.expose().strip_prefix("sqlite:") else { return Ok(DatabaseLock { _file: None }) };
    let database = Path::new(rest.strip_prefix("//").unwrap_or(rest));
    let path = lock_path(database);
    let could_not = |error: &dyn std::fmt::Display| {
        Refused::new(format!("could not open the lock file {}: {error}", path.display()))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| could_not(&error))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| could_not(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(DatabaseLock { _file: Some(file) }),
        Err(TryLockError::WouldBlock) => Err(Refused::new(format!(
            "another scheduler runs on {}: stop it first, or give this one another ORCH_DATABASE_URL",
            database.display()
        ))),
        Err(TryLockError::Error(error)) => Err(could_not(&error)),
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".scheduler.lock");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_holder_is_told_who_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/orch.db");
        let url = DatabaseUrl::new(format!("sqlite://{}", path.display()));
        let first = take(&url).unwrap();
        let refused = take(&url).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "another scheduler runs on {}: stop it first, or give this one another ORCH_DATABASE_URL",
                path.display()
            )
        );
        drop(first);
        assert!(take(&url).is_ok());
    }
}
