//! What an agent sees of the host in the tiers with a sandbox: lists of what it may read and what it may write. One list is
//! used twice: by Landlock, and for the tree that a sealed agent has in place of the host's.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What programs need of any system. Of `/etc` only what holds no secret.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys/devices/system/cpu",
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/tls/certs",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/timezone",
];

/// Devices that lead nowhere.
const DEVICES: &[&str] = &["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// Folders that a sealed agent has for itself, in memory.
pub(crate) const SCRATCH: &[&str] = &["/dev/shm", "/tmp", "/var/tmp"];

/// What an agent may read and execute, and what it may write besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Read and executed.
    pub read: Vec<PathBuf>,
    /// Read, executed and written.
    pub write: Vec<PathBuf>,
}

/// What is an agent's own, wherever it lies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    pub(crate) read: Vec<PathBuf>,
    pub(crate) write: Vec<PathBuf>,
}

impl View {
    /// What an agent with these folders sees. `kept_from` is never in it, but for what of it is its `own`: a folder to
    /// be read that holds one of those is left out whole.
    pub(crate) fn new(program: &Path, extra: &[PathBuf], own: Own, kept_from: &[&Path]) -> Self {
        let holds_none = |path: &Path| !kept_from.iter().any(|kept| kept.starts_with(path));
        let system = SYSTEM.iter().map(Path::new);
        let read = system
            .chain(extra.iter().map(PathBuf::as_path))
            .filter(|path| path.canonicalize().is_ok_and(|real| holds_none(&real)))
            .chain([program])
            .map(Path::to_owned)
            .chain(own.read)
            .collect();
        let devices = DEVICES.iter().map(PathBuf::from);
        Self { read, write: own.write.into_iter().chain(devices).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_what_is_kept_away_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let (state, tools) = (dir.path().join("opt/state"), dir.path().join("tools"));
        std::fs::create_dir_all(&state).unwrap();
        std::fs::create_dir_all(&tools).unwrap();
        let home = state.join("homes/x");
        let extra = [dir.path().join("opt"), tools.clone(), dir.path().join("none")];
        let own = Own { read: Vec::new(), write: vec![home.clone()] };
        let view = View::new(Path::new("/bin/agent"), &extra, own, &[&state]);
        assert!(view.read.contains(&tools) && view.read.contains(&PathBuf::from("/bin/agent")));
        assert!(!view.read.contains(&extra[0]) && !view.read.contains(&extra[2]));
        assert!(view.write.contains(&home) && !view.write.contains(&state));
        assert!(!view.read.iter().any(|path| path == Path::new("/etc") || path == Path::new("/")));
    }
}
