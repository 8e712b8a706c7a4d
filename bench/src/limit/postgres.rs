//! The limit on PostgreSQL: `pgbench` writes the same three rows, each transaction one prepared statement.
//!
//! It shares no flush but those that the server joins, looks nothing up, and gives numbers that may meet: it is what a
//! webhook costs that asks the server once.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::Rows;

/// Seconds that it measures.
const SECONDS: &str = "2";

/// Transactions a second of so many callers on the database of that url.
pub(crate) fn per_second(url: &str, folder: &Path, rows: &Rows, callers: usize) -> anyhow::Result<f64> {
    let script = folder.join("three_rows.sql");
    std::fs::write(&script, statement(rows))?;
    let callers = callers.to_string();
    let output = Command::new(postgres_server::binaries().join("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--client", &callers, "--time", SECONDS])
        .arg("--file")
        .arg(&script)
        .arg(url)
        .output()
        .context("could not run pgbench")?;
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.with_context(|| format!("pgbench said no rate: {said}"))
}

fn statement(rows: &Rows) -> String {
    let Rows { work_item, payload, .. } = rows;
    // A colon before a name would be one of its variables.
    let payload = payload.replace('\'', "''").replace(':', ": ");
    format!(
        "\\set id random(1000000000, 9000000000000000)\n\
         WITH job AS (INSERT INTO jobs (id, project, work_item, stage, role, priority, status, due, available_at, \
         semantic_key, trace_context, created_at, updated_at, own_prompt, kind, delivery, hops, head, chain) \
         VALUES (:id, 'shop', '{work_item}', 'review', 'reviewer', 0, 'queued', true, 1, 'key-' || :id, \
         '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', 1, 1, false, 'stage', 'gitea-' || :id, 0, \
         md5((:id)::text) || '0a1b2c3d', 'gitea-' || :id) RETURNING id), \
         payload AS (INSERT INTO job_payloads (job_id, payload) SELECT id, '{payload}' FROM job) \
         INSERT INTO deliveries (source, delivery_id, event, body_sha256, decision, job_ids, received_at) \
         SELECT 'gitea', 'delivery-' || id, 'push', md5(id::text) || md5(id::text), 'enqueued', '[' || id || ']', 1 \
         FROM job;\n"
    )
}
