//! One task per live run: offers it, watches it once it started, and ends when the run does.

use std::sync::Arc;

use domain::job::LiveRunState;
use domain::{Job, Run, RunState};
use service::telemetry::trace_context;
use tokio::sync::watch;
use tracing::Span;

use crate::dispatch::Offered;
use crate::lease::LiveRun;
use crate::live::{LookedAfter, Phase};
use crate::shared::Shared;
use crate::{dispatch, watch as watching};

/// Takes a live run in, and looks after it where that is this scheduler's to do: its node speaks to this one.
pub(crate) fn take_in(shared: &Arc<Shared>, job: &Job, run: &Run) {
    if shared.is_home_of(&run.node) {
        supervise(shared, job, run);
    } else if let Some(live) = live_run(job, run) {
        shared.runs.insert(live, shared.clock.boot_ms());
    }
}

/// Takes a live run in and starts its task, unless it has one.
pub(crate) fn supervise(shared: &Arc<Shared>, job: &Job, run: &Run) {
    let Some(live) = live_run(job, run) else { return };
    let phase = shared.runs.insert(live.clone(), shared.clock.boot_ms());
    let Some(looked_after) = shared.runs.look_after(live.run) else { return };
    let (shared, token) = (shared.clone(), shared.tasks.token());
    let tasks = shared.tasks.clone();
    let task = async move {
        // What is cut here is taken up again after the next start.
        let following = Box::pin(follow(&shared, &live, phase, looked_after));
        let _ = token.run_until_cancelled(following).await;
    };
    tasks.spawn("run", task);
}

/// Makes a span continue the trace of the webhook or command that made the job.
///
/// A run has no span of its own: one that lasts for hours would be lost with a restart, and its children orphaned.
pub(crate) fn traced(span: Span, run: &LiveRun) -> Span {
    if let Some(parent) = &run.trace_context {
        trace_context::set_parent(&span, parent);
    }
    span
}

async fn follow(
    shared: &Shared,
    run: &LiveRun,
    mut phase: watch::Receiver<Phase>,
    looked_after: LookedAfter,
) {
    loop {
        let now = *phase.borrow_and_update();
        match now {
            Phase::Offered => {
                // Boxed: its state is many times that of a watch, where a run spends its life.
                if Box::pin(dispatch::offer(shared, run, &mut phase)).await == Offered::ToAnothersNode {
                    break;
                }
            }
            // Whoever the node speaks to watches it.
            Phase::Started if !shared.is_home_of(&run.node) => break,
            Phase::Started => {
                watching::to_the_end(shared, run, &mut phase).await;
                break;
            }
            Phase::Over => break,
        }
    }
    drop(looked_after);
}

fn live_run(job: &Job, run: &Run) -> Option<LiveRun> {
    let state = match run.state {
        RunState::Offered => LiveRunState::Offered,
        RunState::Started => LiveRunState::Started,
        RunState::Ended => return None,
    };
    let cancel_requested = match &job.state {
        domain::JobState::Running { cancel_requested_at, .. } => {
            cancel_requested_at.is_some() || run.stop.is_some()
        }
        domain::JobState::Queued { .. }
        | domain::JobState::Done { .. }
        | domain::JobState::Failed { .. }
        | domain::JobState::Cancelled { .. } => return None,
    };
    Some(LiveRun {
        run: run.id,
        job: run.job,
        epoch: run.epoch,
        node: run.node.clone(),
        incarnation: run.incarnation,
        state,
        cancel_requested,
        resumed_session: run.resumed_session.clone(),
        trace_context: job.trace_context.clone(),
    })
}
