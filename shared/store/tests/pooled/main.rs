//! The contract suite on PostgreSQL through a proxy that gives each transaction another server connection.
//!
//! It takes `pgbouncer`: `./dev test` installs it and runs this, or says that it did not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "../contract/mod.rs"]
mod contract;

mod announced;

use std::sync::{Arc, OnceLock};

use postgres_server::{Database, Server};
use store::{Access, Store};

/// A database behind the proxy.
fn database() -> Database {
    static POOLED: OnceLock<bool> = OnceLock::new();
    let server = Server::shared();
    let pooled = *POOLED.get_or_init(|| server.pool());
    assert!(pooled, "there is no pgbouncer: install the package pgbouncer, as ./dev test does");
    server.database()
}

/// A store on a fresh database, with the database that must outlive it.
async fn fresh() -> (Database, Arc<dyn Store>) {
    let database = database();
    let store = store::open(&database.pooled_url(), Access::Write).await.unwrap();
    (database, store)
}

contract::every_rule!();
