//! A database with nothing of ours around it: runs again what a store ran, on a copy that is as the store's own was.

pub(super) mod postgres;
pub(super) mod sqlite;

/// What a database says of its jobs and runs: a word and a count in each row.
const COUNTS: &str = "SELECT 'job ' || status, count(*) FROM jobs GROUP BY status UNION ALL \
                      SELECT 'run ' || state, count(*) FROM runs GROUP BY state ORDER BY 1";
