//! The queue of the in-process predecessor comes over, with the row that once wedged it, and runs.

use std::path::Path;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::shop::{WITHIN, shop, spent};

/// Job 2 is the one of the incident: queued, with the pid of a dead run that the system gave to somebody else.
const PREDECESSOR: &str = "
    CREATE TABLE jobs (id INTEGER PRIMARY KEY, task TEXT, agent TEXT, status TEXT, attempts INTEGER,
        transient_attempts INTEGER, available_at TEXT, run_id TEXT, pid INTEGER, started_at TEXT, worker_thread TEXT);
    CREATE TABLE agent_runs (id TEXT PRIMARY KEY, job_id INTEGER, status TEXT, pid INTEGER, started_at TEXT);
    INSERT INTO jobs VALUES
        (1, 'SHOP-1', 'developer', 'queued', 1, 4, '2026-01-02 03:04:05', NULL, NULL, NULL, NULL),
        (2, 'SHOP-2', 'developer', 'queued', 0, 0, NULL, 'dead', 1, '2026-01-02 03:04:05', 't-1'),
        (3, 'acme/shop#3', 'developer', 'running', 0, 0, NULL, 'r-3', 4242, '2026-01-02 03:04:05', 't-2'),
        (4, 'SHOP-4', 'developer', 'done', 0, 0, NULL, NULL, NULL, NULL, NULL),
        (5, 'SHOP-5', 'poet', 'queued', 0, 0, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO agent_runs VALUES ('r-3', 3, 'running', 4242, '2026-01-02 03:04:05');";

async fn sqlite(file: &Path, sql: &str) -> anyhow::Result<()> {
    let output =
        Command::new("sqlite3").arg(file).arg(sql).output().await.context("could not start sqlite3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_predecessors_queue_comes_over_once_and_runs() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let file = stack.folder().join("jobs.db");
    sqlite(&file, PREDECESSOR).await?;
    let before = std::fs::read(&file)?;
    let path = file.to_string_lossy().into_owned();

    let tried = stack.orch_output(&["import", &path, "--dry-run", "--json"]).await?;
    assert_eq!(tried.status.code(), Some(1), "the poet's job cannot come: {tried:?}");
    assert_eq!(stack.orch(&["jobs"]).await?["jobs"], serde_json::json!([]));

    let whole = ["import", &path, "--stage", "poet=moved"];
    let told = stack.orch(&whole).await?;
    assert_eq!(
        told,
        serde_json::json!({"dry_run": false, "created": 4, "known": 0, "queued": 3, "requeued": 1, "over": {"done": 1},
            "cleaned": {"queued_with_an_owner": 1}, "left": [], "unknown_columns": ["jobs.worker_thread"], "runs": 1})
    );
    for id in 1..=4 {
        stack.until_status(id, "done", WITHIN).await?;
    }
    let first = stack.job(1).await?;
    assert_eq!(first["job"]["work_item"], "SHOP-1");
    assert_eq!(spent(&first), [1, 4, 0, 1], "what it had spent came with it: {first:#}");

    let again = stack.orch(&whole).await?;
    assert_eq!((&again["created"], &again["known"]), (&0.into(), &4.into()), "{again}");
    assert_eq!(std::fs::read(&file)?, before, "nothing is written to the predecessor's file");

    for (sql, why) in [
        (
            "DROP TABLE jobs; DROP TABLE agent_runs; CREATE TABLE pets (name)",
            "has no table jobs, it has pets",
        ),
        ("DROP TABLE pets", "has no table jobs, it has no table"),
    ] {
        sqlite(&file, sql).await?;
        let refused = stack.orch_output(&["import", &path]).await?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let own = stack.folder().join("orch.db").to_string_lossy().into_owned();
    let refused = stack.orch_output(&["import", &own]).await?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is a database of Orch itself"), "{refused:?}");
    stack.finish().await
}
