//! What a column of the predecessor holds: SQLite lets it be of any type, whatever the column says.

use crate::Timestamp;

/// A number as large as this is milliseconds since 1970, a smaller one seconds: in seconds it is the year 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// A value as SQLite stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text, or bytes that are one.
    Text(String),
    /// Bytes that are no text.
    Bytes,
}

impl Value {
    /// Whether there is anything: an empty text is nothing.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Text(text) => !text.trim().is_empty(),
            Self::Integer(_) | Self::Real(_) | Self::Bytes => true,
        }
    }

    /// Its words, on one line.
    pub(super) fn text(&self) -> Option<String> {
        let text = match self {
            Self::Null | Self::Bytes => return None,
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Text(text) => text.chars().filter(|letter| !letter.is_control()).collect::<String>(),
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Null | Self::Real(_) | Self::Bytes => None,
        }
    }

    /// Seconds or milliseconds since 1970, RFC 3339, or SQLite's own form of a time, which is UTC.
    pub(super) fn instant(&self) -> Option<Timestamp> {
        match self {
            Self::Integer(number) if *number < 0 => None,
            Self::Integer(number) if *number >= MILLISECONDS_FROM => Some(Timestamp::from_ms(*number)),
            Self::Integer(number) => Some(Timestamp::from_ms(number.checked_mul(1_000)?)),
            #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds are enough")]
            Self::Real(seconds) if seconds.is_finite() && (0.0..1e11).contains(seconds) => {
                Some(Timestamp::from_ms((seconds * 1_000.0) as i64))
            }
            Self::Text(text) => {
                let text = text.trim();
                let number = || Self::Integer(text.parse().ok()?).instant();
                let utc = || Timestamp::parse(&format!("{}Z", text.replacen(' ', "T", 1)));
                Timestamp::parse(text).or_else(utc).or_else(number)
            }
            Self::Real(_) | Self::Null | Self::Bytes => None,
        }
    }
}
