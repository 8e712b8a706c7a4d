//! A process that has nothing to do with Orch but the id that one of its processes had.

use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};

use super::namespace::LAST_PID;

/// How often an id is tried to be got: another process may come in between.
const TRIES_MAX: usize = 1000;

/// It sleeps, and dies of nearly every signal it may get.
#[derive(Debug)]
pub(super) struct Stranger {
    child: Child,
    pid: i32,
    started: String,
}

impl Stranger {
    /// Starts one under this id, which must be free. It leads a process group of the same number.
    pub(super) fn with_id(pid: i32) -> anyhow::Result<Self> {
        for _ in 0..TRIES_MAX {
            std::fs::write(LAST_PID, (pid - 1).to_string())
                .context("could not choose the next process id")?;
            let child = Command::new("sleep")
                .arg("infinity")
                .env_clear()
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            if child.id() == u32::try_from(pid).ok() {
                let (_, started) = look(pid)?;
                return Ok(Self { child, pid, started });
            }
        }
        bail!("process id {pid} could not be got in {TRIES_MAX} tries");
    }

    /// Checks that it lives, sleeps, and has seen no signal.
    pub(super) fn must_be_untouched(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the stranger with the id {} was ended: {status}", self.pid);
        }
        let (state, started) = look(self.pid)?;
        ensure!(started == self.started, "the stranger is another process");
        ensure!(state == "S", "the stranger was stopped: it is in state {state}");
        Ok(())
    }

    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("could not end the stranger")
    }
}

/// State and start time of a process.
fn look(pid: i32) -> anyhow::Result<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let words: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    ensure!(words.len() > 19, "{pid} has no start time: {stat}");
    Ok((words[0].into(), words[19].into()))
}
