//! Two processes' handles on one file, eight claimers: a half-open breaker admits exactly one probe, every time.

use std::sync::Arc;

use super::contract::accounts::one_probe_of_many_claimers;
use super::{fresh, open};

const CLAIMERS: usize = 8;
const ROUNDS: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_probe_in_a_thousand_of_a_thousand_rounds() {
    let (folder, first) = fresh().await;
    let second = open(&folder).await;
    let stores = [Arc::clone(&first), Arc::clone(&second)];
    one_probe_of_many_claimers(&stores, CLAIMERS, ROUNDS).await;
    assert_eq!(first.violations().await.unwrap(), vec![]);
    first.close().await;
    second.close().await;
}
