//! Chance from a seed, in the forms a scenario needs.

use std::ops::Range;

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// A sequence of draws.
#[derive(Debug)]
pub(crate) struct Dice(SmallRng);

impl Dice {
    /// The sequence of `seed` for one purpose: what one draws does not move what another gets.
    pub(crate) fn of(seed: u64, purpose: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose))
    }

    /// True in `per_mille` of 1000 draws.
    pub(crate) fn happens(&mut self, per_mille: u32) -> bool {
        self.0.random_range(0..1000) < per_mille
    }

    /// A number of the range.
    pub(crate) fn of_range(&mut self, range: Range<i64>) -> i64 {
        self.0.random_range(range)
    }

    /// An index below `len`, which is not 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    /// One of `all`, which is not empty.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// A seed for somebody else.
    pub(crate) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}
