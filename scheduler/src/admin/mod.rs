//! `AdminService`: what people and scripts ask. Every verb decides through `domain` and writes through the store.

mod accounts;
mod budgets;
mod items;
mod jobs;
mod logs;
mod runners;

use std::sync::Arc;

use domain::work_item::decision::Word;
use domain::{Event, IllegalEvent};
use proto::convert;
use proto::v1::admin_service_server::AdminService;
use proto::v1::{
    CancelJobRequest, DecideItemRequest, DrainRunnerReply, DrainRunnerRequest, EnqueueReply, EnqueueRequest,
    GetJobRequest, GetQueueRequest, ItemReply, JobDetail, JobReply, ListAccountsReply, ListAccountsRequest,
    ListBreakersReply, ListBreakersRequest, ListBudgetsReply, ListBudgetsRequest, ListItemsReply,
    ListItemsRequest, ListJobsReply, ListJobsRequest, ListRunnersReply, ListRunnersRequest, LogFrame,
    LoseRunnerReply, LoseRunnerRequest, PauseReply, PauseRequest, QueueReply, RaiseBudgetReply,
    RaiseBudgetRequest, ResetBreakerReply, ResetBreakerRequest, ResumeAccountReply, ResumeAccountRequest,
    ResumeReply, ResumeRequest, RetryJobRequest, StreamLogsRequest,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::grpc::unavailable;
use crate::moves::NotMoved;
use crate::shared::Shared;

/// Serves the console and the command line.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl AdminService for Service {
    type StreamLogsStream = ReceiverStream<Result<LogFrame, Status>>;

    async fn get_queue(&self, _request: Request<GetQueueRequest>) -> Result<Response<QueueReply>, Status> {
        let now = self.0.now();
        let overview = self.0.store.overview(now).await.map_err(|error| unavailable(&error))?;
        Ok(Response::new(convert::queue(&overview, self.0.queue, now)))
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsReply>, Status> {
        jobs::list(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<JobDetail>, Status> {
        jobs::detail(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn enqueue(&self, request: Request<EnqueueRequest>) -> Result<Response<EnqueueReply>, Status> {
        jobs::enqueue(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> Result<Response<JobReply>, Status> {
        jobs::cancel(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn retry_job(&self, request: Request<RetryJobRequest>) -> Result<Response<JobReply>, Status> {
        jobs::retry(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn pause(&self, _request: Request<PauseRequest>) -> Result<Response<PauseReply>, Status> {
        self.set_paused(true).await?;
        Ok(Response::new(PauseReply {}))
    }

    async fn resume(&self, _request: Request<ResumeRequest>) -> Result<Response<ResumeReply>, Status> {
        self.set_paused(false).await?;
        Ok(Response::new(ResumeReply {}))
    }

    async fn list_runners(
        &self,
        _request: Request<ListRunnersRequest>,
    ) -> Result<Response<ListRunnersReply>, Status> {
        runners::list(&self.0).await.map(Response::new)
    }

    async fn drain_runner(
        &self,
        request: Request<DrainRunnerRequest>,
    ) -> Result<Response<DrainRunnerReply>, Status> {
        runners::drain(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn lose_runner(
        &self,
        request: Request<LoseRunnerRequest>,
    ) -> Result<Response<LoseRunnerReply>, Status> {
        runners::lose(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_breakers(
        &self,
        _request: Request<ListBreakersRequest>,
    ) -> Result<Response<ListBreakersReply>, Status> {
        accounts::breakers(&self.0).await.map(Response::new)
    }

    async fn reset_breaker(
        &self,
        request: Request<ResetBreakerRequest>,
    ) -> Result<Response<ResetBreakerReply>, Status> {
        accounts::reset_breaker(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_accounts(
        &self,
        _request: Request<ListAccountsRequest>,
    ) -> Result<Response<ListAccountsReply>, Status> {
        accounts::list(&self.0).await.map(Response::new)
    }

    async fn resume_account(
        &self,
        request: Request<ResumeAccountRequest>,
    ) -> Result<Response<ResumeAccountReply>, Status> {
        accounts::resume(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn list_items(
        &self,
        request: Request<ListItemsRequest>,
    ) -> Result<Response<ListItemsReply>, Status> {
        items::list(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn approve_item(&self, request: Request<DecideItemRequest>) -> Result<Response<ItemReply>, Status> {
        items::say(&self.0, Word::Approve, request.into_inner()).await.map(Response::new)
    }

    async fn reject_item(&self, request: Request<DecideItemRequest>) -> Result<Response<ItemReply>, Status> {
        items::say(&self.0, Word::Reject, request.into_inner()).await.map(Response::new)
    }

    async fn list_budgets(
        &self,
        _request: Request<ListBudgetsRequest>,
    ) -> Result<Response<ListBudgetsReply>, Status> {
        budgets::list(&self.0).await.map(Response::new)
    }

    async fn raise_budget(
        &self,
        request: Request<RaiseBudgetRequest>,
    ) -> Result<Response<RaiseBudgetReply>, Status> {
        budgets::raise(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        logs::stream(&self.0, request.into_inner()).await.map(Response::new)
    }
}

impl Service {
    async fn set_paused(&self, paused: bool) -> Result<(), Status> {
        self.0.store.set_paused(paused, self.0.now()).await.map_err(|error| unavailable(&error))?;
        tracing::info!(paused, "an operator set the pause");
        self.0.wake();
        Ok(())
    }
}

/// Why a job does not do what a person asked of it, in their words.
fn refusal(illegal: &IllegalEvent) -> String {
    let IllegalEvent::WrongState { job, status, event } = illegal else { return illegal.to_string() };
    let may = if *event == Event::CancelRequested.name() {
        "only what is queued or runs can be cancelled"
    } else if *event == Event::Retried.name() {
        "only what failed or was cancelled can be retried, `orch enqueue` makes a new job"
    } else {
        return illegal.to_string();
    };
    format!("job {job} is {} already: {may}", status.as_str())
}

impl From<NotMoved> for Status {
    fn from(not_moved: NotMoved) -> Self {
        match not_moved {
            NotMoved::NotFound(_) => Self::not_found(not_moved.to_string()),
            NotMoved::Illegal(illegal) => Self::failed_precondition(refusal(&illegal)),
            NotMoved::Contended(_) | NotMoved::Store(_) => unavailable(&not_moved),
        }
    }
}
