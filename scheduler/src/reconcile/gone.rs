//! Ends a work item whose issue or pull request is no longer there, with its jobs.

use std::sync::Arc;

use domain::job::LiveRunState;
use domain::work_item::{ItemChange, ItemState, WorkItem};
use domain::{Event, JobState};
use store::{Applied, Audit};

use super::asking::Stop;
use crate::moves::{NotMoved, Report, move_job};
use crate::shared::Shared;
use crate::{advance, dispatch};

/// How often an item may move under its end before the next round tries again.
const CONFLICTS_MAX: u32 = 10;

/// Cancels what is queued, asks what runs to end, and ends the item, saying why.
pub(super) async fn end(shared: &Arc<Shared>, item: &WorkItem, why: &str) -> Result<(), Stop> {
    for job in shared.store.unfinished_jobs_of(&item.project, &item.key).await? {
        match move_job(shared, job.id, &Event::CancelRequested, Report::default()).await {
            Ok(moved) => {
                let JobState::Running { run, run_state, .. } = moved.after.state else { continue };
                shared.runs.book(|book| book.request_cancel(run));
                let live = shared.runs.book(|book| book.get(run).cloned());
                if let Some(live) = live.filter(|_| run_state == LiveRunState::Offered) {
                    dispatch::withdraw(shared, &live, "cancel_requested").await;
                }
            }
            // It ended meanwhile.
            Err(NotMoved::Illegal(_) | NotMoved::NotFound(_)) => {}
            Err(NotMoved::Store(error)) => return Err(Stop::Store(error)),
            Err(error @ NotMoved::Contended(_)) => return Err(Stop::Failed(error.to_string())),
        }
    }
    for _ in 0..CONFLICTS_MAX {
        let Some(item) = advance::read(shared, &item.project, &item.key).await? else { return Ok(()) };
        let now = shared.now();
        let after = WorkItem {
            state: ItemState::Cancelled,
            ended_because: Some(why.to_owned()),
            updated_at: now,
            ..item.clone()
        };
        let change = ItemChange::new(&item, after);
        let note = Some(why.to_owned());
        // Nobody is told there: there is nothing any more to comment on.
        let audit = Audit { at: now, actor: "reconciler".into(), verb: "gone", note, posts: Vec::new() };
        if shared.store.decide(change, audit).await? == Applied::Done {
            tracing::warn!(project = item.project, work_item = item.key, why, "work item ended");
            return Ok(());
        }
    }
    Ok(())
}
