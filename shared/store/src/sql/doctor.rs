//! Looks for rows that the rules forbid and a hand or a defect made all the same.

use super::SqlStore;
use super::connection::{Row, query};
use crate::{Error, Violation};

/// The invariants the statement knows.
const INVARIANTS: [&str; 6] = ["I1", "I2", "I3", "I4", "I8", "counts"];

impl SqlStore {
    pub(super) async fn read_violations(&self) -> Result<Vec<Violation>, Error> {
        let query = query!("violations");
        let rows = self.fetch_all(query).await?;
        let violation = |row: &Row| {
            let word: &str = row.try_get(0)?;
            let invariant = INVARIANTS.into_iter().find(|known| *known == word);
            let invariant = invariant.ok_or_else(|| Error::Corrupt(format!("invariant {word:?}")))?;
            Ok(Violation { invariant, detail: row.try_get(1)? })
        };
        rows.iter().map(violation).collect()
    }
}
