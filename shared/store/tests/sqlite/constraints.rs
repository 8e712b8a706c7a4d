//! What no program may write, by SQL typed past the store.

use super::contract::values::one_running;
use super::{fresh, raw};

#[tokio::test]
async fn a_row_that_breaks_an_invariant_is_refused() {
    let (folder, store) = fresh().await;
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    let mut conn = raw::connect(&raw::path(&folder)).await;
    for (sql, refusal) in [
        // The incident's shape: back in the queue, still owned.
        (format!("UPDATE jobs SET status = 'queued' WHERE id = {id}"), "i1_a_queued_job_owns_nothing"),
        ("UPDATE jobs SET status = 'queued', run_id = NULL, pid = 4711".into(), "no such column: pid"),
        (format!("UPDATE jobs SET run_id = NULL WHERE id = {id}"), "i2_a_running_job_has_a_run"),
        (
            format!("UPDATE jobs SET status = 'done', finished_at = 1, due = 0 WHERE id = {id}"),
            "i2_a_running_job_has_a_run",
        ),
        ("UPDATE jobs SET status = 'done', run_id = NULL".into(), "a_finished_job_says_when"),
        ("UPDATE jobs SET status = 'failed', run_id = NULL, finished_at = 1".into(), "a_failed_job_says_why"),
        ("UPDATE jobs SET status = 'paused', run_id = NULL".into(), "CHECK constraint failed"),
        ("UPDATE jobs SET due = 1".into(), "only_a_queued_job_is_due"),
        ("UPDATE jobs SET attempts = -1".into(), "attempts >= 0"),
        ("UPDATE jobs SET epoch = 0".into(), "a_running_job_was_claimed"),
        ("UPDATE jobs SET available_at = 'soon'".into(), "cannot store TEXT value in INTEGER column"),
        (format!("UPDATE jobs SET run_id = '{}'", super::contract::values::fresh_run()), "FOREIGN KEY"),
        (
            format!(
                "INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at)
                 VALUES ('{}', {id}, 2, 'b', 1, 'default', 'offered', 1)",
                super::contract::values::fresh_run()
            ),
            "UNIQUE constraint failed: runs.job_id",
        ),
        (format!("UPDATE runs SET state = 'ended' WHERE id = '{run}'"), "an_ended_run_says_when_and_why"),
        (format!("UPDATE runs SET state = 'started' WHERE id = '{run}'"), "a_started_run_was_confirmed"),
        ("UPDATE runs SET epoch = 0".into(), "epoch >= 1"),
        (
            format!(
                "UPDATE runs SET probe = 1;
                 INSERT INTO jobs (id, project, work_item, stage, role, priority, own_prompt, status, due, available_at,
                                   epoch, run_id, created_at, updated_at)
                 VALUES (999, 'p', 'w', 's', 'r', 0, 0, 'running', 0, 1, 1, '{0}', 1, 1);
                 INSERT INTO runs (id, job_id, epoch, node, incarnation, account, opening, probe, state, offered_at)
                 VALUES ('{0}', 999, 1, 'b', 1, 'default', 0, 1, 'offered', 1)",
                super::contract::values::fresh_run()
            ),
            "UNIQUE constraint failed: runs.account, runs.opening",
        ),
        ("UPDATE accounts SET open_until = 1".into(), "an_open_breaker_has_opened"),
        ("UPDATE accounts SET held_reason = 'mood'".into(), "CHECK constraint failed"),
        (
            "DELETE FROM meta; INSERT INTO meta (id, schema, database_generation) VALUES (2, 1, 1)".into(),
            "id = 1",
        ),
    ] {
        raw::execute(&mut conn, "BEGIN").await.unwrap();
        let mut result = raw::execute(&mut conn, &sql).await;
        if result.is_ok() {
            result = raw::execute(&mut conn, "COMMIT").await;
        }
        let refused = result.expect_err(&sql);
        assert!(refused.contains(refusal), "{sql}: {refused}");
        raw::execute(&mut conn, "ROLLBACK").await.ok();
    }
    assert_eq!(store.violations().await.unwrap(), vec![]);
    assert_eq!(store.job(id).await.unwrap(), Some(start.job));
    store.close().await;
}

/// With the CHECKs switched off, the doctor sees what they would have refused.
#[tokio::test]
async fn the_doctor_finds_rows_made_by_force() {
    let (folder, store) = fresh().await;
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    let mut conn = raw::connect(&raw::path(&folder)).await;
    raw::execute(&mut conn, "PRAGMA ignore_check_constraints = 1; PRAGMA foreign_keys = 0").await.unwrap();
    let mut found = Vec::new();
    for sql in [
        format!("UPDATE jobs SET status = 'queued' WHERE id = {id}"),
        format!("UPDATE jobs SET status = 'running', run_id = NULL WHERE id = {id}"),
        format!("UPDATE jobs SET run_id = '{run}', epoch = 0 WHERE id = {id}"),
    ] {
        raw::execute(&mut conn, &sql).await.unwrap();
        let violations = store.violations().await.unwrap();
        found.push(violations.iter().map(|violation| violation.invariant).collect::<Vec<_>>());
    }
    assert_eq!(found, [vec!["I1", "I2"], vec!["I2", "I2"], vec!["I4", "I4"]]);
    store.close().await;
}
