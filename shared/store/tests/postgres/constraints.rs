//! What no program may write, by SQL typed past the store.

use super::contract::values::{fresh_run, one_running};
use super::{fresh, raw};

#[tokio::test]
async fn a_row_that_breaks_an_invariant_is_refused() {
    let (database, store) = fresh().await;
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    let mut conn = raw::connect(&database).await;
    for (sql, refusal) in [
        // The incident's shape: back in the queue, still owned.
        (format!("UPDATE jobs SET status = 'queued' WHERE id = {id}"), "i1_a_queued_job_owns_nothing"),
        ("UPDATE jobs SET status = 'queued', run_id = NULL, pid = 4711".into(), "column \"pid\""),
        (format!("UPDATE jobs SET run_id = NULL WHERE id = {id}"), "i2_a_running_job_has_a_run"),
        (
            format!("UPDATE jobs SET status = 'done', finished_at = 1, due = false WHERE id = {id}"),
            "i2_a_running_job_has_a_run",
        ),
        ("UPDATE jobs SET status = 'done', run_id = NULL".into(), "a_finished_job_says_when"),
        ("UPDATE jobs SET status = 'failed', run_id = NULL, finished_at = 1".into(), "a_failed_job_says_why"),
        ("UPDATE jobs SET status = 'paused', run_id = NULL".into(), "jobs_status_check"),
        ("UPDATE jobs SET due = true".into(), "only_a_queued_job_is_due"),
        ("UPDATE jobs SET attempts = -1".into(), "jobs_attempts_check"),
        ("UPDATE jobs SET epoch = 0".into(), "a_running_job_was_claimed"),
        ("UPDATE jobs SET available_at = 'soon'".into(), "invalid input syntax for type bigint"),
        (format!("UPDATE jobs SET run_id = '{}'", fresh_run()), "jobs_run_id_fkey"),
        (
            format!(
                "INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at)
                 VALUES ('{}', {id}, 2, 'b', 1, 'default', 'offered', 1)",
                fresh_run()
            ),
            "runs_live",
        ),
        (format!("UPDATE runs SET state = 'ended' WHERE id = '{run}'"), "an_ended_run_says_when_and_why"),
        (format!("UPDATE runs SET state = 'started' WHERE id = '{run}'"), "a_started_run_was_confirmed"),
        ("UPDATE runs SET epoch = 0".into(), "runs_epoch_check"),
        ("UPDATE accounts SET open_until = 1".into(), "an_open_breaker_has_opened"),
        ("UPDATE accounts SET held_reason = 'mood'".into(), "accounts_held_reason_check"),
        (
            "DELETE FROM meta; INSERT INTO meta (id, schema, database_generation) VALUES (2, 1, 1)".into(),
            "meta_id_check",
        ),
        (
            "INSERT INTO scheduler_term (id, number, beat, deadline) VALUES (2, 1, 1, 1)".into(),
            "scheduler_term_id_check",
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

/// With the constraints gone, the doctor sees what they would have refused.
#[tokio::test]
async fn the_doctor_finds_rows_made_by_force() {
    let (database, store) = fresh().await;
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    let mut conn = raw::force(&database).await;
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
