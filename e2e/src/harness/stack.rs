//! The services together: one folder, one database, one set of secrets, private ports.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use super::{Answer, ServiceProcess, Webhook, free_port, leftovers, post, program, until};

/// Longest run of one `orch` command.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// How long after the services' end the last process may take to go.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// The secret of both webhooks.
const SECRET: &str = "a secret of the end-to-end tests";

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
}

impl Service {
    fn name(self) -> String {
        match self {
            Self::Scheduler => "scheduler".into(),
            Self::Runner(number) => format!("runner-{number}"),
            Self::Ingest => "ingest".into(),
            Self::Console => "console".into(),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Scheduler => "orch-scheduler",
            Self::Runner(_) => "orch-runner",
            Self::Ingest => "orch-ingest",
            Self::Console => "orch-console",
        }
    }

    fn addr_setting(self) -> &'static str {
        match self {
            Self::Scheduler => "ORCH_SCHEDULER_ADDR",
            Self::Runner(_) => "ORCH_RUNNER_ADDR",
            Self::Ingest => "ORCH_INGEST_ADDR",
            Self::Console => "ORCH_CONSOLE_ADDR",
        }
    }
}

/// What a stack is to be, before it is started.
#[derive(Debug)]
pub struct StackBuilder {
    files: BTreeMap<String, String>,
    runners: usize,
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
        for inner in ["tmp", "home", "logs"] {
            std::fs::create_dir(root.join(inner))?;
        }
        for (name, text) in &self.files {
            std::fs::write(root.join(name), text)?;
        }
        let services = [Service::Scheduler, Service::Ingest, Service::Console]
            .into_iter()
            .chain((0..self.runners).map(Service::Runner));
        let mut addrs = BTreeMap::new();
        for service in services {
            addrs.insert(service, SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        }
        let marker = Uuid::new_v4().to_string();
        let mut shared = shared_settings(&root, &marker, addrs[&Service::Scheduler])?;
        shared.extend(self.env);
        let mut processes = BTreeMap::new();
        for (service, addr) in addrs {
            let mut env = shared.clone();
            env.insert(service.addr_setting().into(), addr.to_string());
            if let Service::Runner(number) = service {
                let state = root.join(format!("runner-{number}"));
                env.insert("ORCH_RUNNER_STATE_DIR".into(), state.join("state").display().to_string());
                env.insert("ORCH_WORKSPACE_DIR".into(), state.join("work").display().to_string());
            }
            let process = ServiceProcess::new(
                &service.name(),
                program(service.program())?,
                addr,
                &root.join("logs"),
                env,
            );
            processes.insert(service, process);
        }
        Ok(Stack { folder, root, marker, shared, processes })
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
    root: PathBuf,
    marker: String,
    shared: BTreeMap<String, String>,
    processes: BTreeMap<Service, ServiceProcess>,
}

impl Stack {
    /// One of each service, the fake `claude`, no special settings.
    pub fn builder() -> StackBuilder {
        StackBuilder { files: BTreeMap::new(), runners: 1, env: BTreeMap::new() }
    }

    /// The stack's folder: database, logs, workspaces, and room for a test's own files.
    pub fn folder(&self) -> &Path {
        &self.root
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

    /// A signed Gitea delivery.
    pub fn gitea(&self, event: &str, kind: &str, body: &Value) -> Webhook {
        Webhook::gitea(SECRET, event, kind, body.to_string())
    }

    /// A signed Plane delivery.
    pub fn plane(&self, event: &str, body: &Value) -> Webhook {
        Webhook::plane(SECRET, event, body.to_string())
    }

    /// Posts a delivery to ingest.
    ///
    /// # Errors
    /// No whole answer.
    pub async fn deliver(&self, webhook: &Webhook) -> anyhow::Result<Answer> {
        post(self.addr(Service::Ingest), webhook.path, webhook.headers.clone(), webhook.body.clone()).await
    }

    /// A program of the workspace with the settings that all services of this stack share, in its folder.
    ///
    /// # Errors
    /// It has not been built.
    pub fn command(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(program(name)?);
        command
            .env_clear()
            .envs(&self.shared)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs `orch ARGUMENTS` to its end.
    ///
    /// # Errors
    /// It took longer than 30 s.
    pub async fn orch_output<S: AsRef<OsStr> + std::fmt::Debug>(
        &self,
        arguments: &[S],
    ) -> anyhow::Result<Output> {
        let output = self.command("orch")?.args(arguments).output();
        let output = tokio::time::timeout(COMMAND_WITHIN, output)
            .await
            .with_context(|| format!("orch {arguments:?} took longer than {COMMAND_WITHIN:?}"))??;
        Ok(output)
    }

    /// Runs `orch ARGUMENTS --json` and parses what it prints.
    ///
    /// # Errors
    /// It failed, took longer than 30 s, or printed no JSON.
    pub async fn orch(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.orch_output(&[arguments, &["--json"]].concat()).await?;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "orch {arguments:?}: {}\n{stdout}{stderr}", output.status);
        serde_json::from_str(&stdout).with_context(|| format!("orch {arguments:?} printed no JSON: {stdout}"))
    }

    /// The job's record from `orch job ID`.
    ///
    /// # Errors
    /// As for [`Self::orch`].
    pub async fn job(&self, id: i64) -> anyhow::Result<Value> {
        self.orch(&["job", &id.to_string()]).await
    }

    /// Waits until the job has that status, and returns its record.
    ///
    /// # Errors
    /// Not within the deadline; the message shows the record.
    pub async fn until_status(&self, id: i64, status: &str, deadline: Duration) -> anyhow::Result<Value> {
        let what = format!("job {id} {status}");
        let reached = until(&what, deadline, || async {
            let job = self.job(id).await?;
            Ok(find_status(&job).is_some_and(|found| found == status).then_some(job))
        });
        match reached.await {
            Ok(job) => Ok(job),
            Err(error) => Err(error.context(format!("{:#}", self.job(id).await.unwrap_or_default()))),
        }
    }

    /// Process ids and command lines of everything that belongs to the stack, agents included.
    pub fn processes(&self) -> Vec<(i32, String)> {
        leftovers::leftovers_of(&self.marker, &self.root, &BTreeSet::new()).processes
    }

    /// Process ids of the shims that live.
    pub fn shims(&self) -> Vec<i32> {
        let is_shim = |command: &str| command.starts_with("orch-shim shim run ");
        self.processes().into_iter().filter(|(_, command)| is_shim(command)).map(|(pid, _)| pid).collect()
    }

    /// SIGKILL, through a handle, to a process of this stack; false when it is gone already.
    pub fn kill_process(&self, pid: i32) -> bool {
        leftovers::end_one(pid, &self.marker, &self.root)
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
        let runs = self.run_ids()?;
        for (service, process) in self.processes.iter_mut().rev() {
            if process.runs() {
                let status = process.terminate().await?;
                ensure!(status.success(), "{} ended with {status}\n{}", service.name(), process.log_tail());
            }
        }
        let look = || leftovers::leftovers_of(&self.marker, &self.root, &runs);
        let gone = until("nothing left", GONE_WITHIN, || async { Ok(look().is_empty().then_some(())) });
        if gone.await.is_err() {
            bail!("left behind:\n{}", look());
        }
        Ok(())
    }

    /// Ids of the runs, from the names under the logs' folder: one file or folder per run.
    fn run_ids(&self) -> anyhow::Result<BTreeSet<Uuid>> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.root.join("run-logs")];
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

/// The `status` of a job's record, wherever the record puts the job itself.
fn find_status(record: &Value) -> Option<&str> {
    record["status"].as_str().or_else(|| record["job"]["status"].as_str())
}

/// What every service of the stack is told.
fn shared_settings(
    root: &Path,
    marker: &str,
    scheduler: SocketAddr,
) -> anyhow::Result<BTreeMap<String, String>> {
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
        ("ORCH_SCHEDULER_URL", format!("http://{scheduler}")),
        ("ORCH_GITEA_WEBHOOK_SECRET", SECRET.into()),
        ("ORCH_PLANE_WEBHOOK_SECRET", SECRET.into()),
        ("ORCH_CLAUDE_BIN", program("fake-claude")?.display().to_string()),
    ];
    Ok(settings.map(|(name, value)| (name.into(), value)).into())
}
