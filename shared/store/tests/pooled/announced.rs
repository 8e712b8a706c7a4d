//! Work is announced to whoever listens, and listening is tried out before anything is expected of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use postgres_server::Database;
use store::{Access, Heard, Store};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::contract::values::{T0, job};
use crate::{database, fresh};

const WITHIN: Duration = Duration::from_secs(30);

/// Listens as long as `tasks` lives, and counts what is heard.
fn listen(store: &Arc<dyn Store>, direct: Option<String>, tasks: &mut JoinSet<()>) -> Arc<AtomicU32> {
    let (count, store) = (Arc::new(AtomicU32::new(0)), store.clone());
    let counted = count.clone();
    let heard = Heard(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    tasks.spawn(async move { store.listen(direct, heard).await });
    count
}

/// Makes jobs until the listener hears of one; it may still be on its way to listening.
async fn until_heard(store: &Arc<dyn Store>, count: &AtomicU32) {
    let deadline = Instant::now() + WITHIN;
    while count.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "nothing was heard");
        store.enqueue(job("A"), T0).await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
}

async fn direct(database: &Database) -> Arc<dyn Store> {
    store::open(&database.url(), Access::Write).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_makes_another_hears_of_once_for_many() {
    let database = database();
    let (ingest, scheduler) = (direct(&database).await, direct(&database).await);
    let mut tasks = JoinSet::new();
    let count = listen(&scheduler, None, &mut tasks);
    until_heard(&ingest, &count).await;
    let before = count.load(Ordering::Relaxed);
    let jobs = (0..500).map(|_| ingest.enqueue(job("A"), T0));
    for made in futures::future::join_all(jobs).await {
        made.unwrap();
    }
    // The last announcement is behind the last job's commit.
    let mark = count.load(Ordering::Relaxed);
    let deadline = Instant::now() + WITHIN;
    while count.load(Ordering::Relaxed) == mark && mark == before {
        assert!(Instant::now() < deadline, "500 jobs were made and nothing was heard");
        sleep(Duration::from_millis(10)).await;
    }
    let heard = count.load(Ordering::Relaxed) - before;
    assert!((1..250).contains(&heard), "500 jobs were announced {heard} times");
    tasks.shutdown().await;
    for store in [ingest, scheduler] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_was_cut_off_listens_again() {
    let database = database();
    let (ingest, scheduler) = (direct(&database).await, direct(&database).await);
    let mut tasks = JoinSet::new();
    let count = listen(&scheduler, None, &mut tasks);
    until_heard(&ingest, &count).await;
    let all = format!("datname = '{}' AND query ILIKE '%LISTEN%'", database.name());
    database.server().sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {all}"));
    let deadline = Instant::now() + WITHIN;
    let mut silent_since = 0;
    // It is told of the cut, and hears what is made afterwards.
    for _ in 0..3 {
        while count.load(Ordering::Relaxed) <= silent_since {
            assert!(Instant::now() < deadline, "nothing is heard after the cut");
            ingest.enqueue(job("B"), T0).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        silent_since = count.load(Ordering::Relaxed);
    }
    tasks.shutdown().await;
    for store in [ingest, scheduler] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_proxy_the_server_itself_is_listened_to() {
    let (database, store) = fresh().await;
    let mut tasks = JoinSet::new();
    let count = listen(&store, Some(database.url()), &mut tasks);
    until_heard(&store, &count).await;
    tasks.shutdown().await;
    store.close().await;
}

/// Nothing is promised to who listens through the proxy; everything else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listening_through_the_proxy_harms_nothing() {
    let (_database, store) = fresh().await;
    let mut tasks = JoinSet::new();
    let _count = listen(&store, None, &mut tasks);
    for _ in 0..100 {
        store.enqueue(job("A"), T0).await.unwrap();
        assert_eq!(store.violations().await.unwrap(), vec![]);
    }
    assert!(tasks.try_join_next().is_none(), "it tries again later");
    tasks.shutdown().await;
    store.close().await;
}
