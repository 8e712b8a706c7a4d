//! Tells the scheduler that new jobs may be there: best effort, coalesced, never in the way of an answer.
//!
//! The scheduler polls as well, so a nudge that is lost costs a moment and nothing else.

use std::sync::Arc;
use std::time::Duration;

use proto::v1::NudgeRequest;
use proto::v1::scheduler_service_client::SchedulerServiceClient;
use service::Tasks;
use service::grpc::{self, SendTrace};
use tokio::sync::Notify;
use tonic::transport::Channel;

/// The least time between two calls: a burst is one nudge, not a call for each delivery.
const INTERVAL_MIN: Duration = Duration::from_millis(2);
/// The same when nobody answered: connecting again and again would cost more than the poll that will do.
const INTERVAL_ALONE: Duration = Duration::from_millis(100);
/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(2);

/// Asks for a nudge; many askings while one call is under way make one more call.
#[derive(Debug, Clone, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Starts the task that calls the scheduler behind `channel`.
    pub fn spawn(channel: Channel, tasks: &Tasks) -> Self {
        let nudge = Self::default();
        let (asked, stop) = (nudge.0.clone(), tasks.token());
        tasks.spawn("nudge", async move {
            let mut client = SchedulerServiceClient::with_interceptor(channel, SendTrace);
            while stop.run_until_cancelled(asked.notified()).await.is_some() {
                let mut rest = INTERVAL_MIN;
                if let Err(status) = grpc::call(CALL_DEADLINE, client.nudge(NudgeRequest {})).await {
                    tracing::debug!(code = ?status.code(), "could not nudge the scheduler, its poll will do");
                    rest = INTERVAL_ALONE;
                }
                stop.run_until_cancelled(tokio::time::sleep(rest)).await;
            }
        });
        nudge
    }

    /// Asks for a nudge; returns at once.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}
