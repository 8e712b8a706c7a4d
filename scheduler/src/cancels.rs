//! Tells nodes of runs that were asked to end by what this process did not do itself, such as a webhook in ingest.
//!
//! It only makes that sooner: the reaper finds them too, and the next renew of their node says so.

use std::sync::Arc;

use domain::RunId;
use domain::job::LiveRunState;

use crate::dispatch;
use crate::moves::error_chain;
use crate::shared::Shared;

/// Tells of those that nobody was told of.
pub(crate) async fn tell(shared: &Arc<Shared>) {
    match shared.store.cancel_requests().await {
        Ok(runs) => {
            for run in runs {
                tell_of(shared, run).await;
            }
        }
        Err(error) => tracing::info!(error = error_chain(&error), "could not look for runs to end yet"),
    }
}

/// Tells of one, unless somebody did.
pub(crate) async fn tell_of(shared: &Arc<Shared>, run: RunId) {
    if !shared.runs.book(|book| book.request_cancel(run)) {
        return;
    }
    let Some(live) = shared.runs.book(|book| book.get(run).cloned()) else { return };
    tracing::info!(run.id = %run, "a run is asked to end");
    if live.state == LiveRunState::Offered {
        // Before its Start is committed nothing can have been spawned, so nobody needs to be waited for.
        dispatch::withdraw(shared, &live, "cancel_requested").await;
    }
    dispatch::tell_cancel(shared, live);
}
