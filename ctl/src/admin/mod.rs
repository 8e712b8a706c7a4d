//! The commands that ask the scheduler: one module per thing asked about.
//!
//! Here is how it is asked, and what its refusals mean to the person at the terminal.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod breakers;
pub(crate) mod budgets;
pub(crate) mod items;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod queue;
pub(crate) mod requeue;
pub(crate) mod runners;

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use clap::Args;
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use service::grpc::{ActsAs, MESSAGE_BYTES_MAX, SendActor};
use service::settings::{CaSettings, SchedulerAddrSettings, SchedulerEndpointSettings, TlsSettings};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::ca::own_credentials;
use crate::exit::Failure;

/// How long the scheduler may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the scheduler is, and how it is talked to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Scheduler")]
pub(crate) struct SchedulerAccess {
    #[command(flatten)]
    endpoint: SchedulerEndpointSettings,
    #[command(flatten)]
    addr: SchedulerAddrSettings,
    #[command(flatten)]
    tls: TlsSettings,
    /// Who acts, for the audit
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
    #[command(flatten)]
    ca: CaSettings,
}

impl SchedulerAccess {
    /// A way to ask; connects at the first question.
    pub(crate) fn open(&self) -> Result<Admin, Failure> {
        let tls = own_credentials(&self.ca, &self.tls)?;
        let url = self.endpoint.url_or(self.addr.scheduler_addr, &tls);
        Admin::of(url, &tls, ActsAs { by: self.actor.clone(), via: "cli", from: None })
    }
}

type Client = AdminServiceClient<InterceptedService<Channel, SendActor>>;

/// The scheduler's admin service.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    client: Client,
    url: String,
}

impl Admin {
    /// The admin service at a URL.
    pub(crate) fn at(url: String, tls: &TlsSettings) -> Result<Self, Failure> {
        Self::of(url, tls, ActsAs { via: "cli", ..ActsAs::default() })
    }

    fn of(url: String, tls: &TlsSettings, who: ActsAs) -> Result<Self, Failure> {
        let channel = service::grpc::channel(&url, tls)?;
        let client = AdminServiceClient::with_interceptor(channel, SendActor(who))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { client, url })
    }

    /// The client to build a question with.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks.
    pub(crate) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match service::grpc::call(ANSWER_TIMEOUT, question).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.refused(&status)),
        }
    }

    /// How many jobs run.
    pub(crate) async fn running(&self) -> Result<u64, Failure> {
        let queue = self.ask(self.client().get_queue(v1::GetQueueRequest {})).await?;
        Ok(queue.counts.unwrap_or_default().running)
    }

    /// What a refusal means.
    pub(crate) fn refused(&self, status: &Status) -> Failure {
        let reason = status.message();
        // A status with a source was made on this side: the connection broke in the middle of an answer.
        let code = if status.source().is_some() { Code::Unavailable } else { status.code() };
        match code {
            Code::InvalidArgument | Code::OutOfRange => Failure::Usage(reason.to_owned()),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Failure::Unreachable(format!(
                "could not reach the scheduler at {}: {reason}; start everything with `orch dev`, or the scheduler \
                 alone with `orch-scheduler`, or say where it is with ORCH_SCHEDULER_URL",
                self.url
            )),
            Code::Unimplemented => Failure::No(format!(
                "the scheduler at {} is another version and does not know this",
                self.url
            )),
            Code::Ok
            | Code::Unknown
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Failure::No(reason.to_owned()),
        }
    }
}
