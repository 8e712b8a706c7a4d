//! One service as a process: started, watched until ready, ended by its handle and by nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{get, until};

/// Longest wait for `/readyz`; a cold start on a busy machine included.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for the end after SIGTERM.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// How much of a log a failure shows.
const TAIL_LINES: usize = 40;

/// A service that can be started again after its end, with the same settings.
#[derive(Debug)]
pub struct ServiceProcess {
    name: String,
    /// The program and what is put before it.
    command: Vec<OsString>,
    addr: SocketAddr,
    folder: PathBuf,
    log: PathBuf,
    env: BTreeMap<String, String>,
    child: Option<Child>,
}

impl ServiceProcess {
    /// Describes a service by the words that start it; nothing is started. Output is appended to `folder/NAME.log`.
    pub fn new(
        name: &str,
        command: Vec<OsString>,
        addr: SocketAddr,
        folder: &Path,
        env: BTreeMap<String, String>,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self { name: name.into(), command, addr, folder: folder.into(), log, env, child: None }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id while it runs, for reading `/proc`.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Changes a setting for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), value.into());
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Errors
    /// It runs already, or cannot be spawned.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let (program, arguments) = self.command.split_first().context("a command of no words")?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts the process and waits until `/readyz` says 200.
    ///
    /// # Errors
    /// It ended, or was not ready in time; the message holds the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let addr = self.addr;
        let child = self.child.as_mut().with_context(|| format!("{} does not run", self.name))?;
        let what = format!("{} ready on {addr}", self.name);
        let probe = until(&what, READY_WITHIN, || async move {
            Ok(get(addr, "/readyz").await.ok().filter(|answer| answer.status.is_success()).map(|_| ()))
        });
        let ready = tokio::select! {
            ready = probe => ready,
            status = child.wait() => Err(anyhow::anyhow!("{} ended with {}", self.name, status?)),
        };
        ready.with_context(|| self.log_tail())
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill().await?;
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} does not run", self.name))?;
        // The child has not been waited for, so its number cannot have gone to another process.
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| Ok(kill_process(pid, signal)?))
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not run, or did not end within 20 s (then it is killed).
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        match tokio::time::timeout(STOPPED_WITHIN, child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_elapsed) => {
                child.kill().await?;
                bail!("{} did not end within {STOPPED_WITHIN:?} of SIGTERM\n{}", self.name, self.log_tail())
            }
        }
    }

    /// Waits for an end that the service comes to by itself.
    ///
    /// # Errors
    /// It does not run, or did not end in time.
    pub async fn ended(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().with_context(|| format!("{} does not run", self.name))?;
        let waited = tokio::time::timeout(deadline, child.wait()).await;
        let status = waited.with_context(|| format!("{} did not end within {deadline:?}", self.name))??;
        self.child = None;
        Ok(status)
    }

    /// Whether a process is held.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its log, with a heading.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!("--- {}.log, last {} lines\n{}", self.name, lines.len() - from, lines[from..].join("\n"))
    }
}
