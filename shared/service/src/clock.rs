//! The two clocks Orch decides by: UTC wall time, and time since boot that counts suspend.
//!
//! Nothing else reads the time of the host. Deadlines inside one process use
//! `tokio::time::Instant`, which tests can pause.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The host's time, one that a test moves by hand, or another [`Source`]. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    Manual(Arc<Manual>),
    Other(Arc<dyn Source>),
}

/// Where time comes from in a world that is not the host's.
pub trait Source: fmt::Debug + Send + Sync {
    /// See [`Clock::now_ms`].
    fn now_ms(&self) -> i64;

    /// See [`Clock::boot_ms`].
    fn boot_ms(&self) -> i64;
}

#[derive(Debug)]
struct Manual {
    now_ms: AtomicI64,
    boot_ms: AtomicI64,
}

impl Clock {
    /// The clocks of the host.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands at `start_ms` (UTC milliseconds; its boot time starts at 0) until [`Clock::advance`].
    pub fn manual(start_ms: i64) -> Self {
        Self(Kind::Manual(Arc::new(Manual { now_ms: AtomicI64::new(start_ms), boot_ms: AtomicI64::new(0) })))
    }

    /// The clocks of another world.
    pub fn of(source: Arc<dyn Source>) -> Self {
        Self(Kind::Other(source))
    }

    /// UTC wall time in milliseconds since 1970; may step either way when the host's time is set.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Kind::System => system_ms(),
            Kind::Manual(manual) => manual.now_ms.load(Ordering::SeqCst),
            Kind::Other(source) => source.now_ms(),
        }
    }

    /// Milliseconds since boot (`CLOCK_BOOTTIME`): never steps back and goes on while the host sleeps.
    pub fn boot_ms(&self) -> i64 {
        match &self.0 {
            Kind::System => {
                let time = clock_gettime(ClockId::Boottime);
                time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
            }
            Kind::Manual(manual) => manual.boot_ms.load(Ordering::SeqCst),
            Kind::Other(source) => source.boot_ms(),
        }
    }

    /// Moves a manual clock, wall and boot time alike.
    ///
    /// # Panics
    /// On any other clock: only a test moves time, and it made its clock itself.
    pub fn advance(&self, by: Duration) {
        let Kind::Manual(manual) = &self.0 else {
            panic!("only a manual clock can be moved");
        };
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        manual.now_ms.fetch_add(by_ms, Ordering::SeqCst);
        manual.boot_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the edge the rule speaks of")]
fn system_ms() -> i64 {
    match std::time::SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand_and_clones_share_it() {
        let clock = Clock::manual(1_000);
        let other = clock.clone();
        clock.advance(Duration::from_millis(250));
        assert_eq!((other.now_ms(), other.boot_ms()), (1_250, 250));
    }

    #[test]
    fn the_system_clock_is_after_2020_and_boot_time_does_not_go_back() {
        let clock = Clock::system();
        assert!(clock.now_ms() > 1_577_836_800_000);
        let first = clock.boot_ms();
        assert!(first > 0 && clock.boot_ms() >= first);
    }
}
