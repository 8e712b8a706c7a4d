//! Looks for what a stack may have left behind: processes that carry its marker or work in its folder,
//! cgroups named after its runs, files in its temporary folder. Ends only what carries the marker, by pidfd.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use uuid::Uuid;

/// Deepest cgroup looked at: slices, scopes, ours and one below.
const CGROUP_DEPTH_MAX: usize = 12;

/// What is left of a stack; all empty is what a test wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Process ids with their command lines.
    pub processes: Vec<(i32, String)>,
    /// Folders below the cgroup2 mount.
    pub cgroups: Vec<PathBuf>,
    /// Files and folders in the stack's temporary folder.
    pub files: Vec<PathBuf>,
}

impl Leftovers {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pid, command) in &self.processes {
            writeln!(out, "process {pid}: {command}")?;
        }
        for path in self.cgroups.iter().chain(&self.files) {
            writeln!(out, "{}", path.display())?;
        }
        Ok(())
    }
}

/// Everything that still belongs to the stack with this marker, folder and these runs.
pub fn leftovers_of(marker: &str, folder: &Path, runs: &BTreeSet<Uuid>) -> Leftovers {
    let mut cgroups = Vec::new();
    if let Some(mount) = cgroup2_mount() {
        collect_cgroups(&mount, runs, CGROUP_DEPTH_MAX, &mut cgroups);
    }
    let files =
        std::fs::read_dir(folder.join("tmp")).map(|entries| entries.flatten().map(|e| e.path()).collect());
    Leftovers { processes: processes(marker, folder), cgroups, files: files.unwrap_or_default() }
}

/// Whether a shim has a run, whose lock is its standard input then, or waits for one; `None`: it is no shim.
pub(crate) fn has_run(pid: i32, command: &str) -> Option<bool> {
    let has_lock =
        || std::fs::read_link(format!("/proc/{pid}/fd/0")).is_ok_and(|file| file.ends_with("shim.lock"));
    command.starts_with("orch-shim shim ").then(has_lock)
}

/// The process id of the shim below which a step waits, or is about to begin, to become an agent; `None`: it is no step.
pub(crate) fn shim_of_step(command: &str) -> Option<i32> {
    command.strip_prefix("orch-agent shim exec ")?.split(' ').next()?.parse().ok()
}

/// Ends every process that carries the marker.
pub(super) fn end_marked(marker: &str, folder: &Path) {
    for (number, _command) in processes(marker, folder) {
        // Gone in between is what was wanted.
        signal_one(number, Signal::KILL, marker, folder);
    }
}

/// Signals a process that carries the marker: the handle is opened first and the marker is read again
/// behind it, so that a number that has gone to another process is never signalled. False: it was gone.
pub(super) fn signal_one(number: i32, signal: Signal, marker: &str, folder: &Path) -> bool {
    let Some(pid) = Pid::from_raw(number) else { return false };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    belongs(number, marker, folder) && pidfd_send_signal(&handle, signal).is_ok()
}

fn processes(marker: &str, folder: &Path) -> Vec<(i32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(own) && belongs(*pid, marker, folder))
        .map(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&command).replace('\0', " "))
        })
        .collect()
}

/// Whether the process carries the marker in its environment, or works inside the stack's folder.
fn belongs(pid: i32, marker: &str, folder: &Path) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let carries = environment.windows(marker.len()).any(|window| window == marker.as_bytes());
    carries || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
}

/// Where cgroup v2 is mounted, also on hosts that mount v1 beside it.
pub(super) fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| place.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn collect_cgroups(folder: &Path, runs: &BTreeSet<Uuid>, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if runs.iter().any(|run| name.contains(&run.to_string()) || name.contains(&run.simple().to_string()))
        {
            found.push(entry.path());
        } else if depth > 0 {
            collect_cgroups(&entry.path(), runs, depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::until;
    use super::{end_marked, leftovers_of};
    use std::collections::BTreeSet;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[tokio::test]
    async fn a_marked_process_is_found_and_ended_and_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let marker = uuid::Uuid::new_v4().to_string();
        let look = || leftovers_of(&marker, folder.path(), &BTreeSet::new());
        assert!(look().is_empty());

        let mut child =
            Command::new("sleep").arg("600").env("ORCH_E2E", &marker).stdin(Stdio::null()).spawn().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        std::fs::write(folder.path().join("tmp/forgotten"), b"").unwrap();
        // A program has its environment a moment after it was spawned.
        let found = until("the process is found", Duration::from_secs(10), || async {
            let found = look();
            Ok((!found.processes.is_empty()).then_some(found))
        });
        let found = found.await.unwrap();
        assert_eq!(found.files, [folder.path().join("tmp/forgotten")]);
        assert_eq!(found.processes.len(), 1, "{found}");

        end_marked(&marker, folder.path());
        assert!(!child.wait().unwrap().success());
        assert_eq!(look().processes, []);
    }
}
