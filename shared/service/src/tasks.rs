//! Tracked tasks: every task of a process is spawned here, watches a token and is waited for.
//!
//! A task that panics stops the whole process (see [`crate::lifecycle`]): a service that limps on
//! without one of its loops looks healthy and is not.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A group of tasks and the token that asks them to stop. Clones share both.
#[derive(Clone, Debug)]
pub struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
    /// The trackers of the groups above, which wait for our tasks too.
    above: Vec<TaskTracker>,
    whole: Arc<Whole>,
}

/// What all groups of one process share.
#[derive(Debug)]
struct Whole {
    token: CancellationToken,
    panicked: OnceLock<&'static str>,
}

impl Tasks {
    /// A new group with nothing above it.
    pub fn new() -> Self {
        let token = CancellationToken::new();
        let whole = Arc::new(Whole { token: token.clone(), panicked: OnceLock::new() });
        Self { token, tracker: TaskTracker::new(), above: Vec::new(), whole }
    }

    /// A group that stops with this one and can be stopped alone; this one waits for its tasks.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut above = self.above.clone();
        above.push(self.tracker.clone());
        Self {
            token: self.token.child_token(),
            tracker: TaskTracker::new(),
            above,
            whole: self.whole.clone(),
        }
    }

    /// Spawns a tracked task. It should end soon after [`Tasks::token`] is cancelled; nothing aborts it.
    ///
    /// A panic is logged under `name` and cancels every group of the process.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let above: Vec<_> = self.above.iter().map(TaskTracker::token).collect();
        let whole = self.whole.clone();
        let task = self.tracker.track_future(async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                whole.fail(name, panic.as_ref());
            }
            drop(above);
        });
        spawn_untracked(task)
    }

    /// Runs blocking work on its own thread, tracked like [`Tasks::spawn`]; it cannot be aborted.
    pub fn spawn_blocking(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        let above: Vec<_> = self.above.iter().map(TaskTracker::token).collect();
        let whole = self.whole.clone();
        self.tracker.spawn_blocking(move || {
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
                whole.fail(name, panic.as_ref());
            }
            drop(above);
        });
    }

    /// The token that is cancelled when this group is to stop.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Asks every task of this group, and of the groups below it, to stop.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// Waits until every task of this group has ended; false when `deadline` passed first.
    pub async fn finished(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }

    /// The name of the first task that panicked, in any group of the process.
    pub fn panicked(&self) -> Option<&'static str> {
        self.whole.panicked.get().copied()
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Whole {
    fn fail(&self, name: &'static str, panic: &(dyn Any + Send)) {
        tracing::error!(task = name, panic = panic_message(panic), "a task panicked, stopping the process");
        // Only the first one is kept: later ones are often its consequence.
        let _ = self.panicked.set(name);
        self.token.cancel();
    }
}

/// Runs file work on a thread of its own; it is finished even if nobody waits for it any more.
///
/// In the simulation, where time stands while anything is done, it is done at once.
///
/// # Errors
/// The work's own.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if !blocking_has_threads() {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Starts file work on a thread of its own that nobody waits for.
///
/// In the simulation it is done at once. It must not panic.
pub fn blocking_apart(work: impl FnOnce() + Send + 'static) {
    if blocking_has_threads() {
        drop(tokio::task::spawn_blocking(work));
    } else {
        work();
    }
}

/// Whether blocking work has threads of its own: all but in the simulation.
pub fn blocking_has_threads() -> bool {
    #[cfg(feature = "sim")]
    if turmoil::in_simulation() {
        return false;
    }
    true
}

/// The text of a panic, as far as it has one.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text")
}

#[expect(clippy::disallowed_methods, reason = "the one place that spawns; callers hand in tracked futures")]
fn spawn_untracked(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_panic_stops_every_group_and_leaves_its_name() {
        let tasks = Tasks::new();
        let (one, other) = (tasks.child(), tasks.child());
        one.spawn("the-loop", async { panic!("out of cheese") });
        tokio::time::timeout(SOON, other.token().cancelled()).await.expect("the other group is stopped");
        assert!(tasks.finished(SOON).await);
        assert_eq!(tasks.panicked(), Some("the-loop"));
    }

    #[tokio::test]
    async fn a_panic_in_blocking_work_counts_too() {
        let tasks = Tasks::new();
        tasks.spawn_blocking("blocking", || panic!("no"));
        assert!(tasks.finished(SOON).await);
        assert_eq!(tasks.panicked(), Some("blocking"));
    }

    #[tokio::test]
    async fn a_child_group_stops_alone_and_is_waited_for_from_above() {
        let tasks = Tasks::new();
        let child = tasks.child();
        let token = child.token();
        child.spawn("waits", async move { token.cancelled().await });
        assert!(!tasks.finished(Duration::from_millis(20)).await);
        child.stop();
        assert!(child.finished(SOON).await && tasks.finished(SOON).await);
        assert!(!tasks.token().is_cancelled());
        assert_eq!(tasks.panicked(), None);
    }
}
