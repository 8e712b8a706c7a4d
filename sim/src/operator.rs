//! A person at the command line, who says what the scenario has them say and tries again when nobody answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::JobId;
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::runner_service_client::RunnerServiceClient;
use proto::v1::stream_logs_request::Of;
use proto::v1::{
    CancelJobRequest, DrainRequest, DrainRunnerRequest, ListAccountsRequest, ListRunnersRequest,
    LoseRunnerRequest, PauseRequest, ResumeAccountRequest, ResumeRequest, RetryJobRequest, StreamLogsRequest,
};
use service::grpc;
use service::settings::TlsSettings;
use tokio::sync::Notify;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::database::later;

/// How long one command waits for its answer.
pub(crate) const WITHIN: Duration = Duration::from_secs(5);
/// How often a command is given.
const TRIES: u32 = 5;
/// How slowly a log is read.
const PAUSE: Duration = Duration::from_millis(700);

/// What is wanted.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Cancel(JobId),
    Retry(JobId),
    Drain(String),
    /// Ends what still runs on the runner at this address after a second.
    DrainNow(String),
    Lose(String),
    Pause(bool),
    ReadSlowly(JobId),
    /// Ends every pause, resumes every held account, and sees which runners are drained, from now on.
    KeepResuming,
}

/// What the operator still has to say.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    waiting: Mutex<VecDeque<Order>>,
    wake: Notify,
    drained: Mutex<Vec<String>>,
}

impl Orders {
    pub(crate) fn give(&self, order: Order) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        self.wake.notify_one();
    }

    /// The runners that were seen drained since this was asked last: each takes work again only when it is started anew.
    pub(crate) fn take_drained(&self) -> Vec<String> {
        std::mem::take(&mut *self.drained.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return order;
            }
            self.wake.notified().await;
        }
    }
}

/// The operator's host.
pub(crate) async fn serve(orders: Arc<Orders>, url: String) -> turmoil::Result {
    let tls = TlsSettings { allow_plaintext: true, ..TlsSettings::default() };
    let admin = AdminServiceClient::new(grpc::channel(&url, &tls)?);
    loop {
        let order = orders.next().await;
        later(insist(admin.clone(), order, orders.clone()));
    }
}

/// Gives one order until it is answered, a few times.
async fn insist(mut admin: AdminServiceClient<Channel>, order: Order, orders: Arc<Orders>) {
    // What is true now may not be true later.
    let tries = if matches!(order, Order::Lose(_)) { 1 } else { TRIES };
    for _ in 0..tries {
        match obey(&mut admin, &order, &orders).await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok(()) | Err(_) => break,
        }
    }
    if matches!(order, Order::KeepResuming) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        orders.give(order);
    }
}

async fn obey(admin: &mut AdminServiceClient<Channel>, order: &Order, orders: &Orders) -> Result<(), Status> {
    match order.clone() {
        Order::Cancel(job) => {
            grpc::call(WITHIN, admin.cancel_job(CancelJobRequest { id: job.0 })).await.map(drop)
        }
        Order::Retry(job) => {
            grpc::call(WITHIN, admin.retry_job(RetryJobRequest { id: job.0 })).await.map(drop)
        }
        Order::Drain(node) => {
            grpc::call(WITHIN, admin.drain_runner(DrainRunnerRequest { node })).await.map(drop)
        }
        Order::DrainNow(url) => drain_now(&url).await,
        Order::Lose(node) => {
            grpc::call(WITHIN, admin.lose_runner(LoseRunnerRequest { node })).await.map(drop)
        }
        Order::Pause(true) => grpc::call(WITHIN, admin.pause(PauseRequest::default())).await.map(drop),
        Order::Pause(false) => grpc::call(WITHIN, admin.resume(ResumeRequest::default())).await.map(drop),
        Order::ReadSlowly(job) => read_slowly(admin, job).await,
        Order::KeepResuming => resume(admin, orders).await,
    }
}

async fn drain_now(url: &str) -> Result<(), Status> {
    let tls = TlsSettings { allow_plaintext: true, ..TlsSettings::default() };
    let channel = grpc::channel(url, &tls).map_err(|refused| Status::internal(refused.to_string()))?;
    let request = DrainRequest { deadline_ms: Some(1000) };
    grpc::call(WITHIN, RunnerServiceClient::new(channel).drain(request)).await.map(drop)
}

async fn read_slowly(admin: &mut AdminServiceClient<Channel>, job: JobId) -> Result<(), Status> {
    let request = StreamLogsRequest { of: Some(Of::JobId(job.0)), follow: true, tail_bytes: None };
    let mut frames = grpc::call(WITHIN, admin.stream_logs(request)).await?.into_inner();
    for _ in 0..TRIES {
        tokio::time::sleep(PAUSE).await;
        // A person who sees nothing for a while goes away.
        let Ok(Ok(Some(_))) = tokio::time::timeout(WITHIN, frames.message()).await else { return Ok(()) };
    }
    Ok(())
}

async fn resume(admin: &mut AdminServiceClient<Channel>, orders: &Orders) -> Result<(), Status> {
    // A pause or a drain that was tried for long may come after its end.
    grpc::call(WITHIN, admin.resume(ResumeRequest::default())).await?;
    let runners = grpc::call(WITHIN, admin.list_runners(ListRunnersRequest {})).await?.into_inner().runners;
    let drained = runners.into_iter().filter(|runner| runner.state == "draining").map(|runner| runner.id);
    orders.drained.lock().unwrap_or_else(PoisonError::into_inner).extend(drained);
    let accounts = grpc::call(WITHIN, admin.list_accounts(ListAccountsRequest {})).await?.into_inner();
    for account in accounts.accounts.into_iter().filter(|account| account.held_reason.is_some()) {
        let request = ResumeAccountRequest { account: account.account };
        grpc::call(WITHIN, admin.resume_account(request)).await?;
    }
    Ok(())
}
