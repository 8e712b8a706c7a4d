//! A configuration file that is read again when it changes, with the last good value kept.
//!
//! It compares contents rather than times: a file written twice within one tick of the file
//! system's clock is still seen. It knows nothing of what is in the file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::lifecycle::Refused;
use crate::tasks::Tasks;

/// How often the file is looked at.
pub const POLL: Duration = Duration::from_secs(1);
/// The longest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

type Parse<T> = dyn Fn(&Path, &str) -> Result<T, String> + Send + Sync;

/// A value parsed from a file that may change. Clones share it.
pub struct Watched<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    path: PathBuf,
    parse: Box<Parse<T>>,
    current: watch::Sender<(u64, Arc<T>)>,
    /// What the last look found: the text (none: no file), and what was wrong with it.
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    text: Result<Option<String>, String>,
    error: Option<String>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads and parses the file; `default` stands in when there is none.
    ///
    /// # Errors
    /// The file cannot be read, is longer than [`FILE_BYTES_MAX`], is not UTF-8, or does not parse.
    pub fn load<E: fmt::Display>(
        path: impl Into<PathBuf>,
        default: T,
        parse: impl Fn(&Path, &str) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, Refused> {
        let path = path.into();
        let parse =
            Box::new(move |path: &Path, text: &str| parse(path, text).map_err(|error| error.to_string()));
        let text = read(&path).map_err(Refused::new)?;
        let value = match &text {
            Some(text) => parse(&path, text).map_err(Refused::new)?,
            None => default,
        };
        let current = watch::Sender::new((1, Arc::new(value)));
        let seen = Mutex::new(Seen { text: Ok(text), error: None });
        Ok(Self { shared: Arc::new(Shared { path, parse, current, seen }) })
    }

    /// The last good value.
    pub fn get(&self) -> Arc<T> {
        self.shared.current.borrow().1.clone()
    }

    /// How many good values there have been: 1 after [`Watched::load`], one more with each reload.
    pub fn version(&self) -> u64 {
        self.shared.current.borrow().0
    }

    /// A receiver of (version, value) that wakes at each reload.
    pub fn subscribe(&self) -> watch::Receiver<(u64, Arc<T>)> {
        self.shared.current.subscribe()
    }

    /// What is wrong with the file as it is now, when that is why an older value is in use.
    pub fn error(&self) -> Option<String> {
        self.seen().error.clone()
    }

    /// Looks at the file once; true when a new value was taken over. A file that has gone keeps the last value.
    pub fn look(&self) -> bool {
        let text = read(&self.shared.path);
        if self.seen().text == text {
            return false;
        }
        let parsed = match &text {
            Ok(Some(content)) => (self.shared.parse)(&self.shared.path, content),
            Ok(None) => Err(format!("{}: the file has gone", self.shared.path.display())),
            Err(error) => Err(error.clone()),
        };
        let error = parsed.as_ref().err().cloned();
        *self.seen() = Seen { text, error: error.clone() };
        match (parsed, error) {
            (Ok(value), _) => {
                self.shared.current.send_modify(|(version, current)| {
                    *version += 1;
                    *current = Arc::new(value);
                });
                tracing::info!(path = %self.shared.path.display(), version = self.version(), "file reloaded");
                true
            }
            (Err(error), _) => {
                tracing::error!(path = %self.shared.path.display(), error, "could not reload, the last good version stays");
                false
            }
        }
    }

    /// Looks at the file every [`POLL`] until the tasks are stopped.
    pub fn spawn(&self, tasks: &Tasks) {
        let (this, token) = (self.clone(), tasks.token());
        tasks.spawn("watched-file", async move {
            let mut ticks = tokio::time::interval(POLL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while token.run_until_cancelled(ticks.tick()).await.is_some() {
                this.look();
            }
        });
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Option<String>, String> {
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: could not read: {error}", path.display())),
    };
    if size > FILE_BYTES_MAX {
        return Err(format!("{}: {size} bytes, at most {FILE_BYTES_MAX} are read", path.display()));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: could not read: {error}", path.display())),
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::ParseIntError;

    use super::*;

    fn number(path: &Path, text: &str) -> Result<i32, String> {
        text.trim().parse().map_err(|error: ParseIntError| format!("{}: {error}", path.display()))
    }

    #[test]
    fn the_last_good_value_is_kept_until_a_better_one_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        let watched = Watched::load(&path, 7, number).unwrap();
        let facts = |watched: &Watched<i32>| (*watched.get(), watched.version(), watched.error());
        assert_eq!(facts(&watched), (7, 1, None));

        std::fs::write(&path, "8").unwrap();
        assert!(watched.look() && !watched.look());
        assert_eq!(facts(&watched), (8, 2, None));

        std::fs::write(&path, "x").unwrap();
        assert!(!watched.look());
        let broken = format!("{}: invalid digit found in string", path.display());
        assert_eq!(facts(&watched), (8, 2, Some(broken)));

        std::fs::remove_file(&path).unwrap();
        assert!(!watched.look());
        assert_eq!(facts(&watched), (8, 2, Some(format!("{}: the file has gone", path.display()))));

        std::fs::write(&path, "9").unwrap();
        assert!(watched.look());
        assert_eq!(facts(&watched), (9, 3, None));
    }

    #[test]
    fn a_bad_or_oversized_file_is_refused_at_load() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        std::fs::write(&path, "x").unwrap();
        assert!(Watched::load(&path, 7, number).is_err());
        std::fs::write(&path, " ".repeat(1024 * 1024 + 1)).unwrap();
        assert!(Watched::load(&path, 7, number).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_spawned_task_takes_a_change_over_and_stops() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        let watched = Watched::load(&path, 7, number).unwrap();
        let tasks = Tasks::new();
        watched.spawn(&tasks);
        let mut changes = watched.subscribe();
        std::fs::write(&path, "8").unwrap();
        changes.changed().await.unwrap();
        assert_eq!(*watched.get(), 8);
        tasks.stop();
        assert!(tasks.finished(Duration::from_secs(5)).await);
    }
}
