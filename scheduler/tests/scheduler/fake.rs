//! A runner node without agents: it answers as told, keeps what it was asked, and streams the logs a test writes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use domain::log::LogPiece;
use domain::{Outcome, RunId, RunState};
use proto::convert;
use proto::v1::runner_service_server::{RunnerService, RunnerServiceServer};
use proto::v1::{
    AckReply, AckRequest, CancelReply, CancelRequest, DrainReply, DrainRequest, Heartbeat, HeldRun,
    InfoReply, InfoRequest, LaunchReply, LaunchRequest, LaunchStatus, ListReply, ListRequest,
    NodeDescription, PreflightReport, RegisterReply, RegisterRequest, RenewReply, RenewRequest, RunKey,
    RunPhase, StartReply, StartRequest, StartStatus, WatchFrame, WatchRequest, watch_frame,
};
use service::server::{self, Limits};
use service::{Clock, Tasks};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::stack::{Stack, eventually};

/// How often a watch looks for something new, and how often it says that it lives.
const BEAT: Duration = Duration::from_millis(20);

/// What the node was asked and what it has to say.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Answers to the next Launches; accepted when there is none.
    pub(crate) answers: VecDeque<Result<LaunchStatus, Status>>,
    pub(crate) launches: Vec<LaunchRequest>,
    /// Run and offset of every Watch.
    pub(crate) watches: Vec<(RunId, u64)>,
    pub(crate) acks: Vec<RunId>,
    pub(crate) cancels: Vec<RunId>,
    pub(crate) drained: bool,
    /// The next Launch is answered as one of a run that is over.
    pub(crate) gave_up: bool,
    /// Its preflights fail.
    pub(crate) broken: bool,
    /// Outcomes come without the run's token.
    pub(crate) forges: bool,
    /// Watches send nothing at all.
    pub(crate) mute: bool,
    /// Counts up to cut every open watch.
    pub(crate) cuts: u32,
    runs: BTreeMap<RunId, Output>,
}

impl State {
    /// The token of a run that was offered here.
    fn token_of(&self, run: RunId) -> String {
        if self.forges {
            return String::new();
        }
        let mut keys = self.launches.iter().filter_map(|launch| launch.run.as_ref());
        keys.rfind(|key| id_of(key) == run).map(|key| key.token.clone()).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default)]
struct Output {
    pieces: Vec<LogPiece>,
    outcome: Option<Outcome>,
}

/// A node: its gRPC service, and its side of the scheduler's.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) incarnation: i64,
    pub(crate) boot_id: String,
    pub(crate) session: String,
    pub(crate) slots: u32,
    pub(crate) state: Arc<Mutex<State>>,
    url: String,
    clock: Clock,
    store: Arc<dyn Store>,
    tasks: Tasks,
}

impl Node {
    /// Serves, and registers with the scheduler.
    pub(crate) async fn start(stack: &Stack, id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tasks = Tasks::new();
        let node = Self {
            id: id.to_owned(),
            incarnation: 1,
            boot_id: "boot-1".to_owned(),
            session: "session-1".to_owned(),
            slots: 8,
            state: Arc::default(),
            url: format!("http://{}", listener.local_addr().unwrap()),
            clock: stack.clock.clone(),
            store: stack.store.clone(),
            tasks: tasks.clone(),
        };
        let app = Routes::new(RunnerServiceServer::new(node.clone())).into_axum_router();
        let serving = tasks.clone();
        tasks.spawn(
            "node",
            async move { server::serve(listener, app, Limits::default(), None, &serving).await },
        );
        node.register(stack, &[]).await.unwrap();
        node
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn description(&self) -> NodeDescription {
        NodeDescription {
            node_id: self.id.clone(),
            incarnation: self.incarnation,
            boot_id: self.boot_id.clone(),
            advertise_url: self.url.clone(),
            slots: self.slots,
            labels: Vec::new(),
            account: "default".to_owned(),
            draining: false,
            preflight: Some(self.preflight()),
            containment: None,
        }
    }

    fn preflight(&self) -> PreflightReport {
        let checked_at_ms = self.clock.now_ms();
        let ok = !self.state().broken;
        let error = (!ok).then(|| "the fake is broken".to_owned());
        PreflightReport {
            ok,
            version: Some("fake".to_owned()),
            checked_at_ms,
            error,
            ..PreflightReport::default()
        }
    }

    pub(crate) async fn register(&self, stack: &Stack, held: &[HeldRun]) -> Result<RegisterReply, Status> {
        let request = RegisterRequest {
            node: Some(self.description()),
            held: held.to_vec(),
            session: self.session.clone(),
        };
        stack.scheduler().register(request).await.map(Response::into_inner)
    }

    pub(crate) async fn renew(
        &self,
        stack: &Stack,
        number: u64,
        held: &[HeldRun],
    ) -> Result<RenewReply, Status> {
        let request = RenewRequest {
            node_id: self.id.clone(),
            incarnation: self.incarnation,
            session: self.session.clone(),
            number,
            held: held.to_vec(),
            draining: false,
            preflight: Some(self.preflight()),
            containment: None,
        };
        stack.scheduler().renew(request).await.map(Response::into_inner)
    }

    pub(crate) async fn ask_start(&self, stack: &Stack, run: &RunKey) -> Result<StartReply, Status> {
        let request = StartRequest {
            run: Some(run.clone()),
            node_id: self.id.clone(),
            incarnation: self.incarnation,
            session: self.session.clone(),
        };
        stack.scheduler().start(request).await.map(Response::into_inner)
    }

    /// Waits for the `count`-th Launch from the start.
    pub(crate) async fn launched(&self, count: usize) -> LaunchRequest {
        eventually("a launch", async || self.state().launches.get(count - 1).cloned()).await
    }

    /// Waits for the `count`-th Launch and starts it.
    pub(crate) async fn started(&self, stack: &Stack, count: usize) -> RunKey {
        let run = self.launched(count).await.run.unwrap();
        assert_eq!(self.ask_start(stack, &run).await.unwrap().status(), StartStatus::Ok);
        run
    }

    pub(crate) fn prints(&self, run: &RunKey, piece: LogPiece) {
        self.state().runs.entry(id_of(run)).or_default().pieces.push(piece);
    }

    pub(crate) fn ends(&self, run: &RunKey, outcome: Outcome) {
        self.state().runs.entry(id_of(run)).or_default().outcome = Some(outcome);
    }

    pub(crate) async fn acked(&self, run: &RunKey) {
        let run = id_of(run);
        eventually("an ack", async || self.state().acks.contains(&run).then_some(())).await;
    }

    async fn watch_to_the_end(
        self,
        run: RunId,
        offset: u64,
        frames: mpsc::Sender<Result<WatchFrame, Status>>,
    ) {
        let cuts = self.state().cuts;
        let mut next = offset;
        loop {
            let (output, mute, cut, token) = {
                let state = self.state();
                let output = state.runs.get(&run).cloned().unwrap_or_default();
                (output, state.mute, state.cuts > cuts, state.token_of(run))
            };
            if cut || frames.is_closed() {
                return;
            }
            let mut to_send = Vec::new();
            if !mute {
                let sent = next;
                for piece in output.pieces.into_iter().filter(|piece| piece.end() > sent) {
                    next = piece.end();
                    to_send.push(convert::log_frame(piece));
                }
                let last = output
                    .outcome
                    .map(|outcome| watch_frame::Frame::Outcome(convert::outcome_frame(&outcome, &token)));
                let beat = Heartbeat { phase: RunPhase::Started.into(), progress_json: None };
                to_send.push(WatchFrame { frame: Some(last.unwrap_or(watch_frame::Frame::Heartbeat(beat))) });
            }
            for frame in to_send {
                let is_last = matches!(frame.frame, Some(watch_frame::Frame::Outcome(_)));
                if frames.send(Ok(frame)).await.is_err() || is_last {
                    return;
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    }
}

#[tonic::async_trait]
impl RunnerService for Node {
    type WatchStream = ReceiverStream<Result<WatchFrame, Status>>;

    async fn launch(&self, request: Request<LaunchRequest>) -> Result<Response<LaunchReply>, Status> {
        let mut state = self.state();
        state.launches.push(request.into_inner());
        let status = state.answers.pop_front().unwrap_or(Ok(LaunchStatus::Accepted))?;
        let phase = if std::mem::take(&mut state.gave_up) { RunPhase::Ended } else { RunPhase::Offered };
        Ok(Response::new(LaunchReply { status: status.into(), phase: phase.into() }))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let (run, _) = convert::read_run_key(request.run.as_ref())?;
        self.state().watches.push((run, request.offset));
        let (frames, receiver) = mpsc::channel(4);
        self.tasks.spawn("watch", self.clone().watch_to_the_end(run, request.offset, frames));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<AckReply>, Status> {
        let (run, _) = convert::read_run_key(request.into_inner().run.as_ref())?;
        let row = self.store.run(run).await.unwrap().unwrap();
        // The one thing an Ack promises; the scheduler would ask again, so the test would wait in vain.
        if row.state != RunState::Ended {
            return Err(Status::internal("acknowledged before the commit"));
        }
        self.state().acks.push(run);
        Ok(Response::new(AckReply {}))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelReply>, Status> {
        let (run, _) = convert::read_run_key(request.into_inner().run.as_ref())?;
        self.state().cancels.push(run);
        Ok(Response::new(CancelReply { held: true }))
    }

    async fn drain(&self, _request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        self.state().drained = true;
        Ok(Response::new(DrainReply { live: 3 }))
    }

    async fn list(&self, _request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        Ok(Response::new(ListReply { runs: Vec::new() }))
    }

    async fn info(&self, _request: Request<InfoRequest>) -> Result<Response<InfoReply>, Status> {
        Ok(Response::new(InfoReply { node: Some(self.description()), runs: Vec::new() }))
    }
}

pub(crate) fn id_of(run: &RunKey) -> RunId {
    convert::read_run_id(&run.run_id).unwrap()
}

pub(crate) fn held(run: &RunKey, phase: RunPhase) -> HeldRun {
    HeldRun { run: Some(run.clone()), job_id: 0, phase: phase.into() }
}

pub(crate) fn bytes(offset: u64, text: &str) -> LogPiece {
    LogPiece::Bytes { offset, bytes: text.as_bytes().to_vec() }
}
