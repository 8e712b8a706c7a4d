//! Many seeds on several threads: what was seen in how many of them, what never was, and which failed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::broken::Broken;
use crate::trace::Coverage;
use crate::world::{Report, run};

/// Runs of fewer seeds than this are not asked whether they saw everything.
pub const COVERING_SEEDS: u64 = 2000;
/// The least share of the seeds in which each of [`expected`] is seen.
pub const SHARE_MIN: f64 = 0.001;

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// How many seeds ran.
    pub seeds: u64,
    /// How many events they had.
    pub events: u64,
    /// How much virtual time they took, in milliseconds.
    pub elapsed_ms: u128,
    /// In how many seeds each thing was seen.
    pub seen: Coverage,
    /// The seeds in which something did not hold, and what.
    pub failed: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.events += report.events;
        self.elapsed_ms += report.elapsed.as_millis();
        for what in report.seen.keys() {
            *self.seen.entry(what.clone()).or_insert(0) += 1;
        }
        if let Some(violation) = &report.violation {
            self.failed.push((report.seed, violation.clone()));
        }
    }

    /// What was expected and seen in too few seeds, with how many.
    pub fn unseen(&self) -> Vec<(&'static str, u64)> {
        let least = (to_f64(self.seeds) * SHARE_MIN).ceil().max(1.0);
        let seen = |what: &str| self.seen.get(what).copied().unwrap_or(0);
        expected().map(|what| (what, seen(what))).filter(|(_, count)| to_f64(*count) < least).collect()
    }
}

/// Runs `seeds` seeds from `from` on `threads` threads, or until `failures_max` failed.
pub fn run_many(
    from: u64,
    seeds: u64,
    threads: usize,
    broken: Option<Broken>,
    failures_max: usize,
    folder: &Path,
) -> Sum {
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let enough =
                        sum.lock().unwrap_or_else(PoisonError::into_inner).failed.len() >= failures_max;
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if enough || seed >= from + seeds {
                        return;
                    }
                    let report = run(seed, broken, false, folder);
                    sum.lock().unwrap_or_else(PoisonError::into_inner).add(&report);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failed.sort_unstable();
    sum
}

/// Every kind of fault and agent, and every move of `domain::next`, by the names that [`Sum::seen`] has.
pub fn expected() -> impl Iterator<Item = &'static str> {
    EXPECTED.iter().copied()
}

const EXPECTED: &[&str] = &[
    "agent chatty",
    "agent crashes",
    "agent deaf",
    "agent fails",
    "agent forking",
    "agent hung",
    "agent limited",
    "agent lingering",
    "agent overloaded",
    "agent quiet",
    "agent silent",
    "agent too_long",
    "agent unauthorized",
    "fault ancient call",
    "fault calls lost, repeated, late",
    "fault cancel",
    "fault database busy",
    "fault database full",
    "fault database slow",
    "fault drain",
    "fault drain with a deadline",
    "fault held messages",
    "fault host crash",
    "fault keeper that comes late",
    "fault new database generation",
    "fault one-way partition from a runner",
    "fault one-way partition to a runner",
    "fault partition",
    "fault pause",
    "fault retry",
    "fault runner crash",
    "fault runner declared lost",
    "fault scheduler crash",
    "fault shim crash",
    "fault slow log reader",
    "fault slow network",
    "fault spawn fails",
    "fault two schedulers",
    "fault wall clock set",
    "leases spared",
    "move cancelled -> queued",
    "move failed -> queued",
    "move offered -> offered, cancel wanted",
    "move offered -> queued (withdrawn)",
    "move offered -> started",
    "move offered, cancel wanted -> cancelled (withdrawn)",
    "move queued -> cancelled",
    "move queued -> offered",
    "move started -> done (success)",
    "move started -> failed (lost)",
    "move started -> failed (permanent)",
    "move started -> failed (transient)",
    "move started -> queued (drained)",
    "move started -> queued (lost)",
    "move started -> queued (permanent)",
    "move started -> queued (transient)",
    "move started -> started",
    "move started -> started, cancel wanted",
    "move started, cancel wanted -> cancelled (cancelled)",
    "move started, cancel wanted -> cancelled (lost)",
    "move started, cancel wanted -> cancelled (permanent)",
    "move started, cancel wanted -> cancelled (transient)",
    "move started, cancel wanted -> done (success)",
];

#[expect(clippy::cast_precision_loss, reason = "counts of seeds are far below 2^52")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
