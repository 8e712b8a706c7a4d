//! Renewals where another scheduler may use the database: counted there before they are answered, and watched there, so
//! that a run is given up only when nobody heard of it for a whole lease (PROTOCOL.md, "Lease").
//!
//! Where a lock keeps all others away, memory alone knows them, and none of this asks the database.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{Epoch, NodeId, RunId};

use crate::reaper::compare;
use crate::shared::Shared;

/// Whether another scheduler may use the database at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// None, for certain.
    None,
    /// There may be some.
    Perhaps,
}

/// Brings memory in line with what others wrote, before it is judged what a node lost.
pub(crate) async fn catch_up(shared: &Arc<Shared>) -> Result<(), store::Error> {
    match shared.neighbours {
        Neighbours::None => Ok(()),
        Neighbours::Perhaps => compare(shared).await,
    }
}

/// Counts a renewal of what a node holds, before it is answered: takes up what others claimed, lets go of what they ended.
pub(crate) async fn count(
    shared: &Arc<Shared>,
    node: &NodeId,
    held: &[(RunId, Epoch)],
) -> Result<(), store::Error> {
    if shared.neighbours == Neighbours::None || held.is_empty() {
        return Ok(());
    }
    let live = shared.store.renew(node.clone(), held.to_vec()).await?;
    let known = shared.runs.book(|book| book.ids());
    if !live.is_subset(&known) {
        compare(shared).await?;
    }
    let held: BTreeSet<RunId> = held.iter().map(|(run, _)| *run).collect();
    for over in held.intersection(&known).filter(|run| !live.contains(run)) {
        shared.runs.end(*over);
    }
    Ok(())
}

/// Hears what the others heard.
pub(crate) async fn listen(shared: &Shared, boot_ms: i64) -> Result<(), store::Error> {
    if shared.neighbours == Neighbours::Perhaps {
        let renewals = shared.store.renewals().await?;
        shared.runs.book(|book| book.observe(&renewals, boot_ms));
    }
    Ok(())
}

/// How often a run may have been renewed for its lease to be over; none where memory knows.
pub(crate) fn seen(shared: &Shared, run: RunId) -> Option<u64> {
    match shared.neighbours {
        Neighbours::None => None,
        Neighbours::Perhaps => shared.runs.book(|book| book.renewals(run)),
    }
}
