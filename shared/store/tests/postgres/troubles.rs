//! What becomes of the server: restarts, killed connections, one that only reads, none left.

use std::sync::Arc;
use std::time::Duration;

use domain::JobId;
use domain::delivery::Payload;
use futures::future::join_all;
use postgres_server::{Server, Stop};
use store::{Access, Error, Store};

use super::contract::values::{T0, job, keyed, one_running};
use super::{fresh, open, raw};

const WITHIN: Duration = Duration::from_secs(30);

async fn until_written(store: &Arc<dyn Store>) -> JobId {
    let written = async {
        loop {
            match store.enqueue(job("A"), T0).await {
                Ok(enqueued) => return enqueued.job,
                Err(error) => assert!(matches!(error, Error::Unavailable(_)), "{error:?}"),
            }
        }
    };
    tokio::time::timeout(WITHIN, written).await.unwrap()
}

/// The server crashes and comes back: what was accepted is there, and the store goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_loses_nothing() {
    let server = Arc::new(Server::start(true));
    let database = server.database();
    let store = open(&database).await;
    let reader = store::open(&database.url(), Access::Read).await.unwrap();
    let before = store.enqueue(job("A"), T0).await.unwrap().job;
    assert!(reader.job(before).await.unwrap().is_some());
    server.stop(Stop::Immediate);
    for refused in [store.enqueue(job("A"), T0).await.unwrap_err(), reader.job(before).await.unwrap_err()] {
        let said = refused.with_causes();
        assert!(matches!(refused, Error::Unavailable(_)), "{said}");
        assert!(said.contains("could not connect to PostgreSQL at /tmp/"), "{said}");
    }
    server.start_again();
    assert!(reader.job(before).await.unwrap().is_some());
    let after = until_written(&store).await;
    assert!(after > before);
    reader.close().await;
    store.close().await;
}

/// Connections are killed while writes are under way: what was answered is there once, what was refused is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_and_double_nothing() {
    let (database, store) = fresh().await;
    let writes = (0..200).map(|n| {
        let store = Arc::clone(&store);
        async move {
            let new = keyed(&format!("A-{n}"), &format!("key {n}"));
            let first = store.enqueue(new.clone(), T0).await;
            let known = store.enqueue(new, T0).await.unwrap();
            if let Ok(first) = first {
                assert_eq!(known.job, first.job);
            }
        }
    });
    let kills = async {
        let mut conn = raw::connect(&database).await;
        for _ in 0..40 {
            raw::execute(
                &mut conn,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await
            .unwrap();
        }
    };
    tokio::join!(join_all(writes), kills);
    assert_eq!(store.overview(T0).await.unwrap().counts.queued, 200);
    store.close().await;
}

/// A server that was failed over from only reads: nothing is accepted, the readiness says so, and it goes on after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_reads_is_told_of() {
    let (database, store) = fresh().await;
    let mut conn = raw::connect(&database).await;
    let name = database.name();
    let only_reads = |on: bool| format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}");
    store.enqueue(job("A"), T0).await.unwrap();
    raw::execute(&mut conn, &only_reads(true)).await.unwrap();
    raw::execute(
        &mut conn,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await
    .unwrap();
    let refused = store.enqueue(job("B"), T0).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    assert!(refused.with_causes().contains("read-only transaction"), "{}", refused.with_causes());
    let unready = store.schema().await.unwrap_err();
    assert!(unready.with_causes().contains("the PostgreSQL server only reads"), "{}", unready.with_causes());
    assert_eq!(store.overview(T0).await.unwrap().counts.queued, 1);
    raw::execute(&mut conn, &only_reads(false)).await.unwrap();
    until_written(&store).await;
    assert!(store.schema().await.is_ok());
    store.close().await;
}

/// All connections wait for somebody: the next to ask is told that, and not that the server is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_free_connection_says_so() {
    let (database, store) = fresh().await;
    store.enqueue(job("A"), T0).await.unwrap();
    let mut conn = raw::connect(&database).await;
    raw::execute(&mut conn, "BEGIN; LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let asked = join_all((0..30).map(|_| store.job(JobId(1)))).await;
    let said: Vec<String> = asked.iter().map(|answer| answer.as_ref().unwrap_err().with_causes()).collect();
    assert!(
        said.iter().any(|said| said.contains("all 10 connections of this process were in use")),
        "{said:?}"
    );
    assert!(said.iter().any(|said| said.contains("lock timeout")), "{said:?}");
    raw::execute(&mut conn, "COMMIT").await.unwrap();
    assert!(store.job(JobId(1)).await.unwrap().is_some());
    store.close().await;
}

/// Settings under which a promise would not hold are refused at the start, with what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_is_refused() {
    let database = Server::shared().database();
    let mut conn = raw::connect(&database).await;
    let off = format!("ALTER DATABASE {} SET synchronous_commit = off", database.name());
    raw::execute(&mut conn, &off).await.unwrap();
    let refused = store::open(&database.url(), Access::Write).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Setup(what) if what.contains("synchronous_commit = on")),
        "{refused:?}"
    );
    raw::execute(&mut conn, "ALTER DATABASE postgres SET search_path = public").await.unwrap();
    let nobody = store::open(&database.url().replace("user=orch", "user=nobody"), Access::Write).await;
    assert!(nobody.unwrap_err().with_causes().contains("role \"nobody\" does not exist"));
    let other = Server::shared().database();
    raw::execute(&mut raw::connect(&other).await, "CREATE TABLE users (id BIGINT)").await.unwrap();
    let refused = store::open(&other.url(), Access::Write).await.unwrap_err();
    assert!(refused.with_causes().contains("belongs to another program"), "{refused:?}");
}

/// What agents and people write may hold what PostgreSQL does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_with_nul_is_kept() {
    let (_database, store) = fresh().await;
    let payload =
        Payload { title: Some("a\0b".into()), prompt: Some("c\0\\u0000".into()), ..Payload::default() };
    let new = domain::delivery::NewJob { payload: payload.clone(), ..job("A\0") };
    let id = store.enqueue(new, T0).await.unwrap().job;
    assert_eq!(store.payload(id).await.unwrap(), Some(payload));
    assert_eq!(store.job(id).await.unwrap().unwrap().work_item, "A\u{fffd}");
    store.close().await;
}

/// A renewal touches one narrow row and no index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_stay_within_their_page() {
    let (database, store) = fresh().await;
    let start = one_running(&store).await;
    for _ in 0..100 {
        let held = vec![(start.run.id, start.run.epoch)];
        assert_eq!(store.renew(start.run.node.clone(), held).await.unwrap().len(), 1);
    }
    assert_eq!(store.renewals().await.unwrap()[&start.run.id], 100);
    store.close().await;
    let sql = "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'leases' AND n_tup_upd = 99";
    let counted = async {
        let mut conn = raw::connect(&database).await;
        while raw::number(&mut conn, &format!("SELECT coalesce(({sql}), 0)")).await != 99 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WITHIN, counted).await.unwrap();
}
