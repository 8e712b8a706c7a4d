//! The processes on the hosts: the real scheduler and the real runner, started anew whenever they crashed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Account;
use proto::convert::QueueSettings;
use scheduler::Neighbours;
use service::settings::{DatabaseUrl, ListenerSettings, TlsSettings};
use service::{Random, Tasks};
use store::memory::Disk;

use crate::broken::Broken;
use crate::database::{Database, Pace};
use crate::dice::Dice;
use crate::judge::Judge;
use crate::mover::Mover;
use crate::scenario::Scenario;
use crate::shims::{Keepers, Machine};
use crate::time::HostTime;

/// The hosts by name, and where they listen.
pub(crate) const SCHEDULER: (&str, u16) = ("scheduler", 7070);
pub(crate) const SECOND: (&str, u16) = ("second", 7080);
pub(crate) const OPERATOR: &str = "operator";
/// Who speaks with runners.
pub(crate) const PEERS: [&str; 3] = [SCHEDULER.0, SECOND.0, OPERATOR];
const RUNNER_PORT: u16 = 7100;
/// How long a process that could not start waits before it is started again.
const START_AGAIN: Duration = Duration::from_secs(1);

/// What the software on the hosts is started with, again and again.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) seed: u64,
    pub(crate) folder: PathBuf,
    pub(crate) scenario: Scenario,
    pub(crate) judge: Judge,
    pub(crate) disk: Disk,
    pub(crate) pace: Arc<Pace>,
    pub(crate) broken: Option<Broken>,
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) schedulers: [Arc<HostTime>; 2],
    /// Which scheduler each runner speaks to at its next start.
    pub(crate) follows: Mutex<Vec<&'static str>>,
    /// Counts the starts of processes.
    pub(crate) starts: Mutex<u64>,
}

impl Parts {
    /// Where a runner keeps its state.
    pub(crate) fn state_dir(&self, node: usize) -> PathBuf {
        self.folder.join(runner_name(node))
    }

    /// Chance of one process, another at each start.
    fn random(&self) -> Random {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        *starts += 1;
        Random::seeded(Dice::of(self.seed, 1000 + *starts).seed())
    }
}

pub(crate) fn port(node: usize) -> u16 {
    RUNNER_PORT + u16::try_from(node).unwrap_or(0)
}

pub(crate) fn runner_name(node: usize) -> String {
    format!("runner-{node}")
}

pub(crate) fn url(host: &str, port: u16) -> String {
    format!("http://{host}:{port}")
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

fn plaintext() -> TlsSettings {
    TlsSettings { allow_plaintext: true, ..TlsSettings::default() }
}

/// A scheduler's process.
pub(crate) async fn scheduler(parts: Rc<Parts>, at: usize, name: &'static str, port: u16) -> turmoil::Result {
    let terms = parts.scenario.terms;
    loop {
        let inner = parts.disk.open(name);
        let options = scheduler::Options {
            addr: everywhere(port),
            database_url: DatabaseUrl::new("memory:".to_owned()),
            listen_url: None,
            config: parts.folder.join("orch.toml"),
            log_dir: parts.folder.join("logs"),
            poll_interval: Duration::from_secs(1),
            serial_gate: true,
            resume_wait: Duration::ZERO,
            policy: crate::scenario::Terms::policy(),
            terms: terms.leases(),
            quota_reserve: None,
            sinks: scheduler::Sinks::default(),
            reporting: scheduler::Reporting::default(),
            webhook_silence: Duration::ZERO,
            reconcile_interval: Duration::ZERO,
            retention: scheduler::Retention::default(),
            queue: QueueSettings {
                concurrency_max: u32::try_from(terms.concurrency_max).unwrap_or(u32::MAX),
                sanitize_enabled: true,
                breaker_threshold: crate::scenario::Terms::policy().breaker.threshold,
            },
            tls: plaintext(),
            listener: ListenerSettings::default(),
            ca: None,
            clock: parts.schedulers[at].clock(),
            random: parts.random(),
        };
        if parts.broken == Some(Broken::NoGraceAtStart) {
            for run in inner.live_runs().await.unwrap_or_default() {
                Mover(inner.clone()).lose(run.job, run.id).await;
            }
        }
        let store = Arc::new(Database {
            inner,
            pace: parts.pace.clone(),
            judge: parts.judge.clone(),
            broken: parts.broken,
        });
        let tasks = Tasks::new();
        match scheduler::start_on(store, parts.scenario.neighbours, options, tasks.clone()).await {
            Ok(_) => served(&parts, name, &tasks).await,
            Err(error) => parts.judge.note(&format!("{name} could not start: {error:#}")),
        }
        tasks.stop();
        tokio::time::sleep(START_AGAIN).await;
    }
}

/// A runner's process.
pub(crate) async fn runner(parts: Rc<Parts>, node: usize) -> turmoil::Result {
    let machine = &parts.machines[node];
    if parts.broken == Some(Broken::RespawnFromJournal) {
        machine.respawn(&parts.state_dir(node).join("node-0/runs"));
    }
    if parts.broken == Some(Broken::RestartKillsAgents) {
        machine.kill_all();
    }
    let follows = parts.follows.lock().unwrap_or_else(PoisonError::into_inner)[node];
    let (first, other) = if follows == SECOND.0 { (SECOND, SCHEDULER) } else { (SCHEDULER, SECOND) };
    let scheduler_url = match parts.scenario.neighbours {
        Neighbours::None => url(first.0, first.1),
        Neighbours::Perhaps => format!("{},{}", url(first.0, first.1), url(other.0, other.1)),
    };
    let state_dir = parts.state_dir(node);
    let options = runner::Options {
        addr: everywhere(port(node)),
        advertise_url: Some(url(&runner_name(node), port(node))),
        scheduler_url: Some(scheduler_url),
        tls: plaintext(),
        listener: ListenerSettings::default(),
        join_token: None,
        agent: runner::AgentCommand { program: "agent".into(), leading_args: Vec::new() },
        shim: runner::ShimCommand::default(),
        slots: u32::try_from(parts.scenario.terms.slots).unwrap_or(1),
        labels: Vec::new(),
        account: Account(format!("account-{}", node % parts.scenario.accounts)),
        workspace_dir: state_dir.join("work"),
        workspace_quota_bytes: u64::MAX,
        step_patience: Duration::ZERO,
        git_token: None,
        git_user_name: "orch".to_owned(),
        git_user_email: "orch@localhost".to_owned(),
        gitea_api_url: None,
        tidy_every: Duration::from_hours(24),
        state_dir,
        agent_env: Vec::new(),
        permission_mode: runner::shim::PERMISSION_MODE_DEFAULT.to_owned(),
        preflight_ttl: Duration::from_mins(1),
        limits: runner::RunLimits {
            spool_head_bytes: 16 * 1024,
            spool_tail_bytes: 32 * 1024,
            after_result: Duration::from_secs(1),
            containment: runner::Containment::Marker,
            fence: runner::Fence::default(),
        },
        clock: machine.clock(),
        random: parts.random(),
    };
    let tasks = Tasks::new();
    let keepers = Arc::new(Keepers(machine.clone()));
    match runner::start_on(keepers, options, tasks.clone()).await {
        Ok(_handle) => served(&parts, &runner_name(node), &tasks).await,
        Err(error) => parts.judge.state().violate(format!("runner {node} could not start: {error:#}")),
    }
    Ok(())
}

/// Waits for the end of a process, which comes only with a panic: a crash ends this, too.
async fn served(parts: &Parts, name: &str, tasks: &Tasks) {
    tasks.token().cancelled().await;
    parts.judge.state().violate(format!("{name} stopped: task {:?} panicked", tasks.panicked()));
}
