//! A real `orch dev` in a folder of its own, on ports that are free, with the transcripts' agent.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// For a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// The pause between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running stack; ended when dropped, its agents with it.
pub(crate) struct Dev {
    pub(crate) folder: TempDir,
    child: Child,
    /// `http://127.0.0.1:PORT` of the scheduler.
    pub(crate) scheduler: String,
}

impl Dev {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/agent");
        for name in ["agent.sh", "orch.toml", "prompt.md"] {
            fs::copy(from.join(name), folder.path().join(name)).expect("a copy");
        }
        let mut command = here(bin(), folder.path());
        command.args(["dev", "--claude-bin", "./agent.sh", "--max-concurrency", "1"]);
        for service in ["ingest", "scheduler", "runner", "console"] {
            command.arg(format!("--{service}-addr=127.0.0.1:0"));
        }
        // What is said of it is the same on every machine.
        command.env("ORCH_CONTAINMENT", "environment");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("orch starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut lines = stdout.lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("scheduler")).expect("the scheduler's address");
        let addr = line.split_whitespace().nth(1).expect("an address");
        let scheduler = format!("http://{addr}");
        std::thread::spawn(move || lines.count());
        Self { folder, child, scheduler }
    }

    /// A line for `sh`, in which `orch` is the program under test.
    pub(crate) fn sh(&self, line: &str) -> Command {
        let mut command = here("sh", self.folder.path());
        let programs = bin().parent().expect("a folder").display().to_string();
        command.args(["-c", line]).stdin(Stdio::null());
        command.env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"));
        command.env("ORCH_SCHEDULER_URL", &self.scheduler);
        command
    }

    pub(crate) fn output(&self, line: &str) -> Output {
        self.sh(line).output().expect("sh starts")
    }

    /// Waits until what a line prints contains this.
    pub(crate) fn wait_until(&self, line: &str, text: &str) {
        let mut waited = Duration::ZERO;
        loop {
            let output = self.output(line);
            if String::from_utf8_lossy(&output.stdout).contains(text) {
                return;
            }
            assert!(waited < SOON, "`{line}` did not come to say `{text}`: {output:?}");
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let mut waited = Duration::ZERO;
        while asked.is_ok() && waited < SOON {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return,
            }
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bin() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_orch"))
}

fn here(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", folder)
        .env("USER", "ada")
        .env("LC_ALL", "C.UTF-8");
    command
}
