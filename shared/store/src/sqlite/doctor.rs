//! Looks for rows that the rules forbid and a hand or a defect made all the same.

use sqlx::Row as _;

use super::SqliteStore;
use crate::{Error, Violation};

/// The invariants the statement knows.
const INVARIANTS: [&str; 5] = ["I1", "I2", "I3", "I4", "I8"];

impl SqliteStore {
    pub(super) async fn read_violations(&self) -> Result<Vec<Violation>, Error> {
        let query = sqlx::query(include_str!("sql/violations.sql"));
        let rows = query.fetch_all(self.readers().await?).await?;
        let violation = |row: &sqlx::sqlite::SqliteRow| {
            let word: &str = row.try_get(0)?;
            let invariant = INVARIANTS.into_iter().find(|known| *known == word);
            let invariant = invariant.ok_or_else(|| Error::Corrupt(format!("invariant {word:?}")))?;
            Ok(Violation { invariant, detail: row.try_get(1)? })
        };
        rows.iter().map(violation).collect()
    }
}
