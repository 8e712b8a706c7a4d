//! What needs a hand on the writer's own connection.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::{About, NewJob, Payload};
use domain::job::Origin;
use domain::{Budgets, Timestamp};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::checkpoint::Checkpoints;
use super::direct::Direct;
use super::turnstile::Turnstile;
use super::{migrate, pragmas, writer};
use crate::Error;
use crate::sql::request::{Answer, Request};

const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_042);

fn large_job() -> Request {
    let payload = Payload { body: Some("x".repeat(20_000)), ..Payload::default() };
    let job = NewJob {
        project: "shop".into(),
        work_item: "A".into(),
        stage: "review".into(),
        role: "reviewer".into(),
        priority: 0,
        available_at: NOW,
        semantic_key: None,
        payload,
        trace_context: None,
        origin: Origin::default(),
        about: About::default(),
        budgets: Budgets::default(),
    };
    Request::Enqueue(job, NOW)
}

async fn number(conn: &mut SqliteConnection, sql: &str) -> i64 {
    let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap();
    row.try_get_unchecked(0).unwrap()
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test waits for the task it spawns")]
async fn a_full_disk_is_unavailable_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orch.db");
    let mut conn = pragmas::writer(&path).connect().await.unwrap();
    migrate::migrate(&mut conn).await.unwrap();
    let pages = number(&mut conn, "PRAGMA page_count").await;
    conn.close().await.unwrap();
    let mut direct = Direct::open(&path).unwrap();
    direct.run(&format!("PRAGMA max_page_count = {}", pages + 40)).unwrap();
    let checkpoints = Arc::new(Checkpoints::new(&path));
    let (door, writer) = writer::writer(&path, direct, Turnstile::open(&path).unwrap(), checkpoints);
    let task = tokio::spawn(writer.run());

    let mut kept = 0;
    let refused = loop {
        match door.ask(large_job()).await {
            Ok(answer) => {
                assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
                kept += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    assert!(kept >= 3, "{kept}");
    let mut other = pragmas::writer(&path).connect().await.unwrap();
    let rows = "SELECT (SELECT count(*) FROM jobs) * 1000 + (SELECT count(*) FROM job_payloads)";
    assert_eq!(number(&mut other, rows).await, kept * 1001);

    sqlx::query("DELETE FROM job_payloads").execute(&mut other).await.unwrap();
    let answer = door.ask(large_job()).await.unwrap();
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
    assert_eq!(number(&mut other, "SELECT count(*) FROM jobs").await, kept + 1);
    other.close().await.unwrap();
    door.close().await;
    task.await.unwrap();
}

#[tokio::test]
async fn settings_are_read_back_and_a_missing_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orch.db");
    let mut conn = pragmas::writer(&path).connect().await.unwrap();
    pragmas::check(&mut conn, pragmas::WRITER).await.unwrap();
    assert_eq!(number(&mut conn, "PRAGMA synchronous").await, 2);
    sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut conn).await.unwrap();
    let refused = pragmas::check(&mut conn, pragmas::WRITER).await.unwrap_err();
    assert!(
        refused.to_string().starts_with("SQLite did not take PRAGMA synchronous = 2, it says 1"),
        "{refused}"
    );
    let mut reader = pragmas::reader(&path).connect().await.unwrap();
    pragmas::check(&mut reader, pragmas::READER).await.unwrap();
    sqlx::query("CREATE TABLE t (x)").execute(&mut reader).await.unwrap_err();
}

/// Two that want to write without pause get about as many turns each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test waits for the tasks it spawns")]
async fn turns_alternate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orch.db");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let greedy = |work: Duration| {
        let (turnstile, stop) = (Turnstile::open(&path).unwrap(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut turns = 0_u32;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let turn = turnstile.enter().await;
                assert!(turn.is_some());
                tokio::time::sleep(work).await;
                drop(turn);
                turns += 1;
            }
            turns
        })
    };
    let (quick, slow) = (greedy(Duration::from_millis(1)), greedy(Duration::from_millis(4)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let (quick, slow) = (quick.await.unwrap(), slow.await.unwrap());
    assert!(quick.abs_diff(slow) <= 3 + quick / 5 && slow > 10, "{quick} and {slow} turns");
}
