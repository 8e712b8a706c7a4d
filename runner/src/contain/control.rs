//! Memory, processes and CPU of a run, bounded by the controllers that the host has: of cgroup v2, or of v1 where it is
//! mounted, also side by side. Killing is not done here: that is the cgroup's own business and needs no controller.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::remove_above;
use super::hierarchy::Hierarchy;
use super::{Bounds, Cgroup};

/// Which hierarchy a controller is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Memory, swap included.
    Memory,
    /// Processes and threads.
    Pids,
    /// CPU time.
    Cpu,
}

impl Resource {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// A folder of one controller: a node's place, or one run's in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    /// What it bounds.
    pub resource: Resource,
    /// How its files are called.
    pub version: Version,
    /// The folder.
    pub path: PathBuf,
}

/// The period over which CPU time is counted, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// The places in which this node can bound its runs, one per controller that is to be had. `cgroups` is where its cgroups of
/// version 2 are.
pub(crate) fn places(node: &str, cgroups: Option<&Path>) -> Vec<Controller> {
    let of_v2 = cgroups.map(enabled).unwrap_or_default();
    let place = |resource: Resource| {
        if let Some(cgroups) = cgroups.filter(|_| of_v2.contains(&resource)) {
            return Some(Controller { resource, version: Version::V2, path: cgroups.to_owned() });
        }
        Hierarchy::Of(resource).place(node).map(|path| Controller { resource, version: Version::V1, path })
    };
    Resource::ALL.into_iter().filter_map(place).collect()
}

/// Which controllers of version 2 the cgroups in `place` have, once they were asked for all the way down to it.
fn enabled(place: &Path) -> Vec<Resource> {
    let Some(base) = place.parent().and_then(Path::parent) else { return Vec::new() };
    let names = |file: PathBuf| fs::read_to_string(file).unwrap_or_default();
    let has = |names: &str, resource: Resource| {
        names.split_ascii_whitespace().any(|name| name == resource.as_str())
    };
    let offered = names(base.join("cgroup.controllers"));
    for resource in Resource::ALL.into_iter().filter(|resource| has(&offered, *resource)) {
        if Cgroup::at(place.to_owned()).create().is_err() {
            return Vec::new();
        }
        let word = format!("+{}", resource.as_str());
        for folder in [base, &base.join("orch"), place] {
            let ask = || fs::write(folder.join("cgroup.subtree_control"), &word);
            // A cgroup with processes passes nothing on: ours go to one of their own beside the runs.
            if ask().is_err() && folder == base && step_aside(base).is_ok() {
                let _ = ask();
            }
        }
    }
    let passed = names(place.join("cgroup.subtree_control"));
    Resource::ALL.into_iter().filter(|resource| has(&passed, *resource)).collect()
}

/// Moves what of our own cgroup is ours, the runner and the shims of earlier ones, to a leaf of it. Whatever else lives there stays,
/// and keeps the cgroup as it is; so does the top of the hierarchy, where nobody need step aside.
fn step_aside(base: &Path) -> io::Result<()> {
    if !base.join("cgroup.type").exists() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let ours = fs::read_link("/proc/self/exe")?;
    let leaf = base.join("orch-runner");
    fs::create_dir_all(&leaf)?;
    for pid in fs::read_to_string(base.join("cgroup.procs"))?.lines() {
        if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == ours) {
            fs::write(leaf.join("cgroup.procs"), pid)?;
        }
    }
    Ok(())
}

/// Removes what runs of an earlier incarnation left in the places; where somebody lives nothing goes.
pub(crate) fn prune(places: &[Controller]) {
    for place in places.iter().filter(|place| place.version == Version::V1) {
        for entry in fs::read_dir(&place.path).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
            remove_above(&entry.path());
        }
    }
}

impl Controller {
    /// The folder of one run in this place.
    pub(crate) fn of_run(&self, run: &str) -> Self {
        Self { path: self.path.join(run), ..self.clone() }
    }

    /// Makes it and writes its bounds.
    pub(crate) fn bound(&self, bounds: &Bounds) -> io::Result<()> {
        Cgroup::at(self.path.clone()).create()?;
        for (file, value, is_needed) in self.files(bounds) {
            match fs::write(self.path.join(file), value) {
                Err(error) if is_needed => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!("{file} of {}: {error}", self.path.display()),
                    ));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Its files and what is written to them; those of swap are there only where the kernel counts it.
    fn files(&self, bounds: &Bounds) -> Vec<(&'static str, String, bool)> {
        let memory = bounds.memory_bytes.to_string();
        let quota_us = bounds.cpu_percent.map(|percent| u64::from(percent) * CPU_PERIOD_US / 100);
        match (self.resource, self.version) {
            (Resource::Memory, Version::V1) => vec![
                ("memory.limit_in_bytes", memory.clone(), true),
                ("memory.memsw.limit_in_bytes", memory, false),
            ],
            (Resource::Memory, Version::V2) => {
                vec![("memory.max", memory, true), ("memory.swap.max", "0".to_owned(), false)]
            }
            (Resource::Pids, _) => vec![("pids.max", bounds.pids.to_string(), true)],
            (Resource::Cpu, Version::V1) => {
                quota_us.map(|quota| ("cpu.cfs_quota_us", quota.to_string(), true)).into_iter().collect()
            }
            (Resource::Cpu, Version::V2) => quota_us
                .map(|quota| ("cpu.max", format!("{quota} {CPU_PERIOD_US}"), true))
                .into_iter()
                .collect(),
        }
    }

    /// Puts the calling process into it.
    pub(crate) fn join(&self) -> io::Result<()> {
        match self.version {
            Version::V1 => fs::write(self.path.join("cgroup.procs"), "0"),
            // The run's cgroup, which it is in already.
            Version::V2 => Ok(()),
        }
    }

    /// How many of its processes the kernel killed for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match (self.resource, self.version) {
            (Resource::Memory, Version::V1) => "memory.oom_control",
            (Resource::Memory, Version::V2) => "memory.events",
            (Resource::Pids | Resource::Cpu, _) => return 0,
        };
        let said = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        said.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }

    /// Removes it once everything in it is dead; the cgroup of version 2 goes by itself.
    pub(crate) fn remove(&self) {
        if self.version == Version::V1 {
            super::gone_within(|| match fs::remove_dir(&self.path) {
                Err(error) => error.kind() == io::ErrorKind::NotFound,
                Ok(()) => true,
            });
            remove_above(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds =
        Bounds { memory_bytes: 1 << 30, pids: 64, cpu_percent: Some(150), disk_bytes: 1 << 30 };

    #[test]
    fn bounds_are_written_as_each_version_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let control = |resource, version| Controller { resource, version, path: dir.path().join("run") };
        for resource in Resource::ALL {
            control(resource, Version::V1).bound(&BOUNDS).unwrap();
            control(resource, Version::V2).bound(&BOUNDS).unwrap();
        }
        for (file, value) in [
            ("memory.limit_in_bytes", "1073741824"),
            ("memory.max", "1073741824"),
            ("memory.swap.max", "0"),
            ("pids.max", "64"),
            ("cpu.cfs_quota_us", "150000"),
            ("cpu.max", "150000 100000"),
        ] {
            assert_eq!(fs::read_to_string(dir.path().join("run").join(file)).unwrap(), value, "{file}");
        }
        fs::write(dir.path().join("run/memory.events"), "oom 3\noom_kill 2\n").unwrap();
        assert_eq!(control(Resource::Memory, Version::V2).oom_kills(), 2);
    }
}
