//! Looks at `GET /queue` again and again, as a person at the console would, and notes when a runner's state changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::harness::get;
use crate::history::utc_ms;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A runner's state as it was seen to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) utc_ms: i64,
    pub(super) node: String,
    pub(super) state: String,
}

/// Looks until it is dropped.
pub(super) async fn watch(console: SocketAddr, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    loop {
        if let Ok(queue) = get(console, "/queue").await.and_then(|answer| answer.json()) {
            for runner in queue["runners"].as_array().into_iter().flatten() {
                let word = |name: &str| runner[name].as_str().unwrap_or_default().to_owned();
                let (node, state) = (word("id"), word("state"));
                if states.insert(node.clone(), state.clone()).as_ref() != Some(&state) {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push(Seen { utc_ms: utc_ms(), node, state });
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
