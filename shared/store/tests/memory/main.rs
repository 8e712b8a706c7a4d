//! The contract suite on the store in memory, and what a simulation asks of its disk.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

#[path = "../contract/mod.rs"]
mod contract;

mod disk;

use std::sync::Arc;

use store::Store;
use store::memory::Disk;

/// A store on a fresh disk.
#[expect(clippy::unused_async, reason = "the suite awaits what makes its store")]
async fn fresh() -> (Disk, Arc<dyn Store>) {
    let disk = Disk::default();
    let store = disk.open("scheduler");
    (disk, store)
}

contract::every_rule!();
