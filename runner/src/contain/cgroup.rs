//! cgroup v2: a folder per run, killed as a whole. Needs no controller, so hybrid hosts serve as well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::gone_within;

/// Removes what a run's cgroup lies in, the node's folder and the one all nodes share: both stay while anything is in them.
pub(super) fn remove_above(path: &Path) {
    for above in path.ancestors().skip(1).take(2) {
        let _ = fs::remove_dir(above);
    }
}

/// How often a cgroup is tried to be made while others remove the folders above it.
const CREATE_TRIES: usize = 10;

/// One run's cgroup, two folders below the place that it was made in.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup at `path`, which may not exist.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes it and those above it.
    pub(crate) fn create(&self) -> io::Result<()> {
        let mut result = fs::create_dir_all(&self.path);
        // Whoever leaves last removes the folders above, which may be just now.
        for _ in 0..CREATE_TRIES {
            if matches!(&result, Err(error) if error.kind() == io::ErrorKind::NotFound) {
                result = fs::create_dir_all(&self.path);
            }
        }
        result
    }

    /// Puts the calling process into it.
    pub(crate) fn join(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), "0")
    }

    /// Sends SIGKILL to everything in it.
    pub(crate) fn kill(&self) {
        // Kernels before 5.14 have no `cgroup.kill`.
        if fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            self.kill_each();
        }
    }

    fn kill_each(&self) {
        for pid in self.members() {
            let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if self.members().contains(&pid) {
                let _ = pidfd_send_signal(&held, Signal::KILL);
            }
        }
    }

    fn members(&self) -> Vec<Pid> {
        let procs = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        procs.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)).collect()
    }

    /// Whether anything lives in it or below it; false when it does not exist.
    pub(crate) fn is_populated(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events")).is_ok_and(|events| events.contains("populated 1"))
    }

    /// Kills everything in it until nothing is left, and removes it; false when something would not die in time.
    pub(crate) fn kill_and_remove(&self) -> bool {
        gone_within(|| {
            if self.is_populated() {
                self.kill();
                return false;
            }
            // The kernel may take a moment more to let go of what has just died.
            self.remove().is_ok()
        })
    }

    /// Removes it with the cgroups that the agent made below it; an error while anything lives there.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_below(&self.path, 0)?;
        remove_above(&self.path);
        Ok(())
    }
}

fn remove_below(path: &Path, depth: usize) -> io::Result<()> {
    const DEPTH_MAX: usize = 16;
    if depth < DEPTH_MAX {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_below(&entry.path(), depth + 1)?;
            }
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
