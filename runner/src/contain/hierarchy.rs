//! Where on this host a node may make folders for its runs: what the kernel says of its cgroup hierarchies and of ourselves.

use std::fs;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::{Cgroup, Resource};

/// One hierarchy of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// Version 2, with whatever controllers.
    Unified,
    /// Version 1, of this controller.
    Of(Resource),
}

impl Hierarchy {
    /// A writable folder for one node's runs, if this host has one: below our own cgroup, or for root below the top.
    pub(crate) fn place(self, node: &str) -> Option<PathBuf> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        self.candidates(&mounts, &own, geteuid().is_root())
            .into_iter()
            .map(|base| base.join("orch").join(node))
            .find(|place| is_usable(place))
    }

    /// The folders to try, best first.
    fn candidates(self, mountinfo: &str, own: &str, root: bool) -> Vec<PathBuf> {
        let own = own.lines().find_map(|line| self.own(line));
        let mut candidates = Vec::new();
        for (mount_root, mount_point) in mountinfo.lines().filter_map(|line| self.mount(line)) {
            let below = own.and_then(|own| Path::new(own).strip_prefix(mount_root).ok());
            // A path that leaves the mount belongs to another namespace.
            if let Some(below) =
                below.filter(|path| !path.components().any(|part| part == Component::ParentDir))
            {
                candidates.push(Path::new(mount_point).join(below));
            }
            if root {
                candidates.push(PathBuf::from(mount_point));
            }
        }
        candidates.dedup();
        candidates
    }

    /// Our own cgroup, of the line of `/proc/self/cgroup` that speaks of this hierarchy.
    fn own(self, line: &str) -> Option<&str> {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_this = match self {
            Self::Unified => number == "0" && controllers.is_empty(),
            Self::Of(resource) => names(controllers, resource),
        };
        is_this.then_some(path)
    }

    /// Root and mount point, of a line of mountinfo that speaks of this hierarchy.
    fn mount(self, line: &str) -> Option<(&str, &str)> {
        let (fields, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let is_this = match (self, kind.next()?) {
            (Self::Unified, kind) => kind == "cgroup2",
            (Self::Of(resource), "cgroup") => kind.nth(1).is_some_and(|options| names(options, resource)),
            (Self::Of(_), _) => false,
        };
        let mut fields = fields.split(' ').skip(3);
        is_this.then_some((fields.next()?, fields.next()?))
    }
}

/// Whether a list with commas names a controller.
fn names(list: &str, resource: Resource) -> bool {
    list.split(',').any(|name| name == resource.as_str())
}

fn is_usable(place: &Path) -> bool {
    let path = place.join(format!("probe-{}", std::process::id()));
    let cgroup = Cgroup::at(path.clone());
    let usable = cgroup.create().is_ok() && access(path.join("cgroup.procs"), Access::WRITE_OK).is_ok();
    // Whether it goes is no part of the question.
    let _ = cgroup.remove();
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const OWN: &str = "9:name=systemd:/\n4:memory:/a/b\n3:cpu,cpuacct:/\n0::/system.slice/orch.service\n";

    fn tried(hierarchy: Hierarchy, mountinfo: &str, own: &str, root: bool) -> Vec<PathBuf> {
        hierarchy.candidates(mountinfo, own, root)
    }

    #[test]
    fn the_cgroup2_mount_is_found_on_hybrid_hosts_too() {
        let below = Path::new("/sys/fs/cgroup/unified/system.slice/orch.service");
        assert_eq!(tried(Hierarchy::Unified, HYBRID, OWN, false), [below]);
        assert_eq!(
            tried(Hierarchy::Unified, HYBRID, OWN, true),
            [below, Path::new("/sys/fs/cgroup/unified")]
        );
    }

    #[test]
    fn a_mount_of_a_part_serves_what_lies_in_it() {
        let mount = "41 31 0:38 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw";
        let tried = |mount, own| tried(Hierarchy::Unified, mount, own, false);
        assert_eq!(tried(mount, "0::/docker/abc/x"), [Path::new("/sys/fs/cgroup/x")]);
        assert!(tried(mount, "0::/elsewhere").is_empty());
        assert!(tried("41 31 0:38 / /c rw - cgroup2 c rw", "0::/../../other").is_empty());
    }

    #[test]
    fn controllers_of_version_1_are_found_by_their_mounts() {
        let tried = |resource, root| tried(Hierarchy::Of(resource), HYBRID, OWN, root);
        assert_eq!(tried(Resource::Memory, false), [Path::new("/sys/fs/cgroup/memory/a/b")]);
        assert_eq!(
            tried(Resource::Memory, true),
            [Path::new("/sys/fs/cgroup/memory/a/b"), Path::new("/sys/fs/cgroup/memory")]
        );
        assert_eq!(tried(Resource::Cpu, true), [Path::new("/sys/fs/cgroup/cpu")]);
        assert!(tried(Resource::Pids, true).is_empty());
    }
}
