//! When silence is judged: how long a node may be silent so that people are told within what was promised, and when to
//! look next. Arithmetic alone; what follows from silence is the scheduler's business.

use std::time::Duration;

/// The least time between two looks: however many instants lie close together, one look finds all that have passed.
pub const LOOKS_APART_MIN: Duration = Duration::from_millis(50);

/// How long a node may be silent before it counts as unreachable, so that this is written within `promised` of its last
/// word although noticing and writing take up to `spent`.
///
/// At least three quarters of the way from one renewal to what was promised stay the node's own: a healthy one that renews
/// every `renew` is not judged by the time that we need.
pub fn limit(promised: Duration, renew: Duration, spent: Duration) -> Duration {
    promised.saturating_sub(spent.min(promised.saturating_sub(renew) / 4))
}

/// How long to wait from `now_ms` until the next look: until the first of `instants` that is still to come, and at most
/// `usual`. Instants are milliseconds of one clock.
pub fn until_next_look(now_ms: i64, usual: Duration, instants: impl IntoIterator<Item = i64>) -> Duration {
    let first = instants.into_iter().filter(|at| *at > now_ms).min();
    let left_ms = first.and_then(|at| u64::try_from(at.saturating_sub(now_ms)).ok());
    left_ms.map_or(usual, |left| Duration::from_millis(left).max(LOOKS_APART_MIN).min(usual))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(duration: Duration) -> i64 {
        i64::try_from(duration.as_millis()).unwrap()
    }

    #[test]
    fn what_we_need_ourselves_is_taken_from_what_was_promised() {
        let seconds = Duration::from_secs;
        assert_eq!(limit(seconds(20), seconds(5), SECOND / 2), Duration::from_millis(19_500));
        assert_eq!(limit(seconds(6), seconds(5), SECOND / 2), Duration::from_millis(5_750));
    }

    proptest! {
        /// A node's last words come at any instants, looks happen where they are aimed, each up to 200 ms late: every
        /// silence is found within what was promised, and none before it is one.
        #[test]
        fn every_silence_is_found_in_time_and_none_too_early(
            promised_ms in 1_500_u64..30_000,
            renew_percent in 5_u64..60,
            last_words_ms in prop::collection::vec(0_i64..20_000, 1..12),
            late_ms in prop::collection::vec(0_i64..200, 1..40),
        ) {
            let (promised, spent) = (Duration::from_millis(promised_ms), Duration::from_millis(350));
            let renew = promised * u32::try_from(renew_percent).unwrap() / 100;
            let limit = limit(promised, renew, spent);
            prop_assert!(limit > renew && limit <= promised);
            // What the limit leaves is all that a look may spend.
            let left_ms = ms(promised) - ms(limit);
            let expires = |last_ms: i64| last_ms + ms(limit) + 1;

            let mut found = vec![None; last_words_ms.len()];
            let (mut now_ms, mut looks) = (0, 0_usize);
            while found.contains(&None) {
                let instants = last_words_ms.iter().filter(|last| **last <= now_ms).map(|last| expires(*last));
                let wait = until_next_look(now_ms, SECOND.min(limit), instants);
                prop_assert!(wait >= LOOKS_APART_MIN.min(limit) && wait <= SECOND);
                let late = late_ms[looks % late_ms.len()].min((left_ms - ms(LOOKS_APART_MIN)).max(0));
                (now_ms, looks) = (now_ms + ms(wait) + late, looks + 1);
                for (last, found) in last_words_ms.iter().zip(&mut found) {
                    if found.is_none() && now_ms >= expires(*last) {
                        *found = Some(now_ms - last);
                    }
                }
            }
            for silent_ms in found.into_iter().flatten() {
                prop_assert!(silent_ms > ms(limit), "after {silent_ms} ms");
                let bound_ms = ms(limit) + 1 + left_ms.max(ms(LOOKS_APART_MIN));
                prop_assert!(silent_ms <= bound_ms, "after {silent_ms} ms of {promised_ms}");
            }
        }
    }
}
