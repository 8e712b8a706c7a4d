//! How many jobs there are is known without counting them, whoever writes and folds at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use domain::Class;
use domain::delivery::NewJob;
use futures::future::join_all;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use store::Applied;

use super::contract::values::{T0, change, claim, delivery, ended, fleet, job, later};
use super::raw::{connect, execute, number};
use super::{fresh, open};

const WRITERS: usize = 4;
const JOBS: usize = 40;

/// Blocks of 8 KiB that such a statement may touch: an index of 200,000 jobs has more than five times as many.
const BLOCKS_MAX: i64 = 200;

/// Four processes make, start and end jobs while two fold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_exact_while_many_write_and_two_fold() {
    let (database, store) = fresh().await;
    let over = AtomicBool::new(false);
    let fold = async || {
        let store = open(&database).await;
        while !over.load(Ordering::SeqCst) {
            store.fold_counts().await.unwrap();
            assert_eq!(store.violations().await.unwrap(), vec![]);
        }
        store.close().await;
    };
    let writers = join_all((0..WRITERS).map(async |writer| {
        let store = open(&database).await;
        for round in 0..JOBS {
            let jobs =
                vec![NewJob { project: format!("p{}", round % 3), ..job(&format!("A-{writer}-{round}")) }];
            let mut told = delivery(&format!("d{writer}-{round}"), 'a', jobs);
            told.body_sha256 = format!("{:064}", writer * JOBS + round);
            store.accept(told).await.unwrap();
            for start in claim(&store, later(10), fleet(64), 2).await.starts {
                let end = change(&start.job, &ended(start.run.id, Class::Success), later(20));
                assert_eq!(store.apply(end).await.unwrap(), Applied::Done);
            }
        }
        store.close().await;
    }));
    tokio::join!(fold(), fold(), async {
        writers.await;
        over.store(true, Ordering::SeqCst);
    });
    store.fold_counts().await.unwrap();
    let mut conn = connect(&database).await;
    assert_eq!(number(&mut conn, "SELECT count(*) FROM job_count_changes").await, 0);
    let all = i64::try_from(WRITERS * JOBS).unwrap();
    assert_eq!(number(&mut conn, "SELECT sum(jobs)::bigint FROM job_counts").await, all);
    let counts = store.overview(T0).await.unwrap().counts;
    let queued: u64 = store.backlog(T0).await.unwrap().by_reason.values().sum();
    assert_eq!((counts.queued, counts.queued + counts.done), (queued, all.unsigned_abs()));
    store.close().await;
}

/// The blocks that a statement touches.
async fn blocks(conn: &mut PgConnection, name: &str, values: &str) -> i64 {
    let file = format!("{}/src/postgres/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = std::fs::read_to_string(file).unwrap();
    execute(conn, &format!("PREPARE {name} AS {sql}")).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name} {values}"));
    let plan: serde_json::Value =
        sqlx::raw_sql(explain).fetch_one(&mut *conn).await.unwrap().try_get(0).unwrap();
    let of = |kind: &str| plan[0]["Plan"][kind].as_i64().unwrap();
    of("Shared Hit Blocks") + of("Shared Read Blocks")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_costs_nothing_that_grows_with_the_jobs() {
    let (database, store) = fresh().await;
    let mut conn = connect(&database).await;
    let fill = "INSERT INTO jobs (id, project, work_item, stage, role, priority, own_prompt, status, due, available_at,
                                  epoch, finished_at, created_at, updated_at)
                SELECT n, 'shop', 'A-' || n, 'review', 'reviewer', 0, false,
                       CASE WHEN n > 100000 THEN 'queued' ELSE 'done' END, n > 150000,
                       CASE WHEN n > 150000 THEN 1 ELSE 4102444800000 END, 1,
                       CASE WHEN n <= 100000 THEN 1 END, 0, 0
                FROM generate_series(1, 200000) AS n;
                UPDATE job_numbers SET newest = 200000";
    execute(&mut conn, fill).await.unwrap();
    // Some of them were looked at.
    assert_eq!(claim(&store, later(10), fleet(0), 4).await.starts.len(), 0);
    for known in [false, true] {
        if known {
            execute(&mut conn, "VACUUM ANALYZE").await.unwrap();
            store.fold_counts().await.unwrap();
        }
        for (name, values) in [("counts", ""), ("stage_counts", ""), ("backlog", ""), ("kept", "(1000)")] {
            let blocks = blocks(&mut conn, name, values).await;
            assert!(blocks <= BLOCKS_MAX, "{name} touches {blocks} blocks, analyzed: {known}");
            execute(&mut conn, &format!("DEALLOCATE {name}")).await.unwrap();
        }
    }
    let backlog = store.backlog(T0).await.unwrap().by_reason;
    assert_eq!((backlog["not_due"], backlog.values().sum::<u64>()), (50_000, 100_000));
    assert_eq!(store.violations().await.unwrap(), vec![]);
    store.close().await;
}
