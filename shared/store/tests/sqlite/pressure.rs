//! Locks held by others, and a log that must not grow for ever.

use std::sync::Arc;
use std::time::Duration;

use domain::delivery::{NewJob, Payload};
use store::{Error, JobFilter};

use super::contract::values::{T0, delivery, job};
use super::{fresh, raw};

/// Somebody holds the database past the deadline: unavailable, nothing half-written, and fine afterwards.
#[tokio::test]
async fn a_locked_database_is_unavailable_and_recovers() {
    let (folder, store) = fresh().await;
    let mut other = raw::connect(&raw::path(&folder)).await;
    raw::execute(&mut other, "BEGIN IMMEDIATE; UPDATE meta SET paused = paused").await.unwrap();
    let writes = futures::future::join_all([
        store.accept(delivery("d1", 'a', vec![job("A"), job("B")])),
        store.accept(delivery("d2", 'b', vec![job("C")])),
    ]);
    let started = tokio::time::Instant::now();
    for refused in writes.await {
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    }
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(20), "{waited:?}");
    // Readers were never in its way.
    assert_eq!(store.jobs(JobFilter::newest(9)).await.unwrap(), vec![]);

    raw::execute(&mut other, "ROLLBACK").await.unwrap();
    assert_eq!(raw::number(&mut other, "SELECT count(*) FROM deliveries").await, 0);
    store.accept(delivery("d1", 'a', vec![job("A")])).await.unwrap();
    assert_eq!(raw::number(&mut other, "SELECT count(*) FROM job_payloads").await, 1);
    store.close().await;
}

/// Many times the soft limit is written, with a reader beside; the log stays near it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_under_load() {
    const ROUND_BYTES: usize = 32 * 40_000;
    const ROUNDS: usize = 100;
    let (_folder, store) = fresh().await;
    let mut largest = 0;
    for round in 0..ROUNDS {
        let jobs = (0..32).map(|n| {
            let store = Arc::clone(&store);
            let payload = Payload { body: Some("x".repeat(40_000)), ..Payload::default() };
            async move { store.enqueue(NewJob { payload, ..job(&format!("{round}-{n}")) }, T0).await.unwrap() }
        });
        futures::future::join_all(jobs).await;
        store.overview(T0).await.unwrap();
        largest = largest.max(store.stats().await.unwrap().wal_bytes);
    }
    let written = (ROUND_BYTES * ROUNDS) as u64;
    assert!(largest < written / 2, "the log grew to {largest} bytes while {written} were written");
    assert!(store.stats().await.unwrap().file_bytes > written / 2);
    store.close().await;
}
