//! `AdminService`: what people and scripts ask. Every verb decides through `domain` and writes through the store, and who
//! changed something is kept in the audit.

mod accounts;
mod acting;
mod budgets;
mod details;
mod items;
mod jobs;
mod live;
mod logs;
mod pauses;
mod runners;
mod watch;

use std::sync::Arc;

use domain::work_item::decision::Word;
use domain::{Event, IllegalEvent};
use proto::convert;
use proto::v1::admin_service_server::AdminService;
use proto::v1::{
    CancelJobRequest, DecideItemRequest, DrainRunnerReply, DrainRunnerRequest, EnqueueReply, EnqueueRequest,
    GetJobRequest, GetQueueRequest, ItemReply, JobDetail, JobEvent, JobReply, ListAccountsReply,
    ListAccountsRequest, ListAuditReply, ListAuditRequest, ListBreakersReply, ListBreakersRequest,
    ListBudgetsReply, ListBudgetsRequest, ListItemsReply, ListItemsRequest, ListJobsReply, ListJobsRequest,
    ListLiveReply, ListLiveRequest, ListRunnersReply, ListRunnersRequest, LogFrame, LoseRunnerReply,
    LoseRunnerRequest, PauseReply, PauseRequest, QueueReply, RaiseBudgetReply, RaiseBudgetRequest,
    ResetBreakerReply, ResetBreakerRequest, ResumeAccountReply, ResumeAccountRequest, ResumeReply,
    ResumeRequest, RetryJobRequest, RetryJobsReply, RetryJobsRequest, StreamLogsRequest, WatchJobsRequest,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use self::acting::Acting;
use self::details::answer;
use crate::grpc::unavailable;
use crate::moves::NotMoved;
use crate::shared::Shared;

/// Serves the console and the command line.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl AdminService for Service {
    type StreamLogsStream = ReceiverStream<Result<LogFrame, Status>>;
    type WatchStream = ReceiverStream<Result<JobEvent, Status>>;

    async fn get_queue(&self, _request: Request<GetQueueRequest>) -> Result<Response<QueueReply>, Status> {
        let now = self.0.now();
        let overview = self.0.store.overview(now).await.map_err(|error| unavailable(&error));
        answer("GetQueue", overview.map(|overview| convert::queue(&overview, self.0.queue, now)))
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsReply>, Status> {
        answer("ListJobs", jobs::list(&self.0, request.into_inner()).await)
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<JobDetail>, Status> {
        answer("GetJob", jobs::detail(&self.0, request.into_inner()).await)
    }

    async fn enqueue(&self, request: Request<EnqueueRequest>) -> Result<Response<EnqueueReply>, Status> {
        let subject = format!("{} {}", request.get_ref().project, request.get_ref().stage);
        let acting = Acting::new(&self.0, &request, "enqueue", &subject);
        let made = |reply: &EnqueueReply| Some(format!("job {}", reply.id));
        let done = acting.keep_noting(jobs::enqueue(&self.0, request.into_inner()), made).await;
        answer("Enqueue", done)
    }

    async fn cancel_job(&self, request: Request<CancelJobRequest>) -> Result<Response<JobReply>, Status> {
        let acting = Acting::new(&self.0, &request, "cancel", &request.get_ref().id.to_string());
        let done = acting.keep(jobs::cancel(&self.0, request.into_inner())).await;
        answer("CancelJob", done)
    }

    async fn retry_job(&self, request: Request<RetryJobRequest>) -> Result<Response<JobReply>, Status> {
        let acting = Acting::new(&self.0, &request, "retry", &request.get_ref().id.to_string());
        let done = acting.keep(jobs::retry(&self.0, request.into_inner())).await;
        answer("RetryJob", done)
    }

    async fn retry_jobs(
        &self,
        request: Request<RetryJobsRequest>,
    ) -> Result<Response<RetryJobsReply>, Status> {
        if request.get_ref().dry_run {
            return answer("RetryJobs", jobs::retry_many(&self.0, request.into_inner()).await);
        }
        let acting = Acting::new(&self.0, &request, "retry many", &jobs::filter_in_words(request.get_ref()));
        let done = |reply: &RetryJobsReply| Some(format!("{} queued again", reply.retried));
        let done = acting.keep_noting(jobs::retry_many(&self.0, request.into_inner()), done).await;
        answer("RetryJobs", done)
    }

    async fn list_live(&self, _request: Request<ListLiveRequest>) -> Result<Response<ListLiveReply>, Status> {
        answer("ListLive", Ok(live::list(&self.0)))
    }

    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditReply>, Status> {
        answer("ListAudit", acting::list(&self.0, request.into_inner()).await)
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Result<Response<PauseReply>, Status> {
        let PauseRequest { project, stage } = request.get_ref().clone();
        let acting =
            Acting::new(&self.0, &request, "pause", &pauses::subject(project.as_deref(), stage.as_deref()));
        let done = acting
            .keep(async { pauses::set(&self.0, project, stage, true).await.map(|()| PauseReply {}) })
            .await;
        answer("Pause", done)
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Result<Response<ResumeReply>, Status> {
        let ResumeRequest { project, stage } = request.get_ref().clone();
        let acting =
            Acting::new(&self.0, &request, "resume", &pauses::subject(project.as_deref(), stage.as_deref()));
        let done = acting
            .keep(async { pauses::set(&self.0, project, stage, false).await.map(|()| ResumeReply {}) })
            .await;
        answer("Resume", done)
    }

    async fn list_runners(
        &self,
        _request: Request<ListRunnersRequest>,
    ) -> Result<Response<ListRunnersReply>, Status> {
        answer("ListRunners", runners::list(&self.0).await)
    }

    async fn drain_runner(
        &self,
        request: Request<DrainRunnerRequest>,
    ) -> Result<Response<DrainRunnerReply>, Status> {
        let acting = Acting::new(&self.0, &request, "drain", &request.get_ref().node);
        let done = acting.keep(runners::drain(&self.0, request.into_inner())).await;
        answer("DrainRunner", done)
    }

    async fn lose_runner(
        &self,
        request: Request<LoseRunnerRequest>,
    ) -> Result<Response<LoseRunnerReply>, Status> {
        let acting = Acting::new(&self.0, &request, "lose runner", &request.get_ref().node);
        let done = acting.keep(runners::lose(&self.0, request.into_inner())).await;
        answer("LoseRunner", done)
    }

    async fn list_breakers(
        &self,
        _request: Request<ListBreakersRequest>,
    ) -> Result<Response<ListBreakersReply>, Status> {
        answer("ListBreakers", accounts::breakers(&self.0).await)
    }

    async fn reset_breaker(
        &self,
        request: Request<ResetBreakerRequest>,
    ) -> Result<Response<ResetBreakerReply>, Status> {
        let acting = Acting::new(&self.0, &request, "reset breaker", &request.get_ref().account);
        let done = acting.keep(accounts::reset_breaker(&self.0, request.into_inner())).await;
        answer("ResetBreaker", done)
    }

    async fn list_accounts(
        &self,
        _request: Request<ListAccountsRequest>,
    ) -> Result<Response<ListAccountsReply>, Status> {
        answer("ListAccounts", accounts::list(&self.0).await)
    }

    async fn resume_account(
        &self,
        request: Request<ResumeAccountRequest>,
    ) -> Result<Response<ResumeAccountReply>, Status> {
        let acting = Acting::new(&self.0, &request, "resume account", &request.get_ref().account);
        let done = acting.keep(accounts::resume(&self.0, request.into_inner())).await;
        answer("ResumeAccount", done)
    }

    async fn list_items(
        &self,
        request: Request<ListItemsRequest>,
    ) -> Result<Response<ListItemsReply>, Status> {
        answer("ListItems", items::list(&self.0, request.into_inner()).await)
    }

    async fn approve_item(&self, request: Request<DecideItemRequest>) -> Result<Response<ItemReply>, Status> {
        let acting = Acting::new(&self.0, &request, "approve", &request.get_ref().item);
        let actor = acting.actor();
        let done = acting.keep_refusal(items::say(&self.0, Word::Approve, actor, request.into_inner())).await;
        answer("ApproveItem", done)
    }

    async fn reject_item(&self, request: Request<DecideItemRequest>) -> Result<Response<ItemReply>, Status> {
        let acting = Acting::new(&self.0, &request, "reject", &request.get_ref().item);
        let actor = acting.actor();
        let done = acting.keep_refusal(items::say(&self.0, Word::Reject, actor, request.into_inner())).await;
        answer("RejectItem", done)
    }

    async fn list_budgets(
        &self,
        _request: Request<ListBudgetsRequest>,
    ) -> Result<Response<ListBudgetsReply>, Status> {
        answer("ListBudgets", budgets::list(&self.0).await)
    }

    async fn raise_budget(
        &self,
        request: Request<RaiseBudgetRequest>,
    ) -> Result<Response<RaiseBudgetReply>, Status> {
        let subject = format!("{} {}", request.get_ref().scope, request.get_ref().key);
        let acting = Acting::new(&self.0, &request, "raise", &subject);
        let actor = acting.actor();
        let done = acting.keep_refusal(budgets::raise(&self.0, actor, request.into_inner())).await;
        answer("RaiseBudget", done)
    }

    async fn stream_logs(
        &self,
        request: Request<StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        answer("StreamLogs", logs::stream(&self.0, request.into_inner()).await)
    }

    async fn watch(&self, request: Request<WatchJobsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        answer("Watch", watch::stream(&self.0, request.into_inner()))
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
