//! A few hundred seeds with every `cargo test`, the same seed twice, and the seeds that once failed.
#![expect(clippy::print_stdout, reason = "what was not seen is worth a look and no failure")]

use std::path::PathBuf;

use sim::fleet;

/// How many seeds `cargo test` runs; `./dev sim` runs as many as it is told.
const SEEDS: u64 = 200;
/// Threads, which are all that a small machine has.
const THREADS: usize = 2;

/// A folder of this test alone, in memory where that is to be had.
fn folder(test: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("orch-sim-test-{test}-{}", std::process::id()))
}

#[test]
fn everything_holds_in_the_first_seeds() {
    let folder = folder("first");
    let sum = fleet::run_many(0, SEEDS, THREADS, None, usize::MAX, &folder);
    // Each seed removed its own files.
    let _ = std::fs::remove_dir_all(&folder);
    for (what, seeds) in sum.unseen() {
        println!("seen in {seeds} of {SEEDS} seeds: {what}");
    }
    assert_eq!(sum.failed, [], "show one: ./dev sim --seed SEED");
    assert_eq!(sum.seeds, SEEDS);
}

/// A restore under a second scheduler, a pause after its end, drains of runners that were away; a run that only one of
/// two schedulers heard of, a start before the node knew how long its grace is, a runner declared lost that came back
/// to another scheduler.
#[test]
fn everything_holds_in_the_seeds_that_once_failed() {
    let folder = folder("once");
    for seed in [310, 519, 641, 1_677, 3_177, 3_693, 10_529, 16_048, 45_709, 48_327, 50_630, 53_798] {
        assert_eq!(sim::run(seed, None, false, &folder).violation, None, "show it: ./dev sim --seed {seed}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn the_same_seed_is_the_same_story() {
    let folder = folder("twice");
    for seed in [3, 57, 71, 1_000_003, u64::MAX] {
        let [one, other] = [true, false].map(|keep| sim::run(seed, None, keep, &folder));
        assert_eq!(
            (one.digest, one.events, one.elapsed),
            (other.digest, other.events, other.elapsed),
            "{seed}"
        );
        assert!(one.events > 0 && one.trace.len() as u64 == one.events && other.trace.is_empty());
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn another_seed_is_another_story() {
    let folder = folder("other");
    let digests: std::collections::BTreeSet<u64> =
        (0..5).map(|seed| sim::run(seed, None, false, &folder).digest).collect();
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(digests.len(), 5);
}
