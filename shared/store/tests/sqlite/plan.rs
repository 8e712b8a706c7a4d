//! No statement reads a table from end to end unless it is named here.

use std::path::Path;

use sqlx::{AssertSqlSafe, Row as _};

use super::{fresh, raw};

/// Statements whose answer is about every row of all tables, when people ask for it.
const MAY_SCAN: [&str; 2] = ["source_runs.sql", "violations.sql"];
/// Indexes that hold live runs, jobs asked to end, work items that are not over, need a person or were sent back, newest commits, the jobs that have one, what was not told yet, and rows that ought not to be.
const LIVE: [&str; 13] = [
    "USING INDEX jobs_to_end",
    "USING INDEX work_items_open",
    "USING COVERING INDEX sightings_heads",
    "USING INDEX work_items_bounced",
    "USING INDEX work_items_needing",
    "USING INDEX outbox_pending",
    "USING COVERING INDEX outbox_pending",
    "USING COVERING INDEX outbox_set_aside",
    "USING INDEX runs_live",
    "USING INDEX jobs_run",
    "USING INDEX jobs_impossible",
    "USING COVERING INDEX jobs_impossible",
    "USING INDEX runs_half_ended",
];
/// Tables with a handful of rows (of counts one per stage and status, of cursors one per listing), the decisions on those
/// jobs that a claim has looked at and left, results of the statement itself, and indexes that hold live or due rows alone.
const SMALL: [&str; 28] = [
    "cursors",
    "job_counts",
    "looked_at",
    "waiting",
    "w",
    "decided",
    "forgotten_jobs",
    "paused_parts",
    "b",
    "i",
    "conditions",
    "sources",
    "leases",
    "lost_runners",
    "meta",
    "reaper",
    "m",
    "accounts",
    "runners",
    "runner_sessions",
    "n",
    "c",
    "json_each",
    "projects",
    "sqlite_sequence",
    "sqlite_schema",
    "CONSTANT",
    "(",
];

#[tokio::test]
async fn statements_search_and_do_not_scan() {
    let (folder, store) = fresh().await;
    store.close().await;
    let mut conn = raw::connect(&raw::path(&folder)).await;
    let statements = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite/sql");
    let mut scans = Vec::new();
    for entry in std::fs::read_dir(statements).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let sql = std::fs::read_to_string(&path).unwrap();
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&mut conn).await;
        for row in plan.unwrap_or_else(|error| panic!("{name}: {error}")) {
            let step: String = row.try_get("detail").unwrap();
            let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            if table.is_some_and(|table| {
                !SMALL.contains(&table)
                    && !table.starts_with('(')
                    && !LIVE.iter().any(|index| step.ends_with(index))
            }) {
                scans.push(format!("{name}: {step}"));
            }
        }
    }
    scans.retain(|scan| !MAY_SCAN.iter().any(|name| scan.starts_with(name)));
    scans.sort();
    assert_eq!(scans, [""; 0]);
}
