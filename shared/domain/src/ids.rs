//! The names things go by: small types, so that a run id is never passed for a job id.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

/// Names a job: the database's row id, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

/// Names one try of a job; a `UUIDv7`, made by whoever claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl RunId {
    /// The lowest id that a claim at `at` could have made: ids carry their claim's time in their first 48 bits.
    pub fn lowest_at(at: Timestamp) -> Self {
        let ms = u128::from(u64::try_from(at.as_ms()).unwrap_or(0) & 0xffff_ffff_ffff);
        Self(Uuid::from_u128((ms << 80) | (7 << 76)))
    }
}

/// Counts the claims of one job: +1 at every claim, never reused. With the run id it is the fencing token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl Epoch {
    /// The epoch of the next claim.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names a runner node: the text of its identity file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub String);

/// Counts the starts of one runner node; bumped and fsynced before it registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub i64);

/// Names the provider credential that a runner's agents use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Account(pub String);

macro_rules! shown_as_inner {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}
shown_as_inner!(JobId, RunId, Epoch, NodeId, Incarnation, Account);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_id_of_an_instant_is_below_all_ids_of_it_and_above_all_before() {
        let at = |ms: i64| RunId::lowest_at(Timestamp::from_ms(ms));
        assert_eq!(at(1_795_317_438_042).to_string(), "01a20142-165a-7000-0000-000000000000");
        let made =
            RunId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_795_317_438, 42_000_000)));
        assert!(at(1_795_317_438_042) < made && made < at(1_795_317_438_043), "{made}");
        assert!(at(-5).to_string().as_str() < "00000000-0001");
    }
}
