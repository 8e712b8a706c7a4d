//! The contract suite on PostgreSQL, and what only a server that others use too can get wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "../contract/mod.rs"]
mod contract;
#[path = "../sqlite/random.rs"]
mod random;
#[path = "../sqlite/sanitize.rs"]
mod sanitize;

mod constraints;
mod counts;
mod doubt;
mod logs;
mod plan;
mod raw;
mod schedulers;
mod troubles;

use std::sync::Arc;

use postgres_server::{Database, Server};
use store::{Access, Store};

/// Stories that `random` plays.
const CASES: u32 = 4;

/// A store on a fresh database, with the database that must outlive it.
async fn fresh() -> (Database, Arc<dyn Store>) {
    let database = Server::shared().database();
    let store = open(&database).await;
    (database, store)
}

async fn open(database: &Database) -> Arc<dyn Store> {
    store::open(&database.url(), Access::Write).await.unwrap()
}

contract::every_rule!();
