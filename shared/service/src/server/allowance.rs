//! A token bucket for each of many sources: how much of something unwelcome one may do before it is refused, and how little once
//! many do it together. Pure: time is an argument.

use std::collections::BTreeMap;

use super::Source;

/// The most sources that have a bucket of their own; beyond them strangers share one.
const SOURCES_MAX: usize = 16_384;
/// How often room is made for more of them: all are looked at.
const TIDIED_EVERY_MS: i64 = 1000;
/// What all sources may do together, in allowances of one.
const TOGETHER: u32 = 4;
/// Once they did, the share of its burst that one may still do, as a divisor.
const SPARED: u64 = 10;
/// A bucket counts in thousandths.
const ONE: u64 = 1000;

/// How much a source is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// At once.
    pub burst: u32,
    /// And after that, a second.
    pub per_second: u32,
}

/// What a source that did one thing more has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It had it left.
    Within,
    /// This was the first that it had no more left for.
    RanOut,
    /// It had it left, and it was the last that all had together: from here on each has a tenth of its burst.
    AllRanOut,
    /// It ran out before, and has not gathered a tenth of its burst since; or all did, and it is not one of those that did little.
    Over,
}

/// The buckets of all sources.
#[derive(Debug)]
pub struct Allowances {
    allowance: Allowance,
    buckets: BTreeMap<Source, Bucket>,
    /// Of those who have none of their own.
    shared: Bucket,
    /// Of all together.
    all: Bucket,
    tidied_at_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    at_ms: i64,
    out: bool,
}

impl Allowances {
    /// Full buckets for everybody.
    pub fn new(allowance: Allowance) -> Self {
        let full = |of: Allowance| Bucket { left: u64::from(of.burst) * ONE, at_ms: i64::MIN, out: false };
        let (shared, all) = (full(allowance), full(allowance.of_all()));
        Self { allowance, buckets: BTreeMap::new(), shared, all, tidied_at_ms: i64::MIN }
    }

    /// Counts one thing that `source` did at `now_ms`.
    pub fn spend(&mut self, source: Source, now_ms: i64) -> Spent {
        let allowance = self.allowance;
        let is_new = !self.buckets.contains_key(&source);
        if is_new
            && self.buckets.len() >= SOURCES_MAX
            && now_ms.saturating_sub(self.tidied_at_ms) >= TIDIED_EVERY_MS
        {
            self.tidied_at_ms = now_ms;
            // Whoever has a full bucket again is as good as new.
            self.buckets.retain(|_, bucket| !bucket.filled(allowance, now_ms).is_full(allowance));
        }
        let bucket = if self.buckets.len() >= SOURCES_MAX {
            self.buckets.get_mut(&source).unwrap_or(&mut self.shared)
        } else {
            let full = Bucket { left: u64::from(allowance.burst) * ONE, at_ms: now_ms, out: false };
            self.buckets.entry(source).or_insert(full)
        };
        *bucket = bucket.filled(allowance, now_ms);
        self.all = self.all.filled(allowance.of_all(), now_ms);
        if bucket.out || (self.all.out && !bucket.is_spared(allowance)) {
            return Spent::Over;
        }
        let Some(left) = bucket.left.checked_sub(ONE) else {
            bucket.out = true;
            return Spent::RanOut;
        };
        bucket.left = left;
        match self.all.left.checked_sub(ONE) {
            Some(left) => self.all.left = left,
            None if !self.all.out => {
                self.all.out = true;
                return Spent::AllRanOut;
            }
            None => {}
        }
        Spent::Within
    }

    /// Whether `source` has run out, or all have and it is not one of those that did little, and not enough was gathered since.
    pub fn is_out(&self, source: Source, now_ms: i64) -> bool {
        let all_out = || self.all.filled(self.allowance.of_all(), now_ms).out;
        self.buckets
            .get(&source)
            .map(|bucket| bucket.filled(self.allowance, now_ms))
            .is_some_and(|bucket| bucket.out || (!bucket.is_spared(self.allowance) && all_out()))
    }
}

impl Allowance {
    const fn of_all(self) -> Self {
        Self {
            burst: self.burst.saturating_mul(TOGETHER),
            per_second: self.per_second.saturating_mul(TOGETHER),
        }
    }
}

impl Bucket {
    /// Whether so little was done that it is borne even where all together did too much.
    fn is_spared(self, allowance: Allowance) -> bool {
        let burst = u64::from(allowance.burst) * ONE;
        self.left > burst - burst / SPARED
    }

    fn filled(self, allowance: Allowance, now_ms: i64) -> Self {
        let passed_ms = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        let gained = passed_ms.saturating_mul(u64::from(allowance.per_second));
        let left = self.left.saturating_add(gained).min(u64::from(allowance.burst) * ONE);
        let enough = u64::from(allowance.burst) * ONE / 10;
        Self { left, at_ms: now_ms.max(self.at_ms), out: self.out && left < enough.max(ONE) }
    }

    fn is_full(self, allowance: Allowance) -> bool {
        self.left >= u64::from(allowance.burst) * ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Allowance = Allowance { burst: 20, per_second: 2 };

    fn source(n: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from(n).into())
    }

    #[test]
    fn a_burst_and_then_nothing_until_a_tenth_of_it_is_back() {
        let mut allowances = Allowances::new(FEW);
        let (bad, other) = (source(1), source(2));
        for _ in 0..20 {
            assert_eq!(allowances.spend(bad, 1_000_000), Spent::Within);
        }
        assert!(!allowances.is_out(bad, 1_000_000));
        assert_eq!(allowances.spend(bad, 1_000_000), Spent::RanOut);
        assert_eq!(allowances.spend(bad, 1_000_500), Spent::Over);
        assert!(allowances.is_out(bad, 1_000_999));
        assert!(!allowances.is_out(bad, 1_001_000));
        assert_eq!(allowances.spend(other, 1_000_500), Spent::Within);
        assert_eq!(allowances.spend(bad, 1_001_000), Spent::Within);
        assert_eq!(allowances.spend(bad, 1_001_000), Spent::Within);
        assert_eq!(allowances.spend(bad, 1_001_000), Spent::RanOut);
        // A clock that steps back gives nothing and takes nothing.
        assert_eq!(allowances.spend(bad, 5), Spent::Over);
        for _ in 0..20 {
            assert_eq!(allowances.spend(bad, i64::MAX), Spent::Within);
        }
        assert_eq!(allowances.spend(bad, i64::MAX), Spent::RanOut);
    }

    #[test]
    fn many_together_leave_each_a_tenth_and_whoever_did_nothing_is_not_touched() {
        let mut allowances = Allowances::new(FEW);
        for n in 0..4 {
            for _ in 0..20 {
                assert_eq!(allowances.spend(source(n), 0), Spent::Within);
            }
        }
        assert_eq!(allowances.spend(source(4), 0), Spent::AllRanOut);
        assert_eq!(allowances.spend(source(4), 0), Spent::Within);
        assert_eq!(allowances.spend(source(4), 0), Spent::Over);
        assert!(allowances.is_out(source(4), 0) && !allowances.is_out(source(5), 0));
        assert_eq!(allowances.spend(source(5), 0), Spent::Within);
        assert_eq!(allowances.spend(source(5), 0), Spent::Within);
        assert_eq!(allowances.spend(source(5), 0), Spent::Over);
        // After a second a tenth of what all may do is back.
        assert!(!allowances.is_out(source(4), 1_000));
        for _ in 0..4 {
            assert_eq!(allowances.spend(source(4), 1_000), Spent::Within);
        }
    }

    #[test]
    fn with_no_allowance_the_first_is_one_too_many() {
        let mut allowances = Allowances::new(Allowance { burst: 0, per_second: 0 });
        assert_eq!(allowances.spend(source(1), 0), Spent::RanOut);
        assert_eq!(allowances.spend(source(1), i64::MAX), Spent::Over);
    }

    #[test]
    fn memory_is_bounded_and_strangers_beyond_it_share_a_bucket() {
        let mut allowances = Allowances::new(Allowance { burst: 20_000, per_second: 2_000 });
        let many = u32::try_from(SOURCES_MAX).unwrap();
        for n in 0..many {
            assert_eq!(allowances.spend(source(n), 0), Spent::Within);
        }
        for n in 0..20_000 {
            assert_eq!(allowances.spend(source(many + n), 0), Spent::Within);
        }
        assert_eq!(allowances.spend(source(many + 20_000), 0), Spent::RanOut);
        assert_eq!(allowances.spend(source(many + 20_001), 0), Spent::Over);
        assert_eq!(allowances.spend(source(1), 0), Spent::Within, "who came before has his own");
        assert_eq!(allowances.buckets.len(), SOURCES_MAX);
        // Later all are full again, and forgotten.
        assert_eq!(allowances.spend(source(many + 20_001), 60_000), Spent::Within);
        assert_eq!(allowances.buckets.len(), 1);
    }
}
