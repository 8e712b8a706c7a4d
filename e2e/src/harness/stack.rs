//! The services together: one folder, one database, one set of secrets, private ports.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use uuid::Uuid;

use super::outside::{Outside, SECRET};
use super::{Host, Leftovers, Network, ServiceProcess, free_port, leftovers, program, until};

/// How long after the services' end the last process may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// A part of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `orch-scheduler`
    Scheduler,
    /// `orch-runner`, counted from 0
    Runner(usize),
    /// `orch-ingest`
    Ingest,
    /// `orch-console`
    Console,
    /// A further `orch-scheduler` on the same database, counted from 1
    OtherScheduler(usize),
    /// A further `orch-ingest`, counted from 1
    OtherIngest(usize),
}

impl Service {
    fn name(self) -> String {
        match self {
            Self::Scheduler => "scheduler".into(),
            Self::Runner(number) => format!("runner-{number}"),
            Self::Ingest => "ingest".into(),
            Self::Console => "console".into(),
            Self::OtherScheduler(number) => format!("scheduler-{number}"),
            Self::OtherIngest(number) => format!("ingest-{number}"),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Scheduler | Self::OtherScheduler(_) => "orch-scheduler",
            Self::Runner(_) => "orch-runner",
            Self::Ingest | Self::OtherIngest(_) => "orch-ingest",
            Self::Console => "orch-console",
        }
    }

    fn addr_setting(self) -> &'static str {
        match self {
            Self::Scheduler | Self::OtherScheduler(_) => "ORCH_SCHEDULER_ADDR",
            Self::Runner(_) => "ORCH_RUNNER_ADDR",
            Self::Ingest | Self::OtherIngest(_) => "ORCH_INGEST_ADDR",
            Self::Console => "ORCH_CONSOLE_ADDR",
        }
    }
}

/// What a stack is to be, before it is started.
#[derive(Debug)]
pub struct StackBuilder {
    files: BTreeMap<String, String>,
    runners: usize,
    schedulers: usize,
    ingests: usize,
    hosts: bool,
    env: BTreeMap<String, String>,
}

impl StackBuilder {
    /// Sets the pipeline; without it the services use their built-in one.
    #[must_use]
    pub fn orch_toml(self, text: &str) -> Self {
        self.file("orch.toml", text)
    }

    /// Puts a file into the stack's folder.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.into(), text.into());
        self
    }

    /// Sets the number of runners (1 unless said otherwise).
    #[must_use]
    pub fn runners(mut self, count: usize) -> Self {
        self.runners = count;
        self
    }

    /// Sets the numbers of schedulers and of ingests (1 unless said otherwise), which takes PostgreSQL. Each runner knows
    /// all schedulers and prefers another one than the runner before it.
    #[must_use]
    pub fn fleet(mut self, schedulers: usize, ingests: usize) -> Self {
        (self.schedulers, self.ingests) = (schedulers, ingests);
        self
    }

    /// Puts each runner on a host of its own, see [`Network`]; the others stay on this one. gRPC is plaintext.
    #[must_use]
    pub fn hosts(mut self, count: usize) -> Self {
        self.hosts = true;
        self.env("ORCH_ALLOW_PLAINTEXT", "true").runners(count)
    }

    /// Adds a setting for every service; it wins over what the stack sets by itself.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Lays out the folder and the settings of all services without starting any.
    ///
    /// # Errors
    /// A program has not been built, no port is free, or the folder cannot be written.
    pub fn lay_out(self) -> anyhow::Result<Stack> {
        let folder = tempfile::Builder::new().prefix("orch-e2e-").tempdir()?;
        let root = folder.path().canonicalize()?;
        if self.env.contains_key("ORCH_AGENT_USERS") {
            // Only its owner has the folder; agents that are somebody else pass through it.
            std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o711))?;
        }
        for inner in ["tmp", "home", "logs"] {
            std::fs::create_dir(root.join(inner))?;
        }
        for (name, text) in &self.files {
            std::fs::write(root.join(name), text)?;
        }
        let mut network = self.hosts.then(|| Network::create(self.runners, &root)).transpose()?;
        let services = [Service::Scheduler, Service::Ingest, Service::Console]
            .into_iter()
            .chain((0..self.runners).map(Service::Runner))
            .chain((1..self.schedulers).map(Service::OtherScheduler))
            .chain((1..self.ingests).map(Service::OtherIngest));
        let mut addrs = BTreeMap::new();
        for service in services {
            let ip = match (&mut network, service) {
                (Some(network), Service::Scheduler | Service::OtherScheduler(_)) => network.gateway(),
                (Some(network), Service::Runner(number)) => network.host(number).addr(),
                (
                    _,
                    Service::Scheduler
                    | Service::OtherScheduler(_)
                    | Service::Runner(_)
                    | Service::Ingest
                    | Service::OtherIngest(_)
                    | Service::Console,
                ) => Ipv4Addr::LOCALHOST,
            };
            addrs.insert(service, SocketAddr::from((ip, free_port()?)));
        }
        let marker = Uuid::new_v4().to_string();
        let urls: Vec<String> = std::iter::once(Service::Scheduler)
            .chain((1..self.schedulers).map(Service::OtherScheduler))
            .map(|scheduler| format!("http://{}", addrs[&scheduler]))
            .collect();
        let mut shared = shared_settings(&root, &marker, &urls.join(","))?;
        shared.extend(self.env);
        let ingests = std::iter::once(Service::Ingest)
            .chain((1..self.ingests).map(Service::OtherIngest))
            .map(|ingest| addrs[&ingest])
            .collect();
        let mut processes = BTreeMap::new();
        for (service, addr) in addrs {
            let mut env = shared.clone();
            let mut command = Vec::new();
            env.insert(service.addr_setting().into(), addr.to_string());
            if let Service::Runner(number) = service {
                let state = root.join(format!("runner-{number}"));
                env.insert("ORCH_RUNNER_STATE_DIR".into(), state.join("state").display().to_string());
                env.insert("ORCH_WORKSPACE_DIR".into(), state.join("work").display().to_string());
                if urls.len() > 1 {
                    let mut urls = urls.clone();
                    urls.rotate_left(number % self.schedulers);
                    env.insert("ORCH_SCHEDULER_URL".into(), urls.join(","));
                }
                command.extend(network.iter_mut().flat_map(|network| network.host(number).launcher()));
            }
            command.push(program(service.program())?.into());
            let process = ServiceProcess::new(&service.name(), command, addr, &root.join("logs"), env);
            processes.insert(service, process);
        }
        let outside = Outside { root, settings: shared, ingests, turn: Arc::default() };
        Ok(Stack { folder, marker, outside, processes, network })
    }

    /// Starts the scheduler, then all others, and waits until each is ready.
    ///
    /// # Errors
    /// As for [`Self::lay_out`]; or a service was not ready in time, then with the end of its log.
    pub async fn start(self) -> anyhow::Result<Stack> {
        let mut stack = self.lay_out()?;
        stack.process(Service::Scheduler).start().await?;
        for process in stack.processes.values_mut().filter(|process| !process.runs()) {
            process.spawn()?;
        }
        for process in stack.processes.values_mut() {
            process.ready().await?;
        }
        Ok(stack)
    }
}

/// Running services. Dropping it ends whatever carries its marker; a test that went well calls [`Stack::finish`].
#[derive(Debug)]
pub struct Stack {
    folder: TempDir,
    marker: String,
    outside: Outside,
    processes: BTreeMap<Service, ServiceProcess>,
    network: Option<Network>,
}

impl Stack {
    /// One of each service, the fake `claude`, no special settings.
    pub fn builder() -> StackBuilder {
        StackBuilder {
            files: BTreeMap::new(),
            runners: 1,
            schedulers: 1,
            ingests: 1,
            hosts: false,
            env: BTreeMap::new(),
        }
    }

    /// The host of a runner.
    ///
    /// # Panics
    /// The stack was built without hosts, or has no such runner.
    pub fn host(&mut self, runner: usize) -> &mut Host {
        self.network.as_mut().expect("the stack was built with hosts").host(runner)
    }

    /// The number of the host that a process runs on.
    pub fn host_of(&self, pid: i32) -> Option<usize> {
        self.network.as_ref().and_then(|network| network.host_of(pid))
    }

    /// Takes the power from a runner's host: everything on it is gone at once, the runner's disk stays.
    ///
    /// # Errors
    /// Something on it does not die.
    ///
    /// # Panics
    /// As for [`Self::host`].
    pub async fn power_off(&mut self, runner: usize) -> anyhow::Result<()> {
        self.host(runner).power_off().await?;
        let process = self.process(Service::Runner(runner));
        if process.runs() {
            process.ended(GONE_WITHIN).await?;
        }
        Ok(())
    }

    /// How many runners it has.
    pub fn runners(&self) -> usize {
        self.processes.keys().filter(|service| matches!(service, Service::Runner(_))).count()
    }

    /// The process of a service, to kill, end or start it.
    ///
    /// # Panics
    /// The stack has no such service.
    pub fn process(&mut self, service: Service) -> &mut ServiceProcess {
        self.processes.get_mut(&service).unwrap_or_else(|| panic!("the stack has no {}", service.name()))
    }

    /// Where a service listens.
    ///
    /// # Panics
    /// The stack has no such service.
    pub fn addr(&self, service: Service) -> SocketAddr {
        self.processes.get(&service).unwrap_or_else(|| panic!("the stack has no {}", service.name())).addr()
    }

    /// Process ids and command lines of everything that belongs to the stack, agents included.
    pub fn processes(&self) -> Vec<(i32, String)> {
        self.traces(&BTreeSet::new()).processes
    }

    /// Everything that belongs to the stack now: its processes, and what there is of these runs.
    pub fn traces(&self, runs: &BTreeSet<Uuid>) -> Leftovers {
        leftovers::leftovers_of(&self.marker, self.folder(), runs)
    }

    /// A signal, through a handle, to a process of this stack; false when it is gone already.
    pub fn signal_process(&self, pid: i32, signal: Signal) -> bool {
        leftovers::signal_one(pid, signal, &self.marker, self.folder())
    }

    /// Process ids of the shims that live and have a run: its lock is their standard input.
    pub fn shims(&self) -> Vec<i32> {
        let with_run = |(pid, command): &(i32, String)| leftovers::has_run(*pid, command) == Some(true);
        self.processes().into_iter().filter(with_run).map(|(pid, _)| pid).collect()
    }

    /// SIGKILL, through a handle, to a process of this stack; false when it is gone already.
    pub fn kill_process(&self, pid: i32) -> bool {
        self.signal_process(pid, Signal::KILL)
    }

    /// Leaves the folder where it is after the stack's end, for a person to look at.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Asks `orch doctor` for broken invariants, stops every service with SIGTERM and checks that nothing
    /// is left: no process, no cgroup of any run, no temporary file.
    ///
    /// # Errors
    /// Names what is broken, which service did not stop cleanly, or what is left.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        if self.processes[&Service::Scheduler].runs() {
            self.orch(&["doctor"]).await.context("an invariant is broken")?;
        }
        let mut runs = self.run_ids()?;
        runs.extend(self.node_ids());
        for (service, process) in self.processes.iter_mut().rev() {
            if process.runs() {
                let status = process.terminate().await?;
                ensure!(status.success(), "{} ended with {status}\n{}", service.name(), process.log_tail());
            }
        }
        let look = || self.traces(&runs);
        // A process that is ending has no environment any more, and still runs on its host.
        let idle = || self.network.as_ref().is_none_or(Network::is_idle);
        let gone =
            until("nothing left", GONE_WITHIN, || async { Ok((look().is_empty() && idle()).then_some(())) });
        if gone.await.is_err() && !look().is_empty() {
            bail!("left behind:\n{}", look());
        }
        self.network.take().map_or(Ok(()), Network::remove)
    }

    /// Ids of the runners, by which their cgroups are named.
    fn node_ids(&self) -> Vec<Uuid> {
        let runners = self.processes.keys().filter(|service| matches!(service, Service::Runner(_)));
        let read = |service: &Service| {
            let file = self.folder().join(service.name()).join("state/node-0/node_id");
            Uuid::parse_str(std::fs::read_to_string(file).ok()?.trim()).ok()
        };
        runners.filter_map(read).collect()
    }

    /// Ids of the runs, from the names under the logs' folder: one file or folder per run.
    fn run_ids(&self) -> anyhow::Result<BTreeSet<Uuid>> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.folder().join("run-logs")];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                let path = entry?.path();
                found.extend(
                    path.file_stem().and_then(OsStr::to_str).and_then(|name| Uuid::parse_str(name).ok()),
                );
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        Ok(found)
    }
}

impl Deref for Stack {
    type Target = Outside;

    fn deref(&self) -> &Outside {
        &self.outside
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.processes.values() {
                eprintln!("{}", process.log_tail());
            }
        }
        // Services first (each is killed with its handle), so that none starts another agent.
        self.processes.clear();
        leftovers::end_marked(&self.marker, self.folder.path());
    }
}

/// What every service of the stack is told.
fn shared_settings(root: &Path, marker: &str, schedulers: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let path = |name: &str| root.join(name).display().to_string();
    let search = std::env::var_os("PATH").unwrap_or_default().to_string_lossy().into_owned();
    let settings = [
        ("PATH", search),
        ("HOME", path("home")),
        ("TMPDIR", path("tmp")),
        ("ORCH_E2E", marker.into()),
        // Agents start from an empty environment: the marker is let through by name.
        ("ORCH_AGENT_ENV", "ORCH_E2E".into()),
        ("ORCH_DATABASE_URL", format!("sqlite://{}", path("orch.db"))),
        ("ORCH_CONFIG", path("orch.toml")),
        ("ORCH_LOG_DIR", path("run-logs")),
        ("ORCH_SCHEDULER_URL", schedulers.to_owned()),
        ("ORCH_GITEA_WEBHOOK_SECRET", SECRET.into()),
        ("ORCH_PLANE_WEBHOOK_SECRET", SECRET.into()),
        // A test that wants containment asks for it: no other one waits for the probe.
        ("ORCH_CONTAINMENT", "environment".into()),
        ("ORCH_CLAUDE_BIN", program("fake-claude")?.display().to_string()),
    ];
    Ok(settings.map(|(name, value)| (name.into(), value)).into())
}
