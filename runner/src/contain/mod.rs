//! Everything a run started, and nothing else: its cgroup, or where there is none to be had, the processes that
//! carry its marker.
//!
//! Nothing here signals a remembered pid: a process is in the cgroup, or is held by a pidfd when it is looked at.

pub(crate) mod cgroup;
mod nest;
pub(crate) mod sweep;

use std::path::Path;
use std::time::Duration;

pub(crate) use cgroup::Cgroup;
pub(crate) use nest::{Contained, Nest};

/// How long the kernel may take to end what was killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Kills what a run whose shim is gone may have left; true when nothing of it lives any more.
pub(crate) fn kill_leftovers(cgroup: Option<&Path>, marker: &str) -> bool {
    let swept = sweep::kill(marker, None, || ());
    let killed = cgroup.is_none_or(|path| Cgroup::at(path.to_owned()).kill_and_remove());
    swept && killed
}
