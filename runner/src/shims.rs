//! What the runner needs of its host: which boot it is, whether the agent can be run, and the keepers of its runs,
//! which are spawned, spoken to and, when one died without a word, cleaned up after.
//!
//! What is in a run's folder is the runner's own business; a keeper finds there all it needs to know.

mod waiting;

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::runner::Preflight;
use service::Clock;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::config::{AgentCommand, Options, ShimCommand};
use crate::contain::User;
use crate::preflight::Program;
use crate::run_dir::{Assignment, RunDir};
use crate::shim::{Ask, Link, PATH_DEFAULT};
use crate::{contain, identity, preflight};

pub use waiting::Waiting;

/// How long the place of a keeper that got its run stays empty: its agent is just starting. Shorter than a run that does nothing, so
/// that of runs that come one after the other each finds one.
const REFILLED_AFTER: Duration = Duration::from_millis(10);
/// How soon it is tried again where none could be made.
const RETRIED_AFTER: Duration = Duration::from_secs(5);

/// The keepers of one host, and what else the runner asks of it.
#[tonic::async_trait]
pub trait Shims: fmt::Debug + Send + Sync {
    /// The host's boot: deadlines in boot time mean nothing in another one.
    ///
    /// # Errors
    /// The system does not tell.
    fn boot_id(&self) -> io::Result<String>;

    /// The agent's program as its file is now; none when there is none.
    fn program(&self) -> Option<Program>;

    /// Looks whether the agent can be run. `home` is the HOME it is asked with, `user` whom it is asked as; none: as the runner.
    async fn preflight(&self, home: &Path, user: Option<User>, clock: &Clock) -> Preflight;

    /// Sees to it that a keeper waits for the next run, its cgroup made in `place` if anywhere, until it is cut. Nothing hangs
    /// on it: without one a run waits for a keeper of its own.
    async fn stay_ready(&self, _place: Option<&Path>) {}

    /// Takes the keeper that waits, if one does.
    fn waiting(&self) -> Option<Waiting> {
        None
    }

    /// Spawns the keeper of a run whose intent is journaled, or gives the run to the one that waited. `lock` is the keeper's from
    /// before it exists to its death.
    ///
    /// # Errors
    /// It cannot be spawned; no agent will be.
    fn spawn(&self, dir: &RunDir, lock: File, waiting: Option<Waiting>) -> io::Result<Spawned>;

    /// Connects to the keeper of a run, spawned by whichever incarnation.
    ///
    /// # Errors
    /// Nobody listens (yet, or any more), or it keeps another run.
    async fn connect(&self, dir: &RunDir, assignment: &Assignment) -> io::Result<Box<dyn ShimLink>>;

    /// Kills what the keeper of a run may have left when it died, or lets live though it should not, and spares the
    /// keeper itself; true when nothing else of the run lives any more.
    fn kill_leftovers(&self, cgroup: Option<&Path>, marker: &str) -> bool;
}

/// A keeper that was just spawned.
pub struct Spawned {
    /// Its pid, for log lines alone.
    pub pid: Option<u32>,
    /// Resolves when it is gone. It need not be awaited, and dropping it ends nobody.
    pub gone: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Spawned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Spawned").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// A connection to the keeper of one run. While it stands, the keeper lives.
#[tonic::async_trait]
pub trait ShimLink: fmt::Debug + Send {
    /// Tells the keeper something and waits until it has heeded it.
    ///
    /// # Errors
    /// It is gone, or does not answer in time.
    async fn ask(&mut self, ask: Ask) -> io::Result<()>;

    /// Returns when the keeper has gone.
    async fn closed(&mut self);
}

/// The host this process runs on, and keepers that are processes of their own.
#[derive(Debug)]
pub(crate) struct HostShims {
    agent: AgentCommand,
    shim: ShimCommand,
    agent_env: Vec<String>,
    waiting: Mutex<Option<Waiting>>,
    taken: Notify,
}

impl HostShims {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            agent: options.agent.clone(),
            shim: options.shim.clone(),
            agent_env: options.agent_env.clone(),
            waiting: Mutex::new(None),
            taken: Notify::new(),
        }
    }

    /// The call of a shim.
    fn command(&self) -> Command {
        let mut shim = Command::new(&self.shim.program);
        shim.arg0("orch-shim")
            .args(&self.shim.leading_args)
            .env_clear()
            .envs(environment(&self.agent_env))
            .current_dir("/")
            .stdout(Stdio::null())
            .kill_on_drop(false);
        shim
    }

    fn put(&self, waiting: Option<Waiting>) -> Option<Waiting> {
        std::mem::replace(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner), waiting)
    }
}

/// Lets the keeper that waits go.
struct LetGo<'a>(&'a HostShims);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        drop(self.0.put(None));
    }
}

#[tonic::async_trait]
impl Shims for HostShims {
    fn boot_id(&self) -> io::Result<String> {
        identity::boot_id()
    }

    fn program(&self) -> Option<Program> {
        Program::find(&self.agent.program)
    }

    async fn preflight(&self, home: &Path, user: Option<User>, clock: &Clock) -> Preflight {
        preflight::check(&self.agent, home, user, clock).await
    }

    async fn stay_ready(&self, place: Option<&Path>) {
        let _let_go = LetGo(self);
        place.into_iter().for_each(waiting::tidy);
        loop {
            match Waiting::start(self.command(), place).await {
                Ok(waiting) => {
                    let pid = waiting.pid();
                    self.put(Some(waiting));
                    tracing::debug!(pid, "a shim waits for the next run");
                    self.taken.notified().await;
                    tokio::time::sleep(REFILLED_AFTER).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "could not have a shim wait for the next run");
                    tokio::time::sleep(RETRIED_AFTER).await;
                }
            }
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        let waiting = self.put(None)?;
        self.taken.notify_one();
        Some(waiting)
    }

    fn spawn(&self, dir: &RunDir, lock: File, waiting: Option<Waiting>) -> io::Result<Spawned> {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.shim_log())?;
        match waiting.map(|waiting| waiting.begin(dir, &lock, &log)) {
            Some(Ok(spawned)) => return Ok(spawned),
            Some(Err(error)) => tracing::warn!(%error, "the shim that waited is gone, spawning another"),
            None => {}
        }
        let mut shim = self
            .command()
            .arg("run")
            .arg(dir.path())
            .stdin(Stdio::from(lock))
            .stderr(Stdio::from(log))
            .spawn()?;
        let pid = shim.id();
        let gone = Box::pin(async move {
            // Only so that it leaves no zombie: whether it lives is read from its lock.
            let _ = shim.wait().await;
        });
        Ok(Spawned { pid, gone })
    }

    async fn connect(&self, dir: &RunDir, assignment: &Assignment) -> io::Result<Box<dyn ShimLink>> {
        Ok(Box::new(Link::open(dir, assignment).await?))
    }

    fn kill_leftovers(&self, cgroup: Option<&Path>, marker: &str) -> bool {
        contain::kill_leftovers(cgroup, marker)
    }
}

/// What the shim inherits: the search path and what is passed through to the agent, which so is never on disk.
fn environment(names: &[String]) -> Vec<(String, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    let passed = names.iter().filter_map(|name| Some((name.clone(), std::env::var_os(name)?)));
    passed.chain([("PATH".to_owned(), path)]).collect()
}
