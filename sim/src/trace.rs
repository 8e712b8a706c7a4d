//! What happened, line by line, and one number that stands for all of it; how often which thing was seen.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The events of one seed.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: DefaultHasher,
    lines: Option<Vec<String>>,
    count: u64,
}

impl Trace {
    /// Keeps the lines too when `keep` is set; the hash is the same either way.
    pub(crate) fn new(keep: bool) -> Self {
        Self { hash: DefaultHasher::new(), lines: keep.then(Vec::new), count: 0 }
    }

    pub(crate) fn add(&mut self, at_ms: i64, line: &str) {
        self.count += 1;
        (at_ms, line).hash(&mut self.hash);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9}  {line}", Seconds(at_ms)));
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.clone().unwrap_or_default()
    }
}

/// Milliseconds, shown as seconds.
struct Seconds(i64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

/// Which things were seen in a seed, or in how many seeds.
pub type Coverage = BTreeMap<String, u64>;
