//! Runner nodes that spawn nothing: each has a listener and a connection of its own, renews what it holds, takes a Launch and
//! asks for its Start, and prints a line at a steady pace into every log that is watched. Hundreds of them fit into this process.
//!
//! What a scheduler sees of them is a node; what a node keeps on disk, they keep in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::containment::Containment;
use domain::{Epoch, RunId};
use futures::{Stream, stream};
use proto::convert::read_run_id;
use proto::tokens::RunTokens;
use proto::v1::runner_service_server::{RunnerService, RunnerServiceServer};
use proto::v1::scheduler_service_client::SchedulerServiceClient;
use proto::v1::watch_frame::Frame;
use proto::v1::{
    AckReply, AckRequest, CancelReply, CancelRequest, DrainReply, DrainRequest, Heartbeat, HeldRun,
    InfoReply, InfoRequest, LaunchReply, LaunchRequest, LaunchStatus, ListReply, ListRequest, LogChunk,
    NodeDescription, PreflightReport, RegisterRequest, RenewRequest, RunKey, RunPhase, StartRequest,
    StartStatus, WatchFrame, WatchRequest,
};
use service::net::Listener;
use service::server::{self, Limits};
use service::settings::TlsSettings;
use service::{Clock, Tasks, grpc};
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

/// How often a node renews; also what the scheduler is told.
pub(crate) const RENEW: Duration = Duration::from_secs(5);
/// What the tokens of planted runs are made of.
const RUN_SECRET: &str = "7777777777777777777777777777777777777777777777777777777777777777";
const CALL_WITHIN: Duration = Duration::from_secs(5);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(200);
/// Slots a node has beyond the runs it is given at the start.
pub(crate) const SPARE_SLOTS: usize = 2;

/// What the nodes did so far, all together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Streams that are open now.
    pub(crate) watches: AtomicUsize,
    /// Lines printed, and their bytes.
    pub(crate) chunks: AtomicU64,
    pub(crate) chunk_bytes: AtomicU64,
    /// Nodes registered since the last [`Fleet::forget_registered`].
    registered: Mutex<BTreeSet<usize>>,
    /// When each run was launched.
    launches: Mutex<Vec<(Instant, i64)>>,
    renewals: Mutex<Vec<Duration>>,
}

impl Tally {
    pub(crate) fn registered(&self) -> usize {
        lock(&self.registered).len()
    }

    pub(crate) fn forget_registered(&self) {
        lock(&self.registered).clear();
    }

    /// When the first run was launched since.
    pub(crate) fn launched(&self, since: Instant) -> Option<Instant> {
        lock(&self.launches).iter().map(|(at, _)| *at).find(|at| *at >= since)
    }

    /// The times that the renewals took since the last call.
    pub(crate) fn take_renewals(&self) -> Vec<Duration> {
        std::mem::take(&mut *lock(&self.renewals))
    }
}

/// How fast each run prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) line_bytes: usize,
    pub(crate) every: Duration,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) tally: Arc<Tally>,
    tasks: Tasks,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Node {
    number: usize,
    addr: SocketAddr,
    scheduler: SchedulerServiceClient<Channel>,
    held: Mutex<BTreeMap<String, (RunKey, i64)>>,
    slots: usize,
    pace: Pace,
    dead: AtomicBool,
    renew_soon: Notify,
    tally: Arc<Tally>,
    tasks: Tasks,
}

impl Fleet {
    /// Binds `nodes` listeners, each with its runs: `(run id, epoch, job)`. Nothing is said before [`Fleet::begin`].
    pub(crate) async fn bind(
        scheduler: SocketAddr,
        nodes: usize,
        runs: usize,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        let (tasks, tally) = (Tasks::new(), Arc::new(Tally::default()));
        let mut fleet = Self { nodes: Vec::with_capacity(nodes), tally, tasks };
        for number in 0..nodes {
            let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
            let channel = grpc::channel(&format!("http://{scheduler}"), &TlsSettings::default())?;
            let held: BTreeMap<_, _> = (0..runs)
                .filter(|run| run % nodes == number)
                .map(|run| (run_id(run), (planted(run), i64::try_from(run + 1).unwrap_or(i64::MAX))))
                .collect();
            let node = Arc::new(Node {
                number,
                addr: listener.local_addr()?,
                scheduler: SchedulerServiceClient::new(channel),
                slots: held.len() + SPARE_SLOTS,
                held: Mutex::new(held),
                pace,
                dead: AtomicBool::new(false),
                renew_soon: Notify::new(),
                tally: fleet.tally.clone(),
                tasks: fleet.tasks.clone(),
            });
            let app = Routes::new(RunnerServiceServer::new(Rpc(node.clone()))).into_axum_router();
            let serving = fleet.tasks.clone();
            fleet.tasks.spawn("listener", async move {
                server::serve(listener, app, Limits::default(), None, &serving).await;
            });
            fleet.nodes.push(node);
        }
        Ok(fleet)
    }

    /// Has every node register and renew from now on.
    pub(crate) fn begin(&self) {
        for node in &self.nodes {
            let (node, stop) = (node.clone(), self.tasks.token());
            self.tasks.spawn("renew", async move {
                let _ = stop.run_until_cancelled(node.stay_registered()).await;
            });
        }
    }

    /// Ends all of them.
    pub(crate) async fn end(self) {
        self.tasks.stop();
        self.tasks.finished(Duration::from_secs(20)).await;
    }

    /// The rows of a database in which every node holds its runs: what was committed before a scheduler was restarted.
    /// `queued` further jobs are due.
    pub(crate) fn rows(&self, runs: usize, queued: usize) -> String {
        let containment = serde_json::json!(Containment::default());
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| {
                format!(
                    "('{}', 1, 'boot', 'http://{}', 'ready', {}, '[]', 'default', 1, '2.1.330', unixepoch() * 1000, '{containment}',
                      unixepoch() * 1000)",
                    node.id(),
                    node.addr,
                    node.slots
                )
            })
            .collect();
        let nodes_count = self.nodes.len();
        format!(
            "BEGIN;
            UPDATE meta SET run_secret = '{RUN_SECRET}';
            INSERT INTO runners (id, incarnation, boot_id, advertise_url, state, slots, labels, account, preflight_ok,
                                 preflight_version, preflight_checked_at, containment, last_seen_at)
            VALUES {};
            CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {all}) SELECT i,
                i <= {runs} AS live, unixepoch() * 1000 AS at, printf('01900000-0000-7000-8000-%012x', i - 1) AS run FROM n;
            INSERT INTO jobs (id, project, work_item, stage, role, priority, own_prompt, status, due, available_at, epoch, run_id,
                              created_at, updated_at)
            SELECT i, 'shop', 'SHOP-' || i, 'review', 'reviewer', 0, 0, CASE WHEN live THEN 'running' ELSE 'queued' END, NOT live, at,
                   live, CASE WHEN live THEN run END, at, at FROM n;
            INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, started_at)
            SELECT run, i, 1, printf('node-%05d', (i - 1) % {nodes_count}), 1, 'default', 'started', at, at FROM n WHERE live;
            COMMIT;",
            nodes.join(","),
            all = runs + queued,
        )
    }
}

/// A run that was planted, as its node names it.
fn planted(number: usize) -> RunKey {
    let run = read_run_id(&run_id(number)).unwrap_or(RunId(Uuid::nil()));
    RunTokens::new(RUN_SECRET).key(run, Epoch(1))
}

/// The id of a run that was planted.
fn run_id(number: usize) -> String {
    format!("01900000-0000-7000-8000-{number:012x}")
}

impl Node {
    pub(crate) fn id(&self) -> String {
        format!("node-{:05}", self.number)
    }

    /// The jobs whose runs it holds.
    pub(crate) fn jobs(&self) -> Vec<i64> {
        lock(&self.held).values().map(|(_, job)| *job).collect()
    }

    /// From now on it says nothing and answers nothing, as after a cut of the power.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn listed(&self) -> Vec<HeldRun> {
        lock(&self.held)
            .values()
            .map(|(run, job)| HeldRun {
                run: Some(run.clone()),
                job_id: *job,
                phase: RunPhase::Started.into(),
            })
            .collect()
    }

    fn preflight() -> PreflightReport {
        PreflightReport {
            ok: true,
            version: Some("2.1.330 (Claude Code)".to_owned()),
            checked_at_ms: Clock::system().now_ms(),
            ..PreflightReport::default()
        }
    }

    fn description(&self) -> NodeDescription {
        NodeDescription {
            node_id: self.id(),
            incarnation: 1,
            boot_id: "boot".to_owned(),
            advertise_url: format!("http://{}", self.addr),
            slots: u32::try_from(self.slots).unwrap_or(u32::MAX),
            account: "default".to_owned(),
            preflight: Some(Self::preflight()),
            ..NodeDescription::default()
        }
    }

    async fn stay_registered(&self) {
        let mut number = 0;
        // Nodes that were started one after the other do not renew at once.
        let spread = RENEW.mul_f64(f64::from(u32::try_from(self.number % 1000).unwrap_or(0)) / 1000.0);
        loop {
            let request = RegisterRequest {
                node: Some(self.description()),
                held: self.listed(),
                session: "session".to_owned(),
            };
            let mut scheduler = self.scheduler.clone();
            if grpc::call(CALL_WITHIN, scheduler.register(request)).await.is_err() {
                let _ = tokio::time::timeout(AGAIN, self.renew_soon.notified()).await;
                continue;
            }
            lock(&self.tally.registered).insert(self.number);
            tokio::time::sleep(spread).await;
            self.renew(&mut number).await;
        }
    }

    /// Renews until the scheduler does not know the node.
    async fn renew(&self, number: &mut u64) {
        loop {
            if self.is_dead() {
                std::future::pending::<()>().await;
            }
            *number += 1;
            let request = RenewRequest {
                node_id: self.id(),
                incarnation: 1,
                session: "session".to_owned(),
                number: *number,
                held: self.listed(),
                draining: false,
                preflight: Some(Self::preflight()),
                containment: None,
            };
            let (mut scheduler, sent) = (self.scheduler.clone(), Instant::now());
            match grpc::call(CALL_WITHIN, scheduler.renew(request)).await {
                Ok(_) => lock(&self.tally.renewals).push(sent.elapsed()),
                Err(status) if status.code() == Code::FailedPrecondition => return,
                Err(_) => {}
            }
            let _ = tokio::time::timeout(RENEW, self.renew_soon.notified()).await;
        }
    }

    /// Asks to start what was launched, and holds it.
    async fn start(self: Arc<Self>, run: RunKey, job: i64) {
        loop {
            let request = StartRequest {
                run: Some(run.clone()),
                node_id: self.id(),
                incarnation: 1,
                session: "session".to_owned(),
            };
            let mut scheduler = self.scheduler.clone();
            match grpc::call(CALL_WITHIN, scheduler.start(request)).await {
                Ok(reply) if reply.get_ref().status() == StartStatus::Ok => {
                    lock(&self.held).insert(run.run_id.clone(), (run, job));
                    return;
                }
                Ok(_) => return,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

#[derive(Debug)]
struct Rpc(Arc<Node>);

impl Rpc {
    async fn alive(&self) {
        if self.0.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<WatchFrame, Status>> + Send>>;

#[tonic::async_trait]
impl RunnerService for Rpc {
    async fn launch(&self, request: Request<LaunchRequest>) -> Result<Response<LaunchReply>, Status> {
        self.alive().await;
        let request = request.into_inner();
        let run = request.run.unwrap_or_default();
        let job = request.spec.map_or(0, |spec| spec.job_id);
        lock(&self.0.tally.launches).push((Instant::now(), job));
        let node = self.0.clone();
        self.0.tasks.spawn("start", node.start(run, job));
        Ok(Response::new(LaunchReply {
            status: LaunchStatus::Accepted.into(),
            phase: RunPhase::Offered.into(),
        }))
    }

    type WatchStream = Frames;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Frames>, Status> {
        self.alive().await;
        let request = request.into_inner();
        let run = request.run.unwrap_or_default().run_id;
        if !lock(&self.0.held).contains_key(&run) {
            return Err(Status::not_found("not held here"));
        }
        let printing = Printing::new(self.0.clone(), &run, request.offset);
        Ok(Response::new(Box::pin(stream::unfold(printing, Printing::next))))
    }

    async fn ack(&self, _request: Request<AckRequest>) -> Result<Response<AckReply>, Status> {
        Ok(Response::new(AckReply {}))
    }

    async fn cancel(&self, _request: Request<CancelRequest>) -> Result<Response<CancelReply>, Status> {
        Ok(Response::new(CancelReply { held: true }))
    }

    async fn drain(&self, _request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        Ok(Response::new(DrainReply { live: 0 }))
    }

    async fn list(&self, _request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        Ok(Response::new(ListReply { runs: self.0.listed() }))
    }

    async fn info(&self, _request: Request<InfoRequest>) -> Result<Response<InfoReply>, Status> {
        self.alive().await;
        self.0.renew_soon.notify_one();
        Ok(Response::new(InfoReply { node: Some(self.0.description()), runs: self.0.listed() }))
    }
}

/// One stream of one run's log: lines and heartbeats.
struct Printing {
    node: Arc<Node>,
    offset: u64,
    next_at: Instant,
    silent_at: Instant,
}

impl Printing {
    fn new(node: Arc<Node>, run: &str, offset: u64) -> Self {
        node.tally.watches.fetch_add(1, Ordering::Relaxed);
        // Runs print at different moments.
        let share =
            run.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 1000;
        let now = Instant::now();
        let next_at = now + node.pace.every.mul_f64(f64::from(share) / 1000.0);
        Self { node, offset, next_at, silent_at: now + HEARTBEAT_EVERY }
    }

    async fn next(mut self) -> Option<(Result<WatchFrame, Status>, Self)> {
        tokio::time::sleep_until(self.next_at.min(self.silent_at)).await;
        if self.node.is_dead() {
            std::future::pending::<()>().await;
        }
        let now = Instant::now();
        let frame = if now >= self.next_at {
            self.next_at += self.node.pace.every;
            let data = self.line();
            let offset = self.offset;
            self.offset += data.len() as u64;
            self.node.tally.chunks.fetch_add(1, Ordering::Relaxed);
            self.node.tally.chunk_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
            Frame::Chunk(LogChunk { offset, data: data.into() })
        } else {
            Frame::Heartbeat(Heartbeat { phase: RunPhase::Started.into(), progress_json: None })
        };
        self.silent_at = now + HEARTBEAT_EVERY;
        Some((Ok(WatchFrame { frame: Some(frame) }), self))
    }

    /// An event of the size of a short one of the CLI.
    fn line(&self) -> Vec<u8> {
        const HEAD: &[u8] = br#"{"type":"assistant","message":{"content":[{"type":"text","text":""#;
        const TAIL: &[u8] = b"\"}]}}\n";
        let mut line = Vec::with_capacity(self.node.pace.line_bytes);
        line.extend_from_slice(HEAD);
        line.resize(self.node.pace.line_bytes.saturating_sub(TAIL.len()).max(HEAD.len()), b'x');
        line.extend_from_slice(TAIL);
        line
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        self.node.tally.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
