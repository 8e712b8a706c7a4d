//! The windows of a provider's limits, as runs report them: kept per account, the newest word on each.

use crate::Timestamp;
use crate::classify::WAIT_MAX;
use crate::outcome::RateLimit;

/// The most windows kept of one account; there are about six kinds.
pub const WINDOWS_MAX: usize = 16;

/// Takes what a run saw.
///
/// Reports come in any order, and a run's may be hours old: a window that resets later is the newer one, and within one
/// window use only grows.
pub(super) fn merge(known: &mut Vec<RateLimit>, seen: &[RateLimit]) {
    for news in seen.iter().filter(|news| !news.window.is_empty()) {
        match known.binary_search_by(|window| window.window.cmp(&news.window)) {
            Ok(at) if is_older(news, &known[at]) => {}
            Ok(at) => known[at] = news.clone(),
            Err(_) if known.len() >= WINDOWS_MAX => {}
            Err(at) => known.insert(at, news.clone()),
        }
    }
}

fn is_older(news: &RateLimit, known: &RateLimit) -> bool {
    (news.resets_at, used(news)) < (known.resets_at, used(known))
}

/// Whether the window is not known to be over.
pub(super) fn is_open(window: &RateLimit, now: Timestamp) -> bool {
    window.resets_at.is_none_or(|at| at > now)
}

/// The share used, 0 to 1, as far as it is known: a window that refuses work is spent, whatever else it says.
pub(super) fn known_used(window: &RateLimit) -> Option<f64> {
    if window.status == REJECTED { Some(1.0) } else { window.utilization.map(|share| share.clamp(0.0, 1.0)) }
}

/// The same, with nothing for what is not known.
pub(super) fn used(window: &RateLimit) -> f64 {
    known_used(window).unwrap_or(0.0)
}

/// Of several windows, the one with the least left; of equals, the one that lasts longest.
pub(super) fn fullest<'a>(windows: impl Iterator<Item = &'a RateLimit>) -> Option<&'a RateLimit> {
    windows.max_by(|one, other| {
        used(one).total_cmp(&used(other)).then_with(|| one.resets_at.cmp(&other.resets_at))
    })
}

/// When the windows that refuse work have all reset, at most [`WAIT_MAX`] ahead.
pub(super) fn rejected_until(seen: &[RateLimit], now: Timestamp) -> Option<Timestamp> {
    let rejected = seen.iter().filter(|window| window.status == REJECTED);
    let until = rejected.filter_map(|window| window.resets_at).max()?;
    Some(until.min(now.plus(WAIT_MAX))).filter(|until| *until > now)
}

const REJECTED: &str = "rejected";
