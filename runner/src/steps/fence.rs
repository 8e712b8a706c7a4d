//! Before anything is done in a run's name: the scheduler's fresh word that the run still owns its job.

use domain::steps::Undone;

use crate::node::{Held, Node};
use crate::shim::Wish;

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

const fn ended(wish: Option<Wish>) -> Option<Undone> {
    match wish {
        None => None,
        Some(Wish::Drain) => Some(Undone::Drained),
        Some(Wish::Cancel) => Some(Undone::Cancelled),
        Some(Wish::Fence) => Some(Undone::Fenced),
    }
}
