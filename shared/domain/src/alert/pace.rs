//! At most twenty messages a minute to one chat, by a distance between any two; what comes in between shares the next.

use std::time::Duration;

/// Telegram's limit for a group (<https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>).
pub const MESSAGES_PER_MINUTE_MAX: u32 = 20;
/// From the end of one message to the beginning of the next.
pub const DISTANCE: Duration = Duration::from_secs(60 / MESSAGES_PER_MINUTE_MAX as u64);

/// When a message was last sent, on a clock that only goes forward.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    sent_ms: Option<i64>,
}

impl Pace {
    /// How long the next message has to wait.
    pub fn wait(&self, now_ms: i64) -> Duration {
        let since = self.sent_ms.map(|sent| now_ms.saturating_sub(sent));
        let since = since.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        since.map_or(Duration::ZERO, |since| DISTANCE.saturating_sub(since))
    }

    /// Notes that sending a message ended, well or not.
    pub fn sent(&mut self, now_ms: i64) {
        self.sent_ms = Some(now_ms);
    }
}
