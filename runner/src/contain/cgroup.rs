//! cgroup v2: a folder per run, killed as a whole. Needs no controller, so hybrid hosts serve as well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use super::gone_within;

/// A writable place for the cgroups of one node's runs, if this host has one: below our own cgroup, or for root
/// below the root of the hierarchy.
pub(crate) fn place(node: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let root = geteuid().is_root();
    candidates(&mounts, &own, root)
        .into_iter()
        .map(|base| base.join("orch").join(node))
        .find(|place| probe(place))
}

/// The folders to try, best first.
fn candidates(mountinfo: &str, own: &str, root: bool) -> Vec<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let mut candidates = Vec::new();
    for (mount_root, mount_point) in mountinfo.lines().filter_map(cgroup2_mount) {
        let below = own.and_then(|own| Path::new(own).strip_prefix(mount_root).ok());
        // A path that leaves the mount belongs to another namespace.
        if let Some(below) = below.filter(|path| !path.components().any(|part| part.as_os_str() == "..")) {
            candidates.push(Path::new(mount_point).join(below));
        }
        if root {
            candidates.push(PathBuf::from(mount_point));
        }
    }
    candidates.dedup();
    candidates
}

/// Root and mount point of a cgroup2 mount, of one line of mountinfo.
fn cgroup2_mount(line: &str) -> Option<(&str, &str)> {
    let (fields, kind) = line.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(3);
    kind.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
}

fn probe(place: &Path) -> bool {
    let writable = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    let cgroup = Cgroup::at(place.join(format!("probe-{}", std::process::id())));
    let usable = cgroup.create().is_ok() && writable(&cgroup.path.join("cgroup.procs"));
    // Whether it goes is no part of the question.
    let _ = cgroup.remove();
    usable
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    fn tried(mountinfo: &str, own: &str, root: bool) -> Vec<String> {
        candidates(mountinfo, own, root).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_cgroup2_mount_is_found_on_hybrid_hosts_too() {
        let own = "9:name=systemd:/\n4:memory:/a/b\n0::/system.slice/orch.service\n";
        let below = "/sys/fs/cgroup/unified/system.slice/orch.service";
        assert_eq!(tried(HYBRID, own, false), [below]);
        assert_eq!(tried(HYBRID, own, true), [below, "/sys/fs/cgroup/unified"]);
    }

    #[test]
    fn a_mount_of_a_part_serves_what_lies_in_it() {
        let mount = "41 31 0:38 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw";
        assert_eq!(tried(mount, "0::/docker/abc/x", false), ["/sys/fs/cgroup/x"]);
        assert!(tried(mount, "0::/elsewhere", false).is_empty());
        assert!(tried("41 31 0:38 / /c rw - cgroup2 c rw", "0::/../../other", false).is_empty());
    }
}
