//! The sweep for rows that break an invariant: asks the store to repair them, and says so once for each.
//!
//! It never fails its caller: what cannot be repaired now is looked at again at the next tick.

use domain::RunId;
use domain::sanitize::{Kind, Repair, Rules};

use crate::moves::error_chain;
use crate::shared::Shared;

/// Repairs what there is, unless it is switched off (`ORCH_IMPOSSIBLE_QUEUED_SANITIZE_ENABLED`).
pub(crate) async fn sweep(shared: &Shared) {
    if !shared.queue.sanitize_enabled {
        return;
    }
    let rules = Rules {
        now: shared.now(),
        lease: shared.terms.scheduler,
        policy: shared.policy.clone(),
        chance: shared.chance(),
    };
    match shared.store.sanitize(rules).await {
        Ok(repairs) => {
            for repair in &repairs {
                follow_up(shared, repair);
            }
            if !repairs.is_empty() {
                shared.alert();
                shared.wake();
            }
        }
        Err(error) => tracing::warn!(error = error_chain(&error), "could not look for impossible rows yet"),
    }
}

fn follow_up(shared: &Shared, repair: &Repair) {
    let kinds: Vec<&str> = repair.kinds.iter().copied().map(Kind::as_str).collect();
    for kind in &kinds {
        shared.instruments.repaired.inc(&[kind]);
    }
    // Whoever holds one of them is fenced from now on.
    for run in repair.ends.iter().filter_map(|run| run.parse().ok()) {
        shared.runs.end(RunId(run));
    }
    let became = repair.row.as_ref().map_or("unchanged", |(_, after)| after.state.status().as_str());
    tracing::error!(
        job.id = %repair.job, kinds = kinds.join(","), became, ended = repair.ends.join(","),
        "a row that breaks an invariant was repaired: somebody wrote past the constraints"
    );
}
