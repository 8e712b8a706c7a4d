//! What a receiver's answer means for the messages it was sent. Pure.

use std::time::Duration;

/// The first wait after a failure; it doubles with each.
const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// The longest wait that the receiver did not name.
const BACKOFF_MAX: Duration = Duration::from_mins(5);
/// The longest wait that a receiver may name.
const NAMED_MAX: Duration = Duration::from_hours(1);

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Not now; `after` where the receiver said how long.
    Later { after: Option<Duration>, error: String },
    /// Nothing gets through before a person mends the settings.
    Misconfigured { error: String },
    /// This message never gets through; others may.
    Never { error: String },
    /// The destination is another one from now on.
    Moved { to: String },
}

/// How long to wait before the next try, after `attempts` of them.
pub(super) fn backoff(attempts: u32, named: Option<Duration>) -> Duration {
    named.map_or_else(
        || BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(BACKOFF_MAX),
        |named| named.min(NAMED_MAX),
    )
}

/// The text with every occurrence of a secret taken out of it.
pub(super) fn redacted(text: &str, secret: &str) -> String {
    text.replace(secret, "<redacted>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_five_minutes_and_a_named_one_is_kept_to_an_hour() {
        let seconds = [1, 2, 3, 7, 8, 9, 4000].map(|attempts| backoff(attempts, None).as_secs());
        assert_eq!(seconds, [2, 4, 8, 128, 256, 300, 300]);
        assert_eq!(backoff(9, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff(0, Some(Duration::from_hours(48))), NAMED_MAX);
    }
}
