//! The contract suite on SQLite, and what only a file can get wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "../contract/mod.rs"]
mod contract;

mod constraints;
mod copies;
mod file;
mod lanes;
mod plan;
mod pressure;
mod probe;
mod random;
mod raw;
mod sanitize;
mod two_processes;

use std::sync::Arc;

use store::{Access, Store};
use tempfile::TempDir;

/// Stories that `random` plays.
const CASES: u32 = 24;

/// A store on a fresh file, with the folder that must outlive it.
async fn fresh() -> (TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).await;
    (folder, store)
}

fn url(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("data/orch.db").display())
}

async fn open(folder: &TempDir) -> Arc<dyn Store> {
    store::open(&url(folder), Access::Write).await.unwrap()
}

contract::every_rule!();
