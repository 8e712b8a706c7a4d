//! Renewals where another scheduler may use the database: counted there before they are answered, and watched there, so
//! that a run is given up only when nobody heard of it for a whole lease (PROTOCOL.md, "Lease"), and work goes to nodes
//! that speak to another scheduler.
//!
//! Where a lock keeps all others away, memory alone knows them, and none of this asks the database.

use std::sync::Arc;

use domain::runner::Node;
use domain::{Epoch, Incarnation, NodeId, RunId};
use store::Session;
use tonic::Status;

use crate::grpc::unavailable;
use crate::nodes::NotHeard;
use crate::shared::Shared;
use crate::upkeep::{adopt, compare};

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

/// Makes a session the one that speaks for its node, to whichever scheduler; gives how often the node was heard.
pub(crate) async fn open(shared: &Shared, row: &Node, nonce: &str) -> Result<Option<u64>, Status> {
    if shared.neighbours == Neighbours::None {
        return Ok(None);
    }
    let opened = shared.store.open_session(row.id.clone(), session(shared, row.incarnation, nonce)).await;
    let opened = opened.map_err(|error| unavailable(&error))?;
    Ok(Some(opened.ok_or_else(|| NotHeard::Fenced { node: row.id.clone() })?))
}

/// Counts that a node was heard.
pub(crate) async fn hear(
    shared: &Shared,
    node: &NodeId,
    incarnation: Incarnation,
    nonce: &str,
) -> Result<(), Status> {
    if shared.neighbours == Neighbours::None {
        return Ok(());
    }
    let heard = shared.store.hear_session(node.clone(), session(shared, incarnation, nonce)).await;
    let heard = heard.map_err(|error| unavailable(&error))?;
    shared.nodes.heard(node, heard.ok_or_else(|| NotHeard::Fenced { node: node.clone() })?);
    Ok(())
}

fn session(shared: &Shared, incarnation: Incarnation, nonce: &str) -> Session {
    Session { incarnation, nonce: nonce.to_owned(), home: shared.name.clone() }
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
    for unknown in live.difference(&known) {
        adopt(shared, *unknown).await?;
    }
    for (over, _) in held.iter().filter(|(run, _)| known.contains(run) && !live.contains(run)) {
        shared.runs.end(*over);
    }
    Ok(())
}

/// Hears what the others heard, of runs and of nodes.
pub(crate) async fn listen(shared: &Shared) -> Result<(), store::Error> {
    if shared.neighbours == Neighbours::None {
        return Ok(());
    }
    let store = &shared.store;
    let (renewals, sessions) = (store.renewals().await?, store.sessions().await?);
    let (rows, lost) = (store.nodes().await?, store.declared_lost().await?);
    let boot_ms = shared.clock.boot_ms();
    shared.runs.book(|book| book.observe(&renewals, boot_ms));
    for (node, url) in shared.nodes.learn(rows, &sessions, &lost, &shared.name, boot_ms) {
        shared.links.forget(&node, &url);
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
