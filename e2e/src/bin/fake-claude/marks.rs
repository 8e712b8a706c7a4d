//! The marks a test can read afterwards: the ledger of spawns, the counter of spawns, the dump of what
//! the program was given.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A ledger with its start line written.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    path: PathBuf,
    identity: String,
}

impl Ledger {
    /// Writes `start PID STARTTIME RUN_ID` in one append, so that lines of several agents never mix.
    pub(crate) fn start(path: &Path) -> io::Result<Self> {
        let run_id = std::env::var_os("ORCH_RUN_ID")
            .map_or_else(|| "-".into(), |id| id.to_string_lossy().into_owned());
        let identity = format!("{} {} {run_id}", std::process::id(), start_time()?);
        append(path, &format!("start {identity}\n"))?;
        Ok(Self { path: path.to_owned(), identity })
    }

    /// Writes `end PID STARTTIME RUN_ID EXIT`. A program killed by SIGKILL has no such line.
    pub(crate) fn end(&self, exit: &str) -> io::Result<()> {
        append(&self.path, &format!("end {} {exit}\n", self.identity))
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
