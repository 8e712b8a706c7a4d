//! Everything a run started, and nothing else: its cgroup, or where there is none to be had, the processes that
//! carry its marker. And what all of that may do: `confine`, by the tiers of `domain::containment`.
//!
//! Nothing here signals a remembered pid: a process is in the cgroup, or is held by a pidfd when it is looked at.

pub(crate) mod belongings;
mod cgroup;
mod confine;
pub(crate) mod control;
pub(crate) mod hierarchy;
pub(crate) mod probe;
mod seal;
pub(crate) mod sweep;
pub(crate) mod users;
mod view;

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::containment::Tier;
use serde::{Deserialize, Serialize};
use service::Clock;

pub(crate) use cgroup::Cgroup;
pub use confine::Confinement;
pub(crate) use confine::{TREE, confine};
pub use control::{Controller, Resource, Version};
pub(crate) use seal::EGRESS_PORT;
pub use users::{User, Users};
pub(crate) use view::Own;
pub use view::View;

/// How long the kernel may take to end what was killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What one run may take of its host, from tier `limits` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Memory of all its processes together.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub pids: u32,
    /// CPU time, in percent of one CPU; `None`: as much as there is.
    pub cpu_percent: Option<u32>,
    /// Its workspace and HOME together, and each file it writes.
    pub disk_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { memory_bytes: 8 << 30, pids: 1024, cpu_percent: None, disk_bytes: 20 << 30 }
    }
}

/// What a runner offers in the way of containment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// The strictest tier that is probed and offered.
    pub offer: Tier,
    /// What each run may take.
    pub bounds: Bounds,
    /// What its agents may read besides the system.
    pub read: Vec<PathBuf>,
    /// Whom its agents run as; none: as the runner.
    pub users: Option<Users>,
}

/// Kills what a run whose shim is gone may have left; true when nothing of it lives any more.
pub(crate) fn kill_leftovers(cgroup: Option<&Path>, marker: &str) -> bool {
    let swept = sweep::kill(marker, None, || ());
    let killed = cgroup.is_none_or(|path| Cgroup::at(path.to_owned()).kill_and_remove());
    swept && killed
}

/// Tries until it is done, or the kernel had time enough; false then.
fn gone_within(done: impl Fn() -> bool) -> bool {
    let (clock, limit_ms) = (Clock::system(), i64::try_from(GONE_WITHIN.as_millis()).unwrap_or(i64::MAX));
    let started_ms = clock.boot_ms();
    while !done() {
        if clock.boot_ms() - started_ms > limit_ms {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}
