//! One run's folder: the journal of what was accepted and meant to be spawned, the spool, the outcome.
//!
//! Its files are the only thing the runner and the shim share beside the socket, and all that the next
//! incarnation knows. What they mean for the run is `recover`'s and `launch`'s business.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use domain::containment::{Destination, Tier};
use domain::outcome::{Outcome, Progress};
use domain::steps::{self, StepFacts, StepKind, Steps};
use domain::workspace::Repository;
use domain::{Epoch, JobId, RunId};
use proto::convert::run_key;
use proto::v1::RunKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::contain::{Confinement, User};
use crate::files;
use crate::preflight::Program;
use crate::workspace::Workspace;

const ASSIGNMENT: &str = "assignment.json";
const WORKSPACE: &str = "workspace.json";
const INTENT: &str = "intent.json";
const PROGRESS: &str = "progress.json";
const OUTCOME: &str = "outcome.json";
const REPORT: &str = "report.json";
const FENCED: &str = "fenced";
const LOCK: &str = "shim.lock";
const SOCKET: &str = "shim.sock";
const UNCONTAINED: &str = "uncontained";
const EXEC_ERROR: &str = "exec-error";
const UNCONFINED: &str = "unconfined";
const WAY_OUT: &str = "egress.sock";
const TREE: &str = "tree";

/// Room for the largest outcome: a tail and two result texts whose every byte JSON escapes to six.
const OUTCOME_BYTES_RESERVED: u64 = 768 * 1024;

/// What was accepted: the offer as it came, and the secret its keeper is spoken to with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The run.
    pub run: RunId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its job.
    pub job: JobId,
    /// Known to the runner and this run's shim alone.
    pub nonce: String,
    /// What the scheduler knows the run's own node by.
    #[serde(default)]
    pub token: String,
    /// The job's project.
    pub project: String,
    /// The job's work item.
    pub work_item: String,
    /// What the agent is told on its standard input.
    pub prompt: String,
    /// `--model`.
    pub model: Option<String>,
    /// `--max-turns`.
    pub max_turns: Option<u32>,
    /// The longest life, in milliseconds.
    pub max_runtime_ms: i64,
    /// The longest silence, in milliseconds.
    pub idle_ms: i64,
    /// The longest silence while a tool call is open, in milliseconds.
    pub idle_in_tool_ms: i64,
    /// The job's `traceparent`.
    pub trace_context: Option<String>,
    /// `--resume`.
    pub resume_session: Option<String>,
    /// The repository whose worktree is the workspace; none: a plain folder.
    pub repository: Option<Repository>,
    /// What is done once the agent has succeeded.
    pub steps: Steps,
    /// Whether the agent gets no tool that reaches the network.
    #[serde(default)]
    pub untrusted: bool,
    /// How far the agent must be contained.
    #[serde(default)]
    pub tier: Tier,
    /// Where it gets to, in the strictest tier.
    #[serde(default)]
    pub egress: Vec<Destination>,
}

impl Assignment {
    /// Names the run to the scheduler.
    pub fn key(&self) -> RunKey {
        RunKey { token: self.token.clone(), ..run_key(self.run, self.epoch) }
    }

    /// The value of `ORCH_RUN_MARKER`, by which this run's processes are told from all others. The agent sees it,
    /// so it holds a hash of the nonce and not the nonce.
    pub fn marker(&self) -> String {
        const HASH_DIGITS: usize = 32;
        let hash = hex::encode(Sha256::digest(self.nonce.as_bytes()));
        format!("{}:{}", self.run, &hash[..HASH_DIGITS])
    }
}

/// What a shim keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramKind {
    /// An agent: it gets the CLI's arguments and settings, and its events are read.
    Agent,
    /// The program of a gate: it gets its own arguments, none of the agent's variables, and its exit code counts.
    Gate,
}

/// Written before a shim is spawned: after a crash, a run with this file and no outcome may have had an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The boot in which the deadline counts.
    pub boot_id: String,
    /// When the lease ends unless it is extended, in milliseconds of boot time.
    pub lease_deadline_boot_ms: i64,
    /// From SIGTERM to SIGKILL, in milliseconds.
    pub kill_grace_ms: i64,
    /// How long after its result an agent may take to exit.
    pub after_result_ms: i64,
    /// How the shim's own binary is called as a shim.
    pub shim_args: Vec<String>,
    /// The file to execute, as the preflight saw it.
    pub program: Program,
    /// Its arguments before those that every agent gets; all of them where it is no agent.
    pub leading_args: Vec<String>,
    /// What it is.
    pub kind: ProgramKind,
    /// `--permission-mode`.
    pub permission_mode: String,
    /// Names passed through from the shim's environment.
    pub agent_env: Vec<String>,
    /// The agent's folder.
    pub workspace: PathBuf,
    /// The agent's HOME.
    pub home: PathBuf,
    /// The first bytes of the log that are kept.
    pub spool_head_bytes: u64,
    /// The last bytes of the log that are kept.
    pub spool_tail_bytes: u64,
    /// The cgroup to be made for the run; none: session, subreaper and marker have to do.
    pub cgroup: Option<PathBuf>,
    /// How the program is contained; none: in tier environment.
    #[serde(default)]
    pub confinement: Option<Confinement>,
    /// Whom it runs as; none: as its shim.
    #[serde(default)]
    pub user: Option<User>,
}

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The folder at `path`, which may not exist yet.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Journals an accepted run: durable when this returns.
    pub fn create(runs: &Path, assignment: &Assignment) -> io::Result<Self> {
        let dir = Self::at(runs.join(assignment.run.to_string()));
        dir.journal(assignment)?;
        Ok(dir)
    }

    /// Makes the folder and journals what it is for: durable when this returns.
    pub fn journal(&self, assignment: &Assignment) -> io::Result<()> {
        files::create_private_dir(&self.spool())?;
        files::write_durable(&self.path, ASSIGNMENT, &serde_json::to_vec(assignment)?)?;
        self.path.parent().map_or(Ok(()), files::sync_dir)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of what the agent printed.
    pub fn spool(&self) -> PathBuf {
        self.path.join("spool")
    }

    /// Where the shim's own complaints go.
    pub fn shim_log(&self) -> PathBuf {
        self.path.join("shim.log")
    }

    /// What was accepted; none when it was not journaled to the end.
    pub fn assignment(&self) -> io::Result<Option<Assignment>> {
        files::read_json(&self.path.join(ASSIGNMENT))
    }

    /// The git workspace as it was prepared; none before that, and for a plain folder.
    pub fn workspace(&self) -> io::Result<Option<Workspace>> {
        files::read_json(&self.path.join(WORKSPACE))
    }

    /// Journals the workspace that the agent is about to get: durable when this returns.
    pub fn write_workspace(&self, workspace: &Workspace) -> io::Result<()> {
        files::write_durable(&self.path, WORKSPACE, &serde_json::to_vec(workspace)?)
    }

    /// What was meant to be spawned; none before that.
    pub fn intent(&self) -> io::Result<Option<Intent>> {
        files::read_json(&self.path.join(INTENT))
    }

    /// Journals what is about to be spawned: durable when this returns.
    pub fn write_intent(&self, intent: &Intent) -> io::Result<()> {
        files::write_durable(&self.path, INTENT, &serde_json::to_vec(intent)?)
    }

    /// How it ended; none before that.
    pub fn outcome(&self) -> io::Result<Option<Outcome>> {
        files::read_json(&self.path.join(OUTCOME))
    }

    /// The end as it is told: the agent's, or where steps follow it, that with what became of them; none before that.
    pub fn report(&self) -> io::Result<Option<Outcome>> {
        if let Some(report) = files::read_json(&self.path.join(REPORT))? {
            return Ok(Some(report));
        }
        let Some(outcome) = self.outcome()? else { return Ok(None) };
        let has_steps = self.assignment()?.is_some_and(|assignment| steps::due(&assignment.steps, &outcome));
        Ok((!has_steps).then_some(outcome))
    }

    /// Records the end with what became of the steps: durable when this returns.
    pub fn write_report(&self, report: &Outcome) -> io::Result<()> {
        files::write_durable(&self.path, REPORT, &serde_json::to_vec(report)?)
    }

    /// What was meant to be done as a step; none before that.
    pub fn step_intent<T: DeserializeOwned>(&self, step: StepKind) -> io::Result<Option<T>> {
        files::read_json(&self.path.join(format!("step-{}.intent.json", step.as_str())))
    }

    /// Journals what is about to be done as a step: durable when this returns.
    pub fn write_step_intent(&self, step: StepKind, intent: &impl Serialize) -> io::Result<()> {
        let name = format!("step-{}.intent.json", step.as_str());
        files::write_durable(&self.path, &name, &serde_json::to_vec(intent)?)
    }

    /// What became of a step; none before its end.
    pub fn step_result(&self, step: StepKind) -> io::Result<Option<StepFacts>> {
        files::read_json(&self.path.join(format!("step-{}.result.json", step.as_str())))
    }

    /// Journals what became of a step: durable when this returns.
    pub fn write_step_result(&self, facts: &StepFacts) -> io::Result<()> {
        let name = format!("step-{}.result.json", facts.step.as_str());
        files::write_durable(&self.path, &name, &serde_json::to_vec(facts)?)
    }

    /// When a step first failed in a way that passes, in milliseconds of boot time; none before that. A run outlives no boot.
    pub fn step_fails_since(&self, step: StepKind) -> io::Result<Option<i64>> {
        files::read_json(&self.path.join(format!("step-{}.fails.json", step.as_str())))
    }

    /// Journals that: durable when this returns.
    pub fn write_step_fails_since(&self, step: StepKind, boot_ms: i64) -> io::Result<()> {
        let name = format!("step-{}.fails.json", step.as_str());
        files::write_durable(&self.path, &name, &serde_json::to_vec(&boot_ms)?)
    }

    /// The folder of one try of the gate `command`, laid out as a run's.
    #[must_use]
    pub fn gate(&self, tries: u32) -> Self {
        Self::at(self.path.join(format!("gate-{tries}")))
    }

    /// What the agent reported of itself so far; none before it did.
    pub fn progress(&self) -> io::Result<Option<Progress>> {
        files::read_json(&self.path.join(PROGRESS))
    }

    /// Says what the agent reported of itself so far.
    pub fn write_progress(&self, progress: &Progress) -> io::Result<()> {
        files::replace(&self.path, PROGRESS, &serde_json::to_vec(progress)?)
    }

    /// Sets disk space aside, so that the outcome can be written on a full disk.
    pub fn reserve_outcome(&self) -> io::Result<()> {
        files::reserve(&self.path, OUTCOME, OUTCOME_BYTES_RESERVED)
    }

    /// Records the outcome; the first one stays. Only the holder of the shim's lock may call it.
    pub fn write_outcome(&self, outcome: &Outcome) -> io::Result<()> {
        if self.path.join(OUTCOME).try_exists()? {
            return Ok(());
        }
        files::write_durable(&self.path, OUTCOME, &serde_json::to_vec(outcome)?)
    }

    /// Takes the lock that a shim holds from before its spawn to its death; none while one lives.
    pub fn try_lock(&self) -> io::Result<Option<File>> {
        let file = files::private_file(&self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Remembers that the run no longer owns its job.
    pub fn mark_fenced(&self) -> io::Result<()> {
        files::write_durable(&self.path, FENCED, b"")
    }

    /// Whether the run no longer owns its job.
    pub fn is_fenced(&self) -> bool {
        self.path.join(FENCED).exists()
    }

    /// Remembers that the agent could not be put into its cgroup.
    pub fn mark_uncontained(&self, error: &io::Error) -> io::Result<()> {
        fs::write(self.path.join(UNCONTAINED), error.to_string())
    }

    /// Whether the agent could not be put into its cgroup.
    pub fn is_uncontained(&self) -> bool {
        self.path.join(UNCONTAINED).exists()
    }

    /// Tells the shim why the agent's program could not be executed.
    pub fn write_exec_error(&self, error: &str) -> io::Result<()> {
        fs::write(self.path.join(EXEC_ERROR), error)
    }

    /// Why the agent's program could not be executed.
    pub fn exec_error(&self) -> Option<String> {
        fs::read_to_string(self.path.join(EXEC_ERROR)).ok().filter(|error| !error.is_empty())
    }

    /// Opens the file for that; as long as nothing is in it there is no error.
    pub fn open_exec_error(&self) -> io::Result<File> {
        files::private_file(&self.path.join(EXEC_ERROR))
    }

    /// Opens the file in which it is said why the agent could not be contained.
    pub fn open_unconfined(&self) -> io::Result<File> {
        files::private_file(&self.path.join(UNCONFINED))
    }

    /// Why the agent could not be contained as it must be, so that it was not executed.
    pub fn unconfined(&self) -> Option<String> {
        fs::read_to_string(self.path.join(UNCONFINED)).ok().filter(|error| !error.is_empty())
    }

    /// The folder in which the tree of a sealed agent is made; it is there only in the agent's own namespace.
    pub fn trees(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// A way to the socket that is short however deep the folder lies: socket paths end at 107 bytes.
    /// Valid as long as the file is kept.
    pub fn socket(&self) -> io::Result<(File, PathBuf)> {
        self.short(SOCKET)
    }

    /// As [`RunDir::socket`]: where a sealed agent's way out is handed to its shim.
    pub fn way_out(&self) -> io::Result<(File, PathBuf)> {
        self.short(WAY_OUT)
    }

    fn short(&self, name: &str) -> io::Result<(File, PathBuf)> {
        use std::os::fd::AsRawFd as _;
        let dir = File::open(&self.path)?;
        let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
        Ok((dir, PathBuf::from(path)))
    }

    /// Forgets the run: gone at once under its name, then removed piece by piece.
    pub fn remove(&self, trash: &Path) -> io::Result<()> {
        let Some(name) = self.path.file_name() else { return Ok(()) };
        files::create_private_dir(trash)?;
        let gone = trash.join(name);
        match fs::rename(&self.path, &gone) {
            Ok(()) => fs::remove_dir_all(&gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
