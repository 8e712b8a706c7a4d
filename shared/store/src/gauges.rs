//! What is measured of a store: the backlog and why it waits, and how long commits take.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use domain::Timestamp;

use crate::Error;

/// The queued jobs, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many wait for each reason, by its code (`domain::admission::WaitReason`); reasons of no job are left out.
    pub by_reason: BTreeMap<String, u64>,
    /// Since when the oldest due job waits.
    pub oldest_ready_at: Option<Timestamp>,
}

/// Is told how long each write took, from its asking to its durable commit.
pub type CommitObserver = Box<dyn Fn(Duration) + Send + Sync>;

/// What is measured; part of every [`crate::Store`].
#[async_trait]
pub trait Gauges {
    /// Counts the queued jobs by why they wait. Work grows with the jobs that claims have looked at and left, not with the
    /// backlog.
    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Error>;

    /// Folds what writers noted of how many jobs there are, where they do not keep one count together. The sum is right
    /// without it; it is there so that little has to be summed up.
    async fn fold_counts(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Tells `observer` of every commit from now on; only the first one is told.
    fn observe_commits(&self, observer: CommitObserver);
}

/// The place of the one observer.
#[derive(Default)]
pub(crate) struct Observed(OnceLock<CommitObserver>);

impl Observed {
    pub(crate) fn by(&self, observer: CommitObserver) {
        // The first one stays.
        let _ = self.0.set(observer);
    }

    pub(crate) fn tell(&self, took: Duration) {
        if let Some(observer) = self.0.get() {
            observer(took);
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.0.get().is_some()).finish()
    }
}
