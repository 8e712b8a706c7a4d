//! What waits to be told to the outside: messages with their sink, their place in line and how they fared.
//!
//! A message is written with the fact it tells of and is delivered at least once. Messages of one sink and destination
//! form a lane: they go out in order, and the first one that is not settled speaks for all behind it.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Who takes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sink {
    /// Nobody yet: an alert as its fact wrote it, before it is addressed to every sink that is configured.
    Unrouted,
    /// A Telegram chat.
    Telegram,
    /// A webhook of the operator's own.
    Webhook,
    /// A line in the scheduler's log.
    DryRun,
    /// The tracker: comments and states of issues.
    Plane,
    /// The forge: comments on pull requests and statuses of commits.
    Gitea,
}

impl Sink {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unrouted, Self::Telegram, Self::Webhook, Self::DryRun, Self::Plane, Self::Gitea];
    /// Those that take alerts; the others are told of work items.
    pub const OF_ALERTS: [Self; 4] = [Self::Unrouted, Self::Telegram, Self::Webhook, Self::DryRun];

    /// The word used in the database, JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unrouted => "unrouted",
            Self::Telegram => "telegram",
            Self::Webhook => "webhook",
            Self::DryRun => "dry_run",
            Self::Plane => "plane",
            Self::Gitea => "gitea",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sink| sink.as_str() == word)
    }
}

/// A message that somebody took and has not settled yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in line.
    pub id: i64,
    /// Where within the sink it goes; empty for a sink with one destination.
    pub destination: String,
    /// Names what it tells; a receiver may drop repeats by it.
    pub key: String,
    /// What it tells, as JSON: of an alert a [`crate::alert::Notice`], of a work item a [`crate::report::Letter`].
    pub payload: String,
    /// When it was written.
    pub pushed_at: Timestamp,
    /// How often it was taken, this time included; also proves that nobody took it since.
    pub attempts: u32,
}

/// Which messages to take.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    /// Of this sink; all come from one lane.
    pub sink: Sink,
    /// The present instant.
    pub now: Timestamp,
    /// Nobody else gets them before this instant; whoever died with them loses nothing.
    pub leased_until: Timestamp,
    /// At most this many.
    pub limit: u32,
}

/// How messages that were taken together fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Their ids and their attempts as taken.
    pub messages: Vec<(i64, u32)>,
    /// What became of them.
    pub end: End,
    /// The present instant.
    pub now: Timestamp,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The sink has it. Holds whoever took it since: what was delivered is delivered.
    Delivered,
    /// It can never be delivered; kept and shown, and it stands in nobody's way.
    SetAside {
        /// Why, without secrets.
        error: String,
    },
    /// Not yet. Holds only as long as nobody else took it since.
    Again {
        /// When to try again.
        at: Timestamp,
        /// Why it failed, without secrets; `None`: it was not tried.
        error: Option<String>,
    },
}

/// What waits for a sink, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRecord {
    /// The sink.
    pub sink: Sink,
    /// Messages that are not settled.
    pub pending: u64,
    /// Since when the oldest of them waits.
    pub oldest_at: Option<Timestamp>,
    /// Why the last try failed, while the same messages still wait.
    pub last_error: Option<String>,
    /// When they are tried next, at the earliest.
    pub next_at: Option<Timestamp>,
    /// Messages that can never be delivered.
    pub set_aside: u64,
    /// Why the newest of those cannot.
    pub set_aside_error: Option<String>,
}

impl SinkRecord {
    /// A sink for which nothing waits.
    pub const fn empty(sink: Sink) -> Self {
        Self {
            sink,
            pending: 0,
            oldest_at: None,
            last_error: None,
            next_at: None,
            set_aside: 0,
            set_aside_error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_read_back_from_their_words() {
        for sink in Sink::ALL {
            assert_eq!(Sink::parse(sink.as_str()), Some(sink));
            assert_eq!(serde_json::to_string(&sink).unwrap(), format!("\"{}\"", sink.as_str()));
        }
        assert_eq!(Sink::parse("fax"), None);
    }
}
