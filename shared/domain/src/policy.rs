//! How often and when a job is tried again.

use std::time::Duration;

use crate::Timestamp;
use crate::breaker::BreakerTerms;

/// The limits a transition obeys; from the settings of the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Failing tries before a job is `failed` (`ORCH_MAX_ATTEMPTS`).
    pub attempts_max: u32,
    /// Tries put off by limits before a job is `failed` (`ORCH_TRANSIENT_MAX_ATTEMPTS`).
    pub transient_attempts_max: u32,
    /// Tries lost with their runner before a job is quarantined (`ORCH_INFRA_MAX_ATTEMPTS`).
    pub infra_attempts_max: u32,
    /// The first wait (`ORCH_BACKOFF_BASE_SECONDS`).
    pub backoff_base: Duration,
    /// The longest wait of our own choosing (`ORCH_BACKOFF_MAX_SECONDS`).
    pub backoff_max: Duration,
    /// When an account's breaker opens, and for how long.
    pub breaker: BreakerTerms,
}

/// The most added to a time the provider named, so that a hundred jobs do not start in one second.
pub const RESET_SPREAD_MAX: Duration = Duration::from_secs(1);

/// A draw from 0 (inclusive) to 1 (exclusive), made at the edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance(f64);

impl Chance {
    /// Takes a draw; anything outside 0..1 is brought inside.
    pub fn new(draw: f64) -> Self {
        Self(if draw.is_finite() { draw.clamp(0.0, 1.0 - f64::EPSILON) } else { 0.0 })
    }
}

impl Policy {
    /// When to try again after `spent` earlier tries: the provider's word plus a small spread, else
    /// `min(base * 2^spent, max)` with full jitter (DESIGN.md section 8), never under half a second.
    pub fn retry_at(
        &self,
        now: Timestamp,
        spent: u32,
        named: Option<Timestamp>,
        chance: Chance,
    ) -> Timestamp {
        if let Some(at) = named {
            return at.max(now).plus(RESET_SPREAD_MAX.mul_f64(chance.0));
        }
        now.plus(self.backoff(spent).mul_f64(chance.0).max(BACKOFF_MIN))
    }

    fn backoff(&self, spent: u32) -> Duration {
        self.backoff_base
            .saturating_mul(1_u32.checked_shl(spent.min(31)).unwrap_or(u32::MAX))
            .min(self.backoff_max)
    }
}

const BACKOFF_MIN: Duration = Duration::from_millis(500);

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            transient_attempts_max: 10,
            infra_attempts_max: 10,
            backoff_base: Duration::from_secs(30),
            backoff_max: Duration::from_hours(1),
            breaker: BreakerTerms::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    fn latest(spent: u32) -> Duration {
        Policy::default().retry_at(NOW, spent, None, Chance::new(1.0)).since(NOW)
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let seconds = [0, 1, 2, 6, 7, 31, 4000].map(|n| (latest(n) + Duration::from_millis(1)).as_secs());
        assert_eq!(seconds, [30, 60, 120, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn jitter_is_full_but_never_zero() {
        let at = Policy::default().retry_at(NOW, 3, None, Chance::new(0.0));
        assert_eq!(at.since(NOW), BACKOFF_MIN);
    }

    #[test]
    fn a_named_time_is_kept_with_a_small_spread() {
        let policy = Policy::default();
        let named = NOW.plus(Duration::from_secs(63));
        assert_eq!(policy.retry_at(NOW, 9, Some(named), Chance::new(0.0)), named);
        assert!(policy.retry_at(NOW, 9, Some(named), Chance::new(1.0)).since(named) <= RESET_SPREAD_MAX);
        let past = Timestamp::from_ms(1);
        assert_eq!(policy.retry_at(NOW, 0, Some(past), Chance::new(0.0)), NOW);
    }
}
