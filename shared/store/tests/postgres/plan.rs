//! The claim reads what is due and what lives, however many rows are delayed or finished beside it; forgetting reads the few
//! rows of its step; and what is asked of a few runs reads no others, however many live.

use std::path::Path;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::contract::values::{T0, claim, fleet, later};
use super::{fresh, raw};

const DELAYED: u32 = 100_000;

/// What a claim runs, each with values of the kind it is given.
const STATEMENTS: [(&str, &str); 8] = [
    ("claim_facts", ""),
    ("claim_promote", "(1795317438042, 1000)"),
    ("claim_heads", "(12)"),
    ("claim_beyond", r#"('shop', '["review"]', '[]', 20, '[]')"#),
    ("claim_put_off", "(1795317438042, 32)"),
    ("next_due_at", "(1795317438042)"),
    ("forget_jobs_look", "(0, 150000, 1795317438042, 200)"),
    ("forget_jobs", "('[100001, 100002]')"),
];

/// A hundred thousand delayed rows, as many finished ones with their runs, and a thousand that are due.
async fn fill(conn: &mut PgConnection) {
    let insert = format!(
        "INSERT INTO jobs (id, project, work_item, stage, role, priority, own_prompt, status, due, available_at, epoch,
                           finished_at, created_at, updated_at)
         SELECT n, 'shop', 'A-' || n, 'review', 'reviewer', 0, false,
                CASE WHEN n <= {DELAYED} OR n > 2 * {DELAYED} THEN 'queued' ELSE 'done' END,
                n > 2 * {DELAYED}, CASE WHEN n <= {DELAYED} THEN {late} ELSE {now} END + n, 1,
                CASE WHEN n > {DELAYED} AND n <= 2 * {DELAYED} THEN 1 END, 0, 0
         FROM generate_series(1, 2 * {DELAYED} + 1000) AS n;
         INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, ended_at, class, reason)
         SELECT gen_random_uuid()::text, id, 1, 'n', 1, 'default', 'ended', 1, 2, 'success', 'none'
         FROM jobs WHERE status = 'done';
         UPDATE job_numbers SET newest = 1000000",
        late = T0.as_ms() + 1_000_000_000,
        now = T0.as_ms() - 10_000_000,
    );
    raw::execute(conn, &insert).await.unwrap();
}

/// The steps of a statement's plan.
async fn steps(conn: &mut PgConnection, name: &str, values: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/postgres/sql/{name}.sql"));
    let sql = std::fs::read_to_string(file).unwrap();
    raw::execute(conn, &format!("PREPARE {name} AS {sql}")).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE {name} {values}"));
    let steps = sqlx::raw_sql(explain).fetch_all(&mut *conn).await.unwrap();
    raw::execute(conn, &format!("DEALLOCATE {name}")).await.unwrap();
    steps.iter().map(|row| row.try_get::<String, _>(0).unwrap()).collect()
}

/// The steps of a statement's plan that read a large table from end to end.
async fn scans(conn: &mut PgConnection, name: &str, values: &str) -> Vec<String> {
    let steps = steps(conn, name, values).await;
    let scans =
        steps.iter().filter(|step| step.contains("Seq Scan on jobs") || step.contains("Seq Scan on runs"));
    scans.map(|step| format!("{name}: {}", step.trim())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_never_reads_what_is_delayed_or_finished() {
    let (database, store) = fresh().await;
    let mut conn = raw::connect(&database).await;
    fill(&mut conn).await;
    // Right after a load nothing is known of the tables yet; later everything is.
    for known in [false, true] {
        if known {
            raw::execute(&mut conn, "ANALYZE").await.unwrap();
        }
        let mut found = Vec::new();
        for (name, values) in STATEMENTS {
            found.extend(scans(&mut conn, name, values).await);
        }
        assert_eq!(found, [""; 0], "analyzed: {known}");
    }
    let starts = claim(&store, later(10), fleet(64), 64).await.starts;
    assert_eq!(starts.len(), 64);
    assert_eq!(starts[0].job.id.0, i64::from(2 * DELAYED + 1));
    store.close().await;
}

/// Statements about a few jobs or runs, each with values of the kind it is given.
const OF_A_FEW: [(&str, &str); 7] = [
    ("claim_heads", "(12)"),
    ("claim_beyond", r#"('shop', '["review"]', '[]', 20, '[]')"#),
    ("claim_put_off", "(1795317438042, 32)"),
    ("leases_renew", r#"('n', '[["r", 1]]')"#),
    ("spenders_of", r#"('["r"]')"#),
    ("stop_order", "('r', '{}')"),
    ("usage_note", r#"('[["r", 1, 1, 1, 1, 1, 1]]')"#),
];

/// The steps of a statement's plan that read the list of live runs.
async fn reads_of_live_runs(conn: &mut PgConnection, name: &str, values: &str) -> Vec<String> {
    let steps = steps(conn, name, values).await;
    let reads = steps.iter().filter(|step| step.contains("runs_live") || step.contains("Seq Scan on runs"));
    reads.map(|step| format!("{name}: {}", step.trim())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_few_runs_reads_no_others() {
    let (database, store) = fresh().await;
    let mut conn = raw::connect(&database).await;
    // As every transaction that writes says it.
    raw::execute(&mut conn, "SET enable_seqscan = off").await.unwrap();
    // What is known of the tables may be of a moment at which nothing lived: then the list of live runs seems to cost nothing.
    let insert = "INSERT INTO jobs (id, project, work_item, stage, role, priority, own_prompt, status, due, available_at, epoch,
                                    finished_at, created_at, updated_at)
                  SELECT n, 'shop', 'A-' || n, 'review', 'reviewer', 0, false, 'done', false, 1, 1, 1, 0, 0
                  FROM generate_series(1, 5000) AS n;
                  INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, ended_at, class, reason)
                  SELECT gen_random_uuid()::text, id, 1, 'n', 1, 'default', 'ended', 1, 2, 'success', 'none' FROM jobs";
    for known in ["SELECT 1", insert, "ANALYZE"] {
        raw::execute(&mut conn, known).await.unwrap();
        let mut found = Vec::new();
        for (name, values) in OF_A_FEW {
            found.extend(reads_of_live_runs(&mut conn, name, values).await);
        }
        assert_eq!(found, [""; 0], "after {known:?}");
    }
    store.close().await;
}
