//! Before anything is done in a run's name: the scheduler's fresh word that the run still owns its job.

use std::time::Duration;

use domain::steps::Undone;

use crate::node::{Held, Node};
use crate::shim::Wish;

/// The longest sleep: after a suspend the clock is looked at within this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns once a renew that was sent after this call was acknowledged and did not end the run.
///
/// While the scheduler cannot be reached there is nothing to do but to wait, as the outcome itself would: the agent is
/// dead, and nothing of the run goes on. It ends with the scheduler's word, whatever that is, or a person's.
pub(super) async fn pass(node: &Node, held: &Held) -> Result<(), Undone> {
    let (mut renewed, mut wish) = (node.renewed.subscribe(), held.wish.subscribe());
    let asked_ms = node.clock.boot_ms();
    node.renew_soon.notify_one();
    loop {
        let is_renewed = *renewed.borrow_and_update() > asked_ms;
        let wished = *wish.borrow_and_update();
        if let Some(why) = ended(wished) {
            return Err(why);
        }
        if is_renewed {
            return Ok(());
        }
        tokio::select! {
            _ = renewed.changed() => {}
            _ = wish.changed() => {}
        }
    }
}

/// Returns when the run is to end, or its lease is over: what is being done in its name stops.
pub(super) async fn closed(node: &Node, held: &Held) -> Undone {
    let (mut lease, mut wish) = (node.lease.subscribe(), held.wish.subscribe());
    loop {
        let wished = *wish.borrow_and_update();
        if let Some(why) = ended(wished) {
            return why;
        }
        let left_ms = lease.borrow_and_update().saturating_sub(node.clock.boot_ms());
        let Ok(left_ms @ 1..) = u64::try_from(left_ms) else { return Undone::Fenced };
        tokio::select! {
            _ = lease.changed() => {}
            _ = wish.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY.min(Duration::from_millis(left_ms))) => {}
        }
    }
}

const fn ended(wish: Option<Wish>) -> Option<Undone> {
    match wish {
        None => None,
        Some(Wish::Drain) => Some(Undone::Drained),
        Some(Wish::Cancel) => Some(Undone::Cancelled),
        Some(Wish::Fence) => Some(Undone::Fenced),
    }
}
