//! When the streams of started runs' logs last brought anything: heartbeats count, so that silence means a cut or a
//! node that is behind.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::RunId;

#[derive(Debug, Default)]
pub(crate) struct Streams {
    heard_boot_ms: Mutex<BTreeMap<RunId, i64>>,
}

/// A run that is watched, until this is dropped.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    run: RunId,
    streams: &'a Streams,
}

impl Streams {
    /// Begins to count a run's silence.
    pub(crate) fn watch(&self, run: RunId, boot_ms: i64) -> Watched<'_> {
        self.lock().insert(run, boot_ms);
        Watched { run, streams: self }
    }

    /// Says that a run's stream brought something.
    pub(crate) fn heard(&self, run: RunId, boot_ms: i64) {
        if let Some(heard) = self.lock().get_mut(&run) {
            *heard = boot_ms;
        }
    }

    /// The longest silence of a watched run; none: zero.
    pub(crate) fn lag(&self, boot_ms: i64) -> Duration {
        let oldest = self.lock().values().min().copied();
        let lag_ms = oldest.map_or(0, |heard| boot_ms.saturating_sub(heard));
        Duration::from_millis(u64::try_from(lag_ms).unwrap_or(0))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, i64>> {
        self.heard_boot_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_longest_silence_of_those_that_are_watched() {
        let run = |n| RunId(uuid::Uuid::from_u128(n));
        let streams = Streams::default();
        assert_eq!(streams.lag(9_000), Duration::ZERO);
        let first = streams.watch(run(1), 1_000);
        let second = streams.watch(run(2), 2_000);
        assert_eq!(streams.lag(9_000), Duration::from_secs(8));
        streams.heard(run(1), 8_500);
        assert_eq!(streams.lag(9_000), Duration::from_secs(7));
        drop(second);
        assert_eq!(streams.lag(9_000), Duration::from_millis(500));
        drop(first);
        streams.heard(run(1), 9_000);
        assert_eq!(streams.lag(9_000), Duration::ZERO);
    }
}
