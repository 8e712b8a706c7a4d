//! The recorded statements, run by one connection of SQLite.

use std::path::Path;

use anyhow::Context;
use rusqlite::types::ToSql;
use rusqlite::{Connection, params_from_iter};
use store::force::{Recorded, Value};
use tokio::time::Instant;

use super::COUNTS;

/// As many as the store's own connections keep.
const STATEMENTS_MAX: usize = 128;

/// A connection with the store's settings.
#[derive(Debug)]
pub(in super::super) struct Replay {
    conn: Connection,
}

impl Replay {
    pub(in super::super) fn open(path: &Path, full: bool) -> anyhow::Result<Self> {
        let conn = Connection::open(path)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let synchronous = if full { "FULL" } else { "NORMAL" };
        conn.execute_batch(&format!(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = 1; PRAGMA busy_timeout = 500;
             PRAGMA cache_size = -16000; PRAGMA temp_store = memory; PRAGMA wal_autocheckpoint = 4096;"
        ))?;
        Ok(Self { conn })
    }

    /// Runs all of them; gives the rate of `jobs` per second, and how many transactions there were.
    pub(in super::super) fn run(
        &mut self,
        statements: &[Recorded],
        jobs: usize,
    ) -> anyhow::Result<(f64, usize)> {
        let begun = Instant::now();
        for statement in statements {
            let mut prepared = self.conn.prepare_cached(&statement.sql)?;
            let values = statement.values.iter().map(|value| match value {
                Value::Integer(value) => value as &dyn ToSql,
                Value::Real(value) => value as &dyn ToSql,
                Value::Text(value) => value as &dyn ToSql,
            });
            let mut rows = prepared.query(params_from_iter(values)).with_context(|| statement.sql.clone())?;
            while rows.next().with_context(|| statement.sql.clone())?.is_some() {}
        }
        let took = begun.elapsed();
        let transactions = statements.iter().filter(|statement| statement.sql == "COMMIT").count();
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        Ok((jobs as f64 / took.as_secs_f64(), transactions))
    }
}

/// What a file says of its jobs and runs.
pub(in super::super) fn counts(path: &Path) -> anyhow::Result<Vec<(String, i64)>> {
    let conn = Connection::open(path)?;
    let mut rows = conn.prepare(COUNTS)?;
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
