//! One scheduler on one database, its clock in the test's hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::outcome::{AgentReport, EndedBy, Exit, ResultEvent};
use domain::{Chance, Event, Job, JobId, Outcome, Policy, Run, Timestamp, next};
use proto::convert::QueueSettings;
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::scheduler_service_client::SchedulerServiceClient;
use proto::v1::{
    CancelJobRequest, EnqueueRequest, GetJobRequest, JobDetail, ListRunnersRequest, LogFrame,
    StreamLogsRequest,
};
use scheduler::{Handle, LeaseTerms, Options, Reporting, Sinks};
use service::settings::{DatabaseUrl, ListenerSettings, TlsSettings};
use service::{Clock, Random, Tasks};
use store::{Access, Applied, Change, Store};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

/// 2026-11-22T02:00:00Z.
const START_MS: i64 = 1_795_312_800_000;
/// The longest wait for anything; everything comes far sooner.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const ORCH_TOML: &str = "[[project]]\nname = \"shop\"\nserial = \"none\"\n\
    [[project]]\nname = \"narrow\"\nmax_concurrency = 1\nserial = \"none\"\n\
    [[project]]\nname = \"serial\"\n\
    [[stage]]\nname = \"work\"\nrole = \"developer\"\nprompt = \"work.md\"\nmodel = \"sonnet\"\nmax_turns = 7\n\
    max_runtime = \"1m\"\n\
    [[stage]]\nname = \"broken\"\nrole = \"developer\"\nprompt = \"missing.md\"\n";

pub(crate) struct Stack {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Store>,
    handle: Handle,
    tasks: Tasks,
    channel: Channel,
    options: Options,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(|options| options).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(Options) -> Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("orch.toml"), ORCH_TOML).unwrap();
        std::fs::write(folder.path().join("work.md"), "Work.\n\n{{ request }}\n").unwrap();
        let clock = Clock::manual(START_MS);
        let options = adjust(Options {
            addr: "127.0.0.1:0".parse().unwrap(),
            database_url: url(&folder),
            listen_url: None,
            config: folder.path().join("orch.toml"),
            log_dir: folder.path().join("logs"),
            poll_interval: Duration::from_millis(20),
            serial_gate: true,
            resume_wait: Duration::ZERO,
            policy: Policy { backoff_base: Duration::from_secs(30), ..Policy::default() },
            quota_reserve: None,
            terms: terms(),
            sinks: Sinks::default(),
            reporting: Reporting::default(),
            webhook_silence: Duration::ZERO,
            reconcile_interval: Duration::ZERO,
            retention: scheduler::Retention::default(),
            queue: QueueSettings { concurrency_max: 4, sanitize_enabled: true, breaker_threshold: 5 },
            ca: None,
            tls: TlsSettings::default(),
            listener: ListenerSettings::default(),
            random: Random::system(),
            clock: clock.clone(),
        });
        let tasks = Tasks::new();
        let handle = scheduler::start(options.clone(), tasks.clone()).await.unwrap();
        let store = store::open(options.database_url.expose(), Access::Write).await.unwrap();
        Self { channel: channel(handle), folder, clock, store, handle, tasks, options }
    }

    /// Stops the scheduler without a word to anybody.
    pub(crate) async fn stop(&self) {
        self.tasks.stop();
        assert!(self.tasks.finished(DEADLINE).await, "the scheduler stops");
        assert_eq!(self.tasks.panicked(), None);
    }

    /// A new scheduler on the same database.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.tasks = Tasks::new();
        self.handle = scheduler::start(self.options.clone(), self.tasks.clone()).await.unwrap();
        self.channel = channel(self.handle);
    }

    /// A new scheduler with other options on the same database.
    pub(crate) async fn restart_with(&mut self, adjust: impl FnOnce(Options) -> Options) {
        self.options = adjust(self.options.clone());
        self.restart().await;
    }

    /// A second scheduler on the same database, past the lock that forbids it: somebody removed the lock's file.
    pub(crate) async fn start_beside(&self) -> Self {
        self.start_beside_with(|options| options).await
    }

    /// The same, with other options.
    pub(crate) async fn start_beside_with(&self, adjust: impl FnOnce(Options) -> Options) -> Self {
        std::fs::remove_file(self.folder.path().join("orch.db.scheduler.lock")).unwrap();
        let (database_url, sinks) = (self.options.database_url.clone(), self.options.sinks.clone());
        Self::start_with(|options| adjust(Options { database_url, sinks, ..options })).await
    }

    /// Starts another scheduler beside this one.
    pub(crate) async fn start_second(&self) -> anyhow::Result<Handle> {
        scheduler::start(self.options.clone(), Tasks::new()).await
    }

    pub(crate) fn scheduler(&self) -> SchedulerServiceClient<Channel> {
        SchedulerServiceClient::new(self.channel.clone())
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) async fn enqueue(&self) -> JobId {
        self.enqueue_in("shop", "work").await
    }

    pub(crate) async fn enqueue_in(&self, project: &str, stage: &str) -> JobId {
        let request = EnqueueRequest {
            project: project.to_owned(),
            stage: stage.to_owned(),
            work_item: Some("SHOP-1".to_owned()),
            ..EnqueueRequest::default()
        };
        JobId(self.admin().enqueue(request).await.unwrap().into_inner().id)
    }

    pub(crate) async fn cancel(&self, job: JobId) -> proto::v1::Job {
        self.admin().cancel_job(CancelJobRequest { id: job.0 }).await.unwrap().into_inner().job.unwrap()
    }

    pub(crate) async fn detail(&self, job: JobId) -> JobDetail {
        self.admin().get_job(GetJobRequest { id: job.0 }).await.unwrap().into_inner()
    }

    pub(crate) async fn job(&self, job: JobId) -> Job {
        self.store.job(job).await.unwrap().unwrap()
    }

    pub(crate) async fn runs(&self, job: JobId) -> Vec<Run> {
        self.store.runs_of(job).await.unwrap()
    }

    /// Moves a job behind the scheduler's back.
    pub(crate) async fn commit(&self, job: JobId, event: &Event) {
        let now = Timestamp::from_ms(self.clock.now_ms());
        let transition =
            next(&self.job(job).await, event, now, &Policy::default(), Chance::new(0.0)).unwrap();
        let change = Change::new(transition, now);
        assert_eq!(self.store.apply(change).await.unwrap(), Applied::Done);
    }

    /// Class and reason of each run of a job, the oldest first; of a live one its state.
    pub(crate) async fn ends(&self, job: JobId) -> Vec<String> {
        let end = |run: Run| match (run.class, run.reason) {
            (Some(class), Some(reason)) => format!("{class} {reason}"),
            (class, reason) => format!("{} {class:?} {reason:?}", run.state.as_str()),
        };
        self.runs(job).await.into_iter().map(end).collect()
    }

    /// Waits until a job has this status.
    pub(crate) async fn reaches(&self, job: JobId, status: &str) -> Job {
        eventually(status, async || {
            let job = self.job(job).await;
            (job.state.status().as_str() == status).then_some(job)
        })
        .await
    }

    /// Waits until a queued job says why it waits, in words that contain `part`.
    pub(crate) async fn waits(&self, job: JobId, part: &str) {
        eventually(part, async || {
            let waiting = self.detail(job).await.job.unwrap().waiting;
            waiting.filter(|waiting| waiting.reason.contains(part)).map(|_| ())
        })
        .await;
    }

    /// Waits until a runner is shown in this state.
    pub(crate) async fn waits_for_node(&self, node: &str, state: &str) {
        eventually(state, async || {
            let reply = self.admin().list_runners(ListRunnersRequest {}).await.unwrap().into_inner();
            reply.runners.iter().any(|runner| runner.id == node && runner.state == state).then_some(())
        })
        .await;
    }

    pub(crate) async fn stream_logs(&self, job: JobId, follow: bool) -> tonic::Streaming<LogFrame> {
        let of = Some(proto::v1::stream_logs_request::Of::JobId(job.0));
        self.admin()
            .stream_logs(StreamLogsRequest { of, follow, tail_bytes: None })
            .await
            .unwrap()
            .into_inner()
    }

    /// The head and the body of a plain HTTP answer.
    pub(crate) async fn http_get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.handle.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: orch\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Writes past every constraint.
    pub(crate) async fn force(&self, sql: &str) {
        store::force::execute(self.options.database_url.expose(), sql).await.unwrap();
    }

    /// What doctor would find.
    pub(crate) async fn check_invariants(&self) {
        assert_eq!(self.store.violations().await.unwrap(), []);
    }

    pub(crate) fn log_path(&self, run: &proto::v1::RunKey) -> PathBuf {
        self.folder.path().join("logs").join(format!("{}.log", run.run_id))
    }

    fn outcome(&self, ended_by: EndedBy, exit: Option<Exit>, result: Option<ResultEvent>) -> Outcome {
        let now = Timestamp::from_ms(self.clock.now_ms());
        Outcome {
            ended_by,
            exit,
            report: AgentReport { result, ..AgentReport::default() },
            tail: "the tail".to_owned(),
            log_bytes: 0,
            spawned_at: Some(now),
            ended_at: now,
            steps: Vec::new(),
        }
    }

    pub(crate) fn success(&self) -> Outcome {
        let result = ResultEvent {
            subtype: "success".to_owned(),
            stop_reason: Some("end_turn".to_owned()),
            ..ResultEvent::default()
        };
        let mut outcome = self.outcome(EndedBy::Agent, Some(Exit::Code(0)), Some(result));
        outcome.report.usage.turns = Some(3);
        outcome.report.usage.cost_usd = Some(0.25);
        outcome.report.usage.session_id = Some("session".to_owned());
        outcome
    }

    /// An API that refuses for now.
    pub(crate) fn overloaded(&self) -> Outcome {
        let result = ResultEvent {
            subtype: "success".to_owned(),
            is_error: true,
            api_error_status: Some(529),
            ..ResultEvent::default()
        };
        self.outcome(EndedBy::Agent, Some(Exit::Code(1)), Some(result))
    }

    pub(crate) fn max_turns(&self) -> Outcome {
        let result = ResultEvent { subtype: "error_max_turns".to_owned(), ..ResultEvent::default() };
        self.outcome(EndedBy::Agent, Some(Exit::Code(1)), Some(result))
    }

    pub(crate) fn crash(&self) -> Outcome {
        self.outcome(EndedBy::Agent, Some(Exit::Signal(11)), None)
    }

    pub(crate) fn ended_by(&self, ended_by: EndedBy) -> Outcome {
        self.outcome(ended_by, Some(Exit::Signal(15)), None)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Short where real time passes (a silent stream), the defaults where the manual clock does.
pub(crate) fn terms() -> LeaseTerms {
    LeaseTerms {
        scheduler: Duration::from_mins(7),
        runner: Duration::from_mins(5),
        renew: Duration::from_millis(100),
        unreachable: Duration::from_millis(400),
        kill_grace: Duration::from_secs(10),
    }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

fn url(folder: &TempDir) -> DatabaseUrl {
    DatabaseUrl::new(format!("sqlite://{}", folder.path().join("orch.db").display()))
}

fn channel(handle: Handle) -> Channel {
    service::grpc::channel(&format!("http://{}", handle.addr), &TlsSettings::default()).unwrap()
}
