//! Requests of one round: bounded in number, ended by whatever says that it is enough.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::moves::error_chain;
use crate::outbox::call::Caller;

/// The longest wait that an answer may ask for.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// The wait when an answer asks for one and says not how long.
const WAIT: Duration = Duration::from_mins(1);
/// So many requests of a rate limit are left to others with the same key.
const LEFT_TO_OTHERS: i64 = 15;

/// Why a round ends before it is over.
#[derive(Debug)]
pub(super) enum Stop {
    /// It asked often enough; the next one goes on.
    Enough,
    /// The other side wants to be left alone.
    Limited(Duration),
    /// No answer, or none that can be used.
    Failed(String),
    /// The database.
    Store(store::Error),
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// The requests that are left of a round.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    caller: &'a Caller,
    left: u32,
}

impl<'a> Asking<'a> {
    pub(super) const fn new(caller: &'a Caller, left: u32) -> Self {
        Self { caller, left }
    }

    /// Reads `path` in a shape; `None`: there is nothing.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        what: &'static str,
        path: &str,
    ) -> Result<Option<T>, Stop> {
        self.left = self.left.checked_sub(1).ok_or(Stop::Enough)?;
        let failed = |error: String| Stop::Failed(format!("{what}: {error}"));
        let reply =
            self.caller.ask(Method::GET, path, None).await.map_err(|error| failed(error_chain(&error)))?;
        match reply.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                return Err(Stop::Limited(reply.retry_after().unwrap_or(WAIT).min(WAIT_MAX)));
            }
            _ => {}
        }
        if reply.number("x-ratelimit-remaining").is_some_and(|left| left < LEFT_TO_OTHERS) {
            self.left = 0;
        }
        let words = reply.words();
        reply.shaped(what).map(Some).map_err(|_| failed(words))
    }
}

/// A word as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one() {
        assert_eq!(segment("acme-1_x.y~"), "acme-1_x.y~");
        assert_eq!(segment("../a b?c#d/é"), "..%2Fa%20b%3Fc%23d%2F%C3%A9");
    }
}
