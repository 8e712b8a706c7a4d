//! Virtual time, and each host's own idea of it: wall and boot clocks with an offset and a rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use service::Clock;
use service::clock::Source;

/// 2026-11-22T02:00:00Z: where every wall clock would stand at the start if none were wrong.
pub(crate) const START_MS: i64 = 1_795_312_800_000;

/// Milliseconds since the start of the simulation, as the whole of it counts them. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elapsed(Arc<AtomicI64>);

impl Elapsed {
    /// To the step between steps, to the millisecond inside a host.
    pub(crate) fn ms(&self) -> i64 {
        match turmoil::sim_elapsed() {
            Some(elapsed) => i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX),
            None => self.0.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

/// The clocks of one host.
#[derive(Debug)]
pub(crate) struct HostTime {
    elapsed: Elapsed,
    /// How much faster than true time it runs, in millionths.
    drift_ppm: i64,
    wall_offset_ms: AtomicI64,
    booted_at_ms: AtomicI64,
}

impl HostTime {
    pub(crate) fn new(elapsed: Elapsed, drift_ppm: i64) -> Arc<Self> {
        let zero = || AtomicI64::new(0);
        Arc::new(Self { elapsed, drift_ppm, wall_offset_ms: zero(), booted_at_ms: zero() })
    }

    pub(crate) fn clock(self: &Arc<Self>) -> Clock {
        Clock::of(self.clone())
    }

    /// Somebody sets the wall clock.
    pub(crate) fn step_wall(&self, by_ms: i64) {
        self.wall_offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// The wall clock is right again.
    pub(crate) fn set_right(&self) {
        self.wall_offset_ms.store(0, Ordering::Relaxed);
    }

    /// The host boots.
    pub(crate) fn boot(&self) {
        self.booted_at_ms.store(self.elapsed.ms(), Ordering::Relaxed);
    }

    fn counted(&self, true_ms: i64) -> i64 {
        true_ms + true_ms * self.drift_ppm / 1_000_000
    }
}

impl Source for HostTime {
    fn now_ms(&self) -> i64 {
        START_MS + self.counted(self.elapsed.ms()) + self.wall_offset_ms.load(Ordering::Relaxed)
    }

    fn boot_ms(&self) -> i64 {
        self.counted(self.elapsed.ms() - self.booted_at_ms.load(Ordering::Relaxed))
    }
}
