//! The runner's gRPC service: reads the messages and hands them to the node.

use std::sync::Arc;
use std::time::Duration;

use domain::containment::{Destination, Tier};
use domain::{Incarnation, JobId};
use proto::convert::{Malformed, read_repository, read_run_key, read_run_steps};
use proto::v1::runner_service_server::RunnerService;
use proto::v1::{
    AckReply, AckRequest, CancelReply, CancelRequest, DrainReply, DrainRequest, InfoReply, InfoRequest,
    LaunchReply, LaunchRequest, LaunchStatus, ListReply, ListRequest, RunKey, RunPhase, WatchFrame,
    WatchRequest,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::node::{self, Held, Node};
use crate::run_dir::{Assignment, RunDir};
use crate::shim::Wish;
use crate::watch;

/// `orch.v1.RunnerService` on a node.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    node: Arc<Node>,
}

impl Rpc {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The run of a key that must be held here.
    fn held(&self, key: Option<&RunKey>) -> Result<Arc<Held>, Status> {
        let (run, epoch) = read_run_key(key)?;
        self.node.find(run, epoch).ok_or_else(|| Status::not_found(format!("run {run} is not held here")))
    }
}

#[tonic::async_trait]
impl RunnerService for Rpc {
    async fn launch(&self, request: Request<LaunchRequest>) -> Result<Response<LaunchReply>, Status> {
        let request = request.into_inner();
        let incarnation = Incarnation(request.incarnation);
        let nonce = self.node.options.random.id().simple().to_string();
        let assignment = read_assignment(request, nonce)?;
        let reply = |status: LaunchStatus, phase: RunPhase| {
            Ok(Response::new(LaunchReply { status: status.into(), phase: phase.into() }))
        };
        let held = match self.node.offer(incarnation, &assignment) {
            Ok(held) => held,
            Err((status, phase)) => return reply(status, phase),
        };
        tracing::info!(run.id = %held.assignment.run, job.id = %held.assignment.job, "offered");
        // A task of its own: this call is cut when its caller goes, and half an acceptance would hold a run for ever.
        let (journaled, accepted) = oneshot::channel();
        let node = self.node.clone();
        let accepting = async move {
            // Nobody may be there any more to be told.
            let _ = journaled.send(accept(&node, held, assignment).await);
        };
        self.node.tasks.spawn("launch", accepting.in_current_span());
        match accepted.await {
            Ok(Ok(())) => reply(LaunchStatus::Accepted, RunPhase::Offered),
            Ok(Err(error)) => Err(Status::unavailable(format!("could not journal the offer: {error}"))),
            Err(_) => Err(Status::unavailable("the offer was not journaled")),
        }
    }

    type WatchStream = ReceiverStream<Result<WatchFrame, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let held = self.held(request.run.as_ref())?;
        let (frames, stream) = mpsc::channel(watch::FRAMES_MAX);
        self.node.tasks.spawn("watch", watch::send(self.node.clone(), held, request.offset, frames));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<AckReply>, Status> {
        let (run, epoch) = read_run_key(request.get_ref().run.as_ref())?;
        if let Some(held) = self.node.find(run, epoch) {
            if held.phase() != RunPhase::Ended {
                return Err(Status::failed_precondition(format!("run {run} has no outcome to acknowledge")));
            }
            let forgotten = self.node.forget(&held).await;
            forgotten.map_err(|error| {
                Status::unavailable(format!("could not remove the run's folder: {error}"))
            })?;
        }
        Ok(Response::new(AckReply {}))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelReply>, Status> {
        let (run, epoch) = read_run_key(request.get_ref().run.as_ref())?;
        let held = self.node.find(run, epoch);
        if let Some(held) = &held {
            held.wish(Wish::Cancel);
        }
        Ok(Response::new(CancelReply { held: held.is_some() }))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        self.node.drain();
        if let Some(deadline_ms) = request.get_ref().deadline_ms {
            let (node, stop) = (self.node.clone(), self.node.tasks.token());
            let wait = Duration::from_millis(u64::try_from(deadline_ms).unwrap_or(0));
            self.node.tasks.spawn("drain", async move {
                if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
                    node.end_all();
                }
            });
        }
        let live = u32::try_from(self.node.live()).unwrap_or(u32::MAX);
        Ok(Response::new(DrainReply { live }))
    }

    async fn list(&self, _request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        Ok(Response::new(ListReply { runs: self.node.listed() }))
    }

    async fn info(&self, _request: Request<InfoRequest>) -> Result<Response<InfoReply>, Status> {
        // A scheduler that has just started asks: it may not wait for the next renew to hear the rest.
        self.node.renew_soon.notify_one();
        Ok(Response::new(InfoReply { node: Some(self.node.description()), runs: self.node.listed() }))
    }
}

/// Journals an offer that was decided on and begins to ask for its start; an offer that cannot be journaled is let go.
async fn accept(node: &Arc<Node>, held: Arc<Held>, assignment: Assignment) -> std::io::Result<()> {
    let runs = node.identity.runs();
    if let Err(error) = service::blocking(move || RunDir::create(&runs, &assignment)).await {
        tracing::error!(run.id = %held.assignment.run, %error, "could not journal an offer");
        // It may be there in part; what cannot be removed now goes at the next start.
        let _ = node.forget(&held).await;
        return Err(error);
    }
    node::begin_start(node, held);
    Ok(())
}

/// A word that this version does not know is refused: it may ask for more than is known here.
fn read_tier(word: &str) -> Result<Tier, Malformed> {
    if word.is_empty() {
        return Ok(Tier::Environment);
    }
    Tier::parse(word).ok_or(Malformed { field: "tier", problem: "is of another version" })
}

fn read_egress(texts: &[String]) -> Result<Vec<Destination>, Malformed> {
    let read = |text: &String| {
        Destination::parse(text).map_err(|_| Malformed { field: "egress", problem: "is not HOST:PORT" })
    };
    texts.iter().map(read).collect()
}

fn read_assignment(request: LaunchRequest, nonce: String) -> Result<Assignment, Malformed> {
    let (run, epoch) = read_run_key(request.run.as_ref())?;
    let token = request.run.map(|run| run.token).unwrap_or_default();
    let spec = request.spec.ok_or(Malformed { field: "spec", problem: "is missing" })?;
    let limits = [
        ("max_runtime_ms", spec.max_runtime_ms),
        ("idle_ms", spec.idle_ms),
        ("idle_in_tool_ms", spec.idle_in_tool_ms),
    ];
    if let Some((field, _)) = limits.into_iter().find(|(_, limit_ms)| *limit_ms <= 0) {
        return Err(Malformed { field, problem: "must be above zero" });
    }
    let repository = read_repository(spec.repository)?;
    Ok(Assignment {
        run,
        epoch,
        job: JobId(spec.job_id),
        nonce,
        token,
        project: spec.project,
        work_item: spec.work_item,
        prompt: spec.prompt,
        model: spec.model,
        max_turns: spec.max_turns,
        max_runtime_ms: spec.max_runtime_ms,
        idle_ms: spec.idle_ms,
        idle_in_tool_ms: spec.idle_in_tool_ms,
        trace_context: spec.trace_context,
        resume_session: spec.resume_session,
        repository,
        steps: read_run_steps(spec.steps)?,
        untrusted: spec.untrusted,
        tier: read_tier(&spec.tier)?,
        egress: read_egress(&spec.egress)?,
    })
}
