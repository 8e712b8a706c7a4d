//! A scheduler of the tests' own, and a runner as a real process or in this one.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test file uses its part"
)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use domain::outcome::Outcome;
use proto::v1::runner_service_client::RunnerServiceClient;
use proto::v1::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use proto::v1::watch_frame::Frame;
use proto::v1::{
    AckRequest, LaunchRequest, LaunchStatus, ListRequest, NodeDescription, NudgeReply, NudgeRequest,
    RegisterReply, RegisterRequest, RenewReply, RenewRequest, RunKey, RunSpec, SettledItem, SettledReply,
    SettledRequest, StartReply, StartRequest, StartStatus, WatchRequest,
};
use service::Tasks;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub const SOON: Duration = Duration::from_secs(20);

/// Looks until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How the fake scheduler answers, and what it was asked.
#[derive(Debug)]
pub struct Script {
    pub lease_ms: i64,
    pub renew_ms: i64,
    pub grace_ms: i64,
    pub refuse_start: bool,
    pub start_unavailable: bool,
    pub renew_unavailable: bool,
    pub renew_error: Option<tonic::Code>,
    pub generation: i64,
    pub fenced: Vec<RunKey>,
    pub cancel: Vec<RunKey>,
    /// The work items that are over, by key.
    pub settled: Vec<String>,
    pub node: Option<NodeDescription>,
    pub registrations: Vec<RegisterRequest>,
    pub starts: Vec<StartRequest>,
    pub renews: Vec<RenewRequest>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            lease_ms: 60_000,
            renew_ms: 100,
            grace_ms: 300,
            refuse_start: false,
            start_unavailable: false,
            renew_unavailable: false,
            renew_error: None,
            generation: 1,
            fenced: vec![],
            cancel: vec![],
            settled: vec![],
            node: None,
            registrations: vec![],
            starts: vec![],
            renews: vec![],
        }
    }
}

#[derive(Clone)]
pub struct FakeScheduler {
    script: Arc<Mutex<Script>>,
    pub addr: SocketAddr,
    tasks: Tasks,
}

impl FakeScheduler {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            script: Arc::new(Mutex::new(script)),
            addr: listener.local_addr().unwrap(),
            tasks: Tasks::new(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(SchedulerServiceServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        fake.tasks.spawn("scheduler", async move { server.await.unwrap() });
        fake
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

#[tonic::async_trait]
impl SchedulerService for FakeScheduler {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterReply>, Status> {
        let mut script = self.script();
        script.node.clone_from(&request.get_ref().node);
        script.registrations.push(request.into_inner());
        Ok(Response::new(RegisterReply {
            runner_lease_ms: script.lease_ms,
            renew_ms: script.renew_ms,
            kill_grace_ms: script.grace_ms,
            database_generation: script.generation,
            fenced: vec![],
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let mut script = self.script();
        if script.renew_unavailable {
            return Err(Status::unavailable("the database is away"));
        }
        if let Some(code) = script.renew_error {
            return Err(Status::new(code, "as the test wants it"));
        }
        let number = request.get_ref().number;
        script.renews.push(request.into_inner());
        Ok(Response::new(RenewReply { number, fenced: script.fenced.clone(), cancel: script.cancel.clone() }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        let mut script = self.script();
        script.starts.push(request.into_inner());
        if script.start_unavailable {
            return Err(Status::unavailable("the database is away"));
        }
        let status = if script.refuse_start { StartStatus::Refused } else { StartStatus::Ok };
        Ok(Response::new(StartReply { status: status.into(), lease_ms: script.lease_ms }))
    }

    async fn settled(&self, request: Request<SettledRequest>) -> Result<Response<SettledReply>, Status> {
        let mut over = request.into_inner().items;
        over.retain(|item| self.script().settled.contains(&item.work_item));
        let over = over.into_iter().map(|item| SettledItem { item: Some(item), since_ms: 1 }).collect();
        Ok(Response::new(SettledReply { over }))
    }

    async fn nudge(&self, _request: Request<NudgeRequest>) -> Result<Response<NudgeReply>, Status> {
        Ok(Response::new(NudgeReply {}))
    }
}

/// A folder with an agent in it, and the options of a runner that uses both.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub agent: PathBuf,
}

impl Place {
    /// The agent is a shell script; `--version` is answered for it. Each start is counted in `spawns`.
    pub fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agent = dir.path().join("agent");
        let text = format!(
            "#!/bin/bash\nif [ \"$1\" = --version ]; then echo 2.1.330; exit; fi\nHERE={}\necho $ORCH_RUN_ID >>$HERE/spawns\n{script}\n",
            dir.path().display()
        );
        std::fs::write(&agent, text).unwrap();
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir, agent }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn spawns(&self) -> usize {
        std::fs::read_to_string(self.file("spawns")).unwrap_or_default().lines().count()
    }

    /// The pid that an agent wrote into a file, once it is there.
    pub async fn pid(&self, name: &str) -> i32 {
        let path = self.file(name);
        eventually(name, async || std::fs::read_to_string(&path).ok()?.trim().parse().ok()).await
    }

    pub fn options(&self, scheduler: &FakeScheduler) -> runner::Options {
        let program = env!("CARGO_BIN_EXE_orch-runner");
        let cli: runner::Cli =
            service::settings::try_parse_from(["orch-runner", "--runner-addr", "127.0.0.1:0"]).unwrap();
        runner::Options {
            scheduler_url: Some(scheduler.url()),
            agent: runner::AgentCommand { program: self.agent.clone(), leading_args: vec![] },
            shim: runner::ShimCommand { program: program.into(), ..runner::ShimCommand::default() },
            state_dir: self.file("state"),
            workspace_dir: self.file("workspaces"),
            ..runner::Options::from(cli)
        }
    }
}

/// A runner in this process.
pub struct InProcess {
    pub tasks: Tasks,
    pub handle: runner::Handle,
    pub client: RunnerServiceClient<Channel>,
    pub incarnation: i64,
}

impl InProcess {
    pub async fn start(options: runner::Options, scheduler: &FakeScheduler) -> Self {
        let tasks = Tasks::new();
        let before = scheduler.script().registrations.len();
        let handle = runner::start(options, tasks.clone()).await.unwrap();
        let (client, incarnation) = connect(scheduler, before).await;
        Self { tasks, handle, client, incarnation }
    }

    pub async fn stop(self) {
        self.tasks.stop();
        assert!(self.tasks.finished(Duration::from_secs(5)).await);
    }
}

async fn connect(scheduler: &FakeScheduler, before: usize) -> (RunnerServiceClient<Channel>, i64) {
    let node = eventually("a registration", async || {
        let script = scheduler.script();
        (script.registrations.len() > before).then(|| script.node.clone().unwrap())
    })
    .await;
    let channel = Channel::from_shared(node.advertise_url).unwrap().connect().await.unwrap();
    (RunnerServiceClient::new(channel), node.incarnation)
}

/// A runner as the real binary. Killed when dropped; its shims are not.
pub struct Process {
    pub child: Child,
    pub client: RunnerServiceClient<Channel>,
    pub incarnation: i64,
}

impl Process {
    pub async fn start(place: &Place, scheduler: &FakeScheduler) -> Self {
        Self::start_with(place, scheduler, &[]).await
    }

    /// With more in its environment.
    pub async fn start_with(place: &Place, scheduler: &FakeScheduler, more: &[(&str, String)]) -> Self {
        let before = scheduler.script().registrations.len();
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(place.file("runner.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_orch-runner"))
            .env("ORCH_RUNNER_ADDR", "127.0.0.1:0")
            .env("ORCH_SCHEDULER_URL", scheduler.url())
            .env("ORCH_CLAUDE_BIN", &place.agent)
            .env("ORCH_RUNNER_STATE_DIR", place.file("state"))
            .env("ORCH_RUNNER_SLOTS", "20")
            .env("ORCH_WORKSPACE_DIR", place.file("workspaces"))
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let (client, incarnation) = connect(scheduler, before).await;
        Self { child, client, incarnation }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn key(epoch: i64) -> RunKey {
    let run_id = uuid::Uuid::now_v7().to_string();
    RunKey { token: format!("token of {run_id}"), run_id, epoch }
}

pub fn spec(prompt: &str) -> RunSpec {
    RunSpec {
        job_id: 1,
        project: "shop".to_owned(),
        work_item: "SHOP-12".to_owned(),
        stage: "development".to_owned(),
        role: "developer".to_owned(),
        prompt: prompt.to_owned(),
        max_runtime_ms: 60_000,
        idle_ms: 60_000,
        idle_in_tool_ms: 60_000,
        ..RunSpec::default()
    }
}

pub async fn launch(
    client: &mut RunnerServiceClient<Channel>,
    incarnation: i64,
    run: &RunKey,
    spec: RunSpec,
) -> LaunchStatus {
    let request = LaunchRequest { run: Some(run.clone()), incarnation, spec: Some(spec) };
    client.launch(request).await.unwrap().get_ref().status()
}

/// What a watch brought: bytes, gaps, the outcome.
#[derive(Debug, PartialEq)]
pub struct Watched {
    pub bytes: Vec<u8>,
    pub gaps: Vec<(u64, u64)>,
    pub outcome: Outcome,
}

/// Watches a run to its end.
pub async fn watch(client: &mut RunnerServiceClient<Channel>, run: &RunKey, offset: u64) -> Watched {
    let watched = async {
        let request = WatchRequest { run: Some(run.clone()), offset };
        let mut stream = client.watch(request).await.unwrap().into_inner();
        let (mut bytes, mut gaps, mut at) = (Vec::new(), Vec::new(), offset);
        loop {
            match stream.message().await.unwrap().expect("an outcome before the end").frame.unwrap() {
                Frame::Chunk(chunk) => {
                    assert_eq!(chunk.offset, at);
                    assert!(chunk.data.len() <= 64 * 1024);
                    at += chunk.data.len() as u64;
                    bytes.extend(chunk.data);
                }
                Frame::Gap(gap) => {
                    assert_eq!(gap.from, at);
                    at = gap.to;
                    gaps.push((gap.from, gap.to));
                }
                Frame::Heartbeat(_) => {}
                Frame::Outcome(frame) => {
                    assert_eq!(frame.token, run.token, "who reports an end has the run's token");
                    let outcome = proto::convert::read_outcome(&frame).unwrap();
                    assert_eq!(outcome.log_bytes, at.max(offset));
                    return Watched { bytes, gaps, outcome };
                }
            }
        }
    };
    tokio::time::timeout(SOON * 2, watched).await.expect("an outcome in time")
}

/// Watches until the shim has spooled `bytes_min` bytes: what it has not drained yet dies with it.
pub async fn spooled(client: &mut RunnerServiceClient<Channel>, run: &RunKey, bytes_min: usize) {
    let spooled = async {
        let request = WatchRequest { run: Some(run.clone()), offset: 0 };
        let mut stream = client.watch(request).await.unwrap().into_inner();
        let mut bytes = 0;
        while bytes < bytes_min {
            let message = stream.message().await.unwrap().expect("output before the end");
            if let Some(Frame::Chunk(chunk)) = message.frame {
                bytes += chunk.data.len();
            }
        }
    };
    tokio::time::timeout(SOON, spooled).await.expect("output in time");
}

/// Acknowledges a run and sees it gone.
pub async fn ack(client: &mut RunnerServiceClient<Channel>, run: &RunKey, place: &Place) {
    for _ in 0..2 {
        client.ack(AckRequest { run: Some(run.clone()) }).await.unwrap();
    }
    assert!(client.list(ListRequest {}).await.unwrap().get_ref().runs.is_empty());
    let left: Vec<_> = std::fs::read_dir(place.file("state/node-0/runs")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether a process lives (a zombie does not).
pub fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat[stat.rfind(')').unwrap()..].starts_with(") Z"))
}

/// Waits until none of these processes lives.
pub async fn gone(pids: &[i32]) {
    eventually("the end of all processes", async || (!pids.iter().any(|pid| lives(*pid))).then_some(()))
        .await;
}

/// The pid of the shim of a run, by the lock that is its standard input.
pub async fn shim_pid(run: &RunKey) -> i32 {
    eventually("a shim", async || shims_of(&run.run_id).first().copied()).await
}

fn shims_of(run: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stdin = std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap_or_default();
        arguments.starts_with(b"orch-shim\0")
            && stdin.ends_with("shim.lock")
            && stdin.to_string_lossy().contains(run)
    };
    pids.filter(named).collect()
}

pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
