//! Events of jobs and runs as a stream that goes on from where a reader was.

use std::sync::Arc;

use domain::JobId;
use proto::v1::{JobEvent, WatchJobsRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::events::GAP;
use crate::shared::Shared;

/// How many events wait for a slow reader; more of them wait in the scheduler's memory, and fall out of it.
const EVENTS_AHEAD: usize = 64;
/// The most readers at once.
const READERS_MAX: usize = 256;

pub(super) fn stream(
    shared: &Arc<Shared>,
    request: WatchJobsRequest,
) -> Result<ReceiverStream<Result<JobEvent, Status>>, Status> {
    let place = shared.events.place(&request.after).ok_or_else(|| {
        Status::invalid_argument("after is no id of an event: give one that was received, or nothing")
    })?;
    let mut newest = shared.events.subscribe();
    if shared.events.readers() > READERS_MAX {
        return Err(Status::resource_exhausted(format!("{READERS_MAX} readers watch already")));
    }
    let (events, receiver) = mpsc::channel(EVENTS_AHEAD);
    let (shared, token, tasks) = (shared.clone(), shared.tasks.token(), shared.tasks.clone());
    tasks.spawn("watch-jobs", async move {
        let sending = async {
            let (mut place, mut left) = (place, request.limit);
            loop {
                newest.mark_unchanged();
                let (found, behind) = shared.events.behind(place, EVENTS_AHEAD, shared.now());
                let is_all = found.is_empty();
                place = behind;
                for event in found.into_iter().filter(|event| is_wanted(event, &request)) {
                    if events.send(Ok(event)).await.is_err() {
                        return;
                    }
                    left = left.saturating_sub(1);
                    if request.limit > 0 && left == 0 {
                        return;
                    }
                }
                if is_all && newest.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            _ = token.run_until_cancelled(sending) => {}
            () = events.closed() => {}
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn is_wanted(event: &JobEvent, request: &WatchJobsRequest) -> bool {
    event.kind == GAP
        || (request.job_id.is_none_or(|id| event.job_id.map(JobId) == Some(JobId(id)))
            && request.project.as_ref().is_none_or(|project| event.project == *project))
}
