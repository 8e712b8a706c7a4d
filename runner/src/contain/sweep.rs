//! The fallback without a cgroup: kills by the marker in `/proc/PID/environ`, and for a subreaper by descent.

use std::fs;
use std::io::Read as _;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::LOOK_EVERY;

/// The variable that carries the marker.
pub(crate) const MARKER_VARIABLE: &str = "ORCH_RUN_MARKER";

/// How often the process table is read before a survivor is given up: about five seconds.
const ROUNDS_MAX: usize = 1000;
/// The most that is read of a process's environment.
const ENVIRON_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Kills every process that carries `marker`, or that descends from `ancestor` (a subreaper, to which whatever
/// was orphaned below it returns), until a look finds none. `reap` lets go of dead children between two looks.
/// False when something would not die.
pub(crate) fn kill(marker: &str, ancestor: Option<Pid>, mut reap: impl FnMut()) -> bool {
    for _ in 0..ROUNDS_MAX {
        let found = victims(marker, ancestor);
        if found.is_empty() {
            return true;
        }
        for pid in found {
            // Held first, then looked at again: the pid may be another process by now.
            let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if is_marked(pid, marker) || ancestor.is_some_and(|top| descends(pid, top)) {
                let _ = pidfd_send_signal(&held, Signal::KILL);
            }
        }
        reap();
        std::thread::sleep(LOOK_EVERY);
    }
    false
}

fn victims(marker: &str, ancestor: Option<Pid>) -> Vec<Pid> {
    let own = getpid();
    let is_victim = |pid: &Pid| ancestor.is_some_and(|top| descends(*pid, top)) || is_marked(*pid, marker);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        })
        .filter(|pid| *pid != own && read(*pid).is_some_and(|process| !process.dead))
        .filter(is_victim)
        .collect()
}

struct Process {
    parent: Option<Pid>,
    dead: bool,
}

fn read(pid: Pid) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may hold anything, so count from its end.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X" | "x");
    Some(Process { parent: fields.next()?.parse().ok().and_then(Pid::from_raw), dead })
}

fn descends(mut pid: Pid, top: Pid) -> bool {
    const DEPTH_MAX: usize = 4096;
    for _ in 0..DEPTH_MAX {
        match read(pid).and_then(|process| process.parent) {
            Some(parent) if parent == top => return true,
            Some(parent) => pid = parent,
            None => return false,
        }
    }
    false
}

fn is_marked(pid: Pid, marker: &str) -> bool {
    let Ok(environ) = fs::File::open(format!("/proc/{}/environ", pid.as_raw_nonzero())) else { return false };
    let mut bytes = Vec::new();
    if environ.take(ENVIRON_BYTES_MAX).read_to_end(&mut bytes).is_err() {
        return false;
    }
    let wanted = format!("{MARKER_VARIABLE}={marker}");
    bytes.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
}
