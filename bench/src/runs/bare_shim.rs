//! What bounds a whole run: the journal, the shim and its child, the outcome, the log, and a flush for each of the three commits,
//! with no scheduler, no messages and no database around them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::steps::Steps;
use domain::{Epoch, JobId, RunId};
use e2e::harness::program;
use futures::{StreamExt, TryStreamExt, stream};
use runner::Program;
use runner::run_dir::{Assignment, Intent, ProgramKind, RunDir};
use tokio::process::Command;
use tokio::time::Instant;
use uuid::Uuid;

/// What a commit writes at least: a page and its frame.
const COMMIT_BYTES: usize = 4_096 + 24;
const LEASE: Duration = Duration::from_mins(5);

/// A folder of runs and what they share.
#[derive(Debug)]
pub(super) struct BareShims {
    runner: PathBuf,
    child: Program,
    folder: PathBuf,
    cgroups: Option<PathBuf>,
    boot_id: String,
    commits: Arc<File>,
}

impl BareShims {
    pub(super) fn new(folder: &Path, child: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("bare");
        for inner in ["runs", "trash", "logs", "work"] {
            std::fs::create_dir_all(folder.join(inner))?;
        }
        Ok(Self {
            runner: program("orch-runner")?,
            child: Program::find(child).context("there is no such program")?,
            cgroups: cgroups(),
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            commits: Arc::new(OpenOptions::new().create(true).append(true).open(folder.join("commits"))?),
            folder,
        })
    }

    /// Keeps `count` runs, `concurrency` at once; gives the rate per second.
    pub(super) async fn rate(&self, count: usize, concurrency: usize) -> anyhow::Result<f64> {
        let begun = Instant::now();
        stream::iter(0..count)
            .map(|_| self.run())
            .buffer_unordered(concurrency)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        if let Some(place) = &self.cgroups {
            // Another one may be at work there.
            let _ = std::fs::remove_dir(place);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }

    async fn run(&self) -> anyhow::Result<()> {
        let assignment = assignment();
        let intent = self.intent(assignment.run);
        let (runs, log) =
            (self.folder.join("runs"), self.folder.join("logs").join(assignment.run.to_string()));
        let commits = Arc::clone(&self.commits);
        let (dir, lock) = blocking(move || {
            commit(&commits)?;
            let dir = RunDir::create(&runs, &assignment)?;
            commit(&commits)?;
            let lock = dir.try_lock()?.ok_or(io::ErrorKind::WouldBlock)?;
            dir.write_intent(&intent)?;
            Ok((dir, lock))
        })
        .await?;
        let mut shim = Command::new(&self.runner);
        shim.arg0("orch-shim").args(["shim", "run"]).arg(dir.path()).env_clear().current_dir("/");
        let ended = shim.stdin(Stdio::from(lock)).stdout(Stdio::null()).status().await?;
        let (commits, trash) = (Arc::clone(&self.commits), self.folder.join("trash"));
        blocking(move || {
            let outcome = dir.outcome()?;
            let file = File::create(&log)?;
            file.sync_all()?;
            log.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
            commit(&commits)?;
            dir.remove(&trash)?;
            Ok(outcome)
        })
        .await?
        .context("the shim left no outcome")?;
        ensure!(ended.success(), "a shim ended with {ended}");
        Ok(())
    }

    fn intent(&self, run: RunId) -> Intent {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        Intent {
            boot_id: self.boot_id.clone(),
            lease_deadline_boot_ms: now.tv_sec * 1_000 + lease_ms,
            kill_grace_ms: 10_000,
            after_result_ms: 30_000,
            shim_args: vec!["shim".to_owned()],
            program: self.child.clone(),
            leading_args: Vec::new(),
            kind: ProgramKind::Agent,
            permission_mode: "default".to_owned(),
            agent_env: Vec::new(),
            workspace: self.folder.join("work"),
            home: self.folder.join("work"),
            spool_head_bytes: 1 << 20,
            spool_tail_bytes: 1 << 20,
            cgroup: self.cgroups.as_ref().map(|place| place.join(run.to_string())),
            confinement: None,
            user: None,
        }
    }
}

fn assignment() -> Assignment {
    const MS: i64 = 600_000;
    Assignment {
        run: RunId(Uuid::now_v7()),
        epoch: Epoch(1),
        job: JobId(1),
        nonce: Uuid::new_v4().simple().to_string(),
        token: String::new(),
        project: "shop".to_owned(),
        work_item: "shop@main".to_owned(),
        prompt: "Review.\n".to_owned(),
        model: None,
        max_turns: None,
        max_runtime_ms: MS,
        idle_ms: MS,
        idle_in_tool_ms: MS,
        trace_context: None,
        resume_session: None,
        repository: None,
        steps: Steps::default(),
        untrusted: false,
        tier: domain::containment::Tier::Environment,
        egress: Vec::new(),
    }
}

/// Where cgroups can be made, as for a runner of root.
fn cgroups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| place.split(' ').nth(4).map(PathBuf::from))?
    })?;
    let place = mount.join("orch").join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&place).is_ok().then_some(place)
}

/// As a commit of the database's log.
fn commit(mut commits: &File) -> io::Result<()> {
    commits.write_all(&[0; COMMIT_BYTES])?;
    commits.sync_data()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await??)
}
