//! The marks a test can read afterwards: the ledger of spawns, the counter of spawns, the dump of what
//! the program was given.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use e2e::harness::boot_ms;
use serde_json::{Value, json};

use crate::flood::Flood;

/// A ledger with its start line written: lines `KIND PID STARTTIME RUN_ID JOB_ID BOOT_MS`, each in one append, so
/// that those of several agents never mix.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    path: PathBuf,
    identity: String,
}

impl Ledger {
    /// Writes the `start` line.
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        let (run_id, job_id) = (told("ORCH_RUN_ID"), told("ORCH_JOB_ID"));
        let identity = format!("{} {} {run_id} {job_id}", std::process::id(), start_time()?);
        let ledger = Self { path: path.to_owned(), identity };
        ledger.note("start", "")?;
        Ok(ledger)
    }

    /// Writes the `end` line, which has the exit code as its last word. A program killed by SIGKILL has none.
    pub(crate) fn end(&self, exit: &str) -> io::Result<()> {
        self.note("end", &format!(" {exit}"))
    }

    /// Writes a `beat` line: it was still alive.
    pub(crate) fn beat(&self) -> io::Result<()> {
        self.note("beat", "")
    }

    /// Writes a `double` line: another agent of the job was alive.
    pub(crate) fn double(&self) -> io::Result<()> {
        self.note("double", "")
    }

    /// Writes a `flood` line: how much was printed, its longest write and the time it took.
    pub(crate) fn flood(&self, bytes: u64, flood: Flood) -> io::Result<()> {
        let (longest, all) = (flood.longest_write.as_micros(), flood.all.as_millis());
        self.note("flood", &format!(" {bytes} {longest} {all}"))
    }

    fn note(&self, kind: &str, more: &str) -> io::Result<()> {
        append(&self.path, &format!("{kind} {} {}{more}\n", self.identity, boot_ms()))
    }
}

/// What the runner told, or `-`.
pub(crate) fn told(name: &str) -> String {
    std::env::var_os(name).map_or_else(|| "-".into(), |value| value.to_string_lossy().into_owned())
}

/// The lock that only one agent of a job can hold: the kernel lets it go when the process is gone, not before.
/// None: another agent of the job holds it.
pub(crate) fn lock_job(folder: &Path) -> io::Result<Option<File>> {
    std::fs::create_dir_all(folder)?;
    let file = OpenOptions::new().create(true).append(true).open(folder.join(told("ORCH_JOB_ID")))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

/// This process's start in clock ticks after boot: field 22 of its stat line, counted after the last
/// parenthesis because the name in the second field may hold anything.
fn start_time() -> io::Result<String> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .nth(19)
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("no start time in stat"))
}

/// Counts this spawn in a file and returns its number, from 1.
pub(crate) fn count_spawn(path: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    file.lock()?;
    let mut seen = Vec::new();
    file.read_to_end(&mut seen)?;
    file.write_all(b"x")?;
    Ok(seen.len() as u64 + 1)
}

/// Writes what the program was given, under another name first so that a reader never sees a part.
pub(crate) fn dump(path: &Path, prompt: &str) -> io::Result<()> {
    let environment: serde_json::Map<String, Value> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into()))
        .collect();
    let given = json!({
        "argv": std::env::args().collect::<Vec<_>>(),
        "env": environment,
        "cwd": std::env::current_dir()?,
        "prompt": prompt,
        "pid": std::process::id(),
    });
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    file.write_all(given.to_string().as_bytes())?;
    std::fs::rename(unfinished, path)
}
