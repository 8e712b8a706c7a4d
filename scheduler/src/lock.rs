//! One scheduler per SQLite database: an advisory lock on a file beside it, held as long as the process.
//!
//! The lock makes answers from memory possible; what is written stays safe without it, by compare-and-set.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use service::Refused;
use service::settings::DatabaseUrl;

/// Links followed from one to the next; what is behind more of them is no file that SQLite opens.
const LINKS_MAX: usize = 40;

/// Held while this scheduler runs; released when it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DatabaseLock {
    _file: Option<File>,
}

/// Takes the lock of a SQLite database; any other database has its own way.
pub(crate) fn take(url: &DatabaseUrl) -> Result<DatabaseLock, Refused> {
    let Some(rest) = url.expose().strip_prefix("sqlite:") else { return Ok(DatabaseLock { _file: None }) };
    let database = Path::new(rest.strip_prefix("//").unwrap_or(rest));
    let could_not = |error: &dyn std::fmt::Display| {
        Refused::new(format!("could not open the lock file of {}: {error}", database.display()))
    };
    let file = open_lock(database).map_err(|error| could_not(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(DatabaseLock { _file: Some(file) }),
        Err(TryLockError::WouldBlock) => Err(Refused::new(format!(
            "another scheduler runs on {}: stop it first, or give this one another ORCH_DATABASE_URL",
            database.display()
        ))),
        Err(TryLockError::Error(error)) => Err(could_not(&error)),
    }
}

fn open_lock(database: &Path) -> io::Result<File> {
    let mut name = resolve(database)?.into_os_string();
    name.push(".scheduler.lock");
    OpenOptions::new().create(true).truncate(false).write(true).open(name)
}

/// The place of the file itself, which need not be there yet, whatever links lead to it: as SQLite does, so that a
/// database of two names has one lock. Makes its folder.
fn resolve(database: &Path) -> io::Result<PathBuf> {
    let mut path = database.to_path_buf();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    Ok(folder.canonicalize()?.join(name))
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

    #[test]
    fn a_database_of_two_names_has_one_lock() {
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| DatabaseUrl::new(format!("sqlite://{}", folder.path().join(name).display()));
        fs::create_dir(folder.path().join("deep")).unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        // A link to the file, a link to that link, and one to the folder; the file comes later.
        link("deep/orch.db", "link.db");
        link("link.db", "again.db");
        link("deep", "folder");
        for names in [["deep/orch.db", "link.db"], ["again.db", "folder/orch.db"]] {
            let first = take(&url(names[0])).unwrap();
            assert!(take(&url(names[1])).is_err(), "{names:?}");
            drop(first);
            assert!(take(&url(names[1])).is_ok(), "{names:?}");
            fs::write(folder.path().join("deep/orch.db"), b"").unwrap();
        }
        // Another file is another database.
        let first = take(&url("deep/orch.db")).unwrap();
        assert!(take(&url("deep/other.db")).is_ok());
        drop(first);
    }
}
