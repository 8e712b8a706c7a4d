//! How much of the disk a run takes, looked at while it runs: on a thread of its own, since a large tree takes a while.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use domain::outcome::EndedBy;
use tokio::time::Instant;

use crate::contain::Confinement;
use crate::run_dir::Intent;

/// The shortest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look may take this share of the time, as its divisor: a large tree is looked at less often.
const SHARE: u32 = 20;
/// The unit of what the system says a file takes.
const BLOCK_BYTES: u64 = 512;
/// Folders deeper than this are not looked into; no path that a program can name goes so deep.
const DEPTH_MAX: usize = 2048;

/// Looks at folders until they take more than they may.
pub(super) struct Watched {
    over: Arc<AtomicBool>,
    limit_bytes: u64,
}

impl Watched {
    /// Looks at a run's workspace and HOME, at what it adds to folders that it shares, such as its clone's objects, and at what
    /// its processes wrote and removed and still hold.
    pub(super) fn begin(intent: &Intent, confinement: &Confinement) -> Self {
        let limit_bytes = confinement.bounds.disk_bytes;
        let own = [intent.workspace.clone(), intent.home.clone()];
        let mut shared = confinement.view.write.clone();
        shared.retain(|path| !own.contains(path) && path.is_dir());
        let cgroup = intent.cgroup.clone();
        let over = Arc::new(AtomicBool::new(false));
        let said = over.clone();
        thread::spawn(move || {
            let before = taken_bytes(&shared, u64::MAX);
            loop {
                // Does not count while the host sleeps, which is no reason to rest.
                let began = Instant::now();
                let mut taken = taken_bytes(&own, limit_bytes) + cgroup.as_deref().map_or(0, removed_bytes);
                if taken <= limit_bytes {
                    let shared_max = before.saturating_add(limit_bytes);
                    taken += taken_bytes(&shared, shared_max).saturating_sub(before);
                }
                if taken > limit_bytes {
                    said.store(true, Ordering::SeqCst);
                    return;
                }
                thread::sleep(LOOK_EVERY.max(began.elapsed() * SHARE));
            }
        });
        Self { over, limit_bytes }
    }

    /// What ends an agent whose folders do.
    pub(super) fn verdict(&self) -> Option<EndedBy> {
        let limit_bytes = self.limit_bytes;
        self.over.load(Ordering::SeqCst).then_some(EndedBy::DiskLimit { limit_bytes })
    }
}

/// What files without a name take that a cgroup's processes hold open.
fn removed_bytes(cgroup: &Path) -> u64 {
    let mut files = BTreeMap::new();
    for pid in fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines() {
        for held in ["fd", "map_files"] {
            for entry in fs::read_dir(format!("/proc/{pid}/{held}")).into_iter().flatten().flatten() {
                if let Ok(found) = fs::metadata(entry.path())
                    && found.is_file()
                    && found.nlink() == 0
                {
                    files.insert((found.dev(), found.ino()), found.blocks() * BLOCK_BYTES);
                }
            }
        }
    }
    files.into_values().sum()
}

/// What folders take; no further once that is more than `enough`. Links are not followed, and what vanishes meanwhile takes
/// nothing.
fn taken_bytes(folders: &[PathBuf], enough: u64) -> u64 {
    let mut taken = 0;
    let mut folders: Vec<(PathBuf, usize)> = folders.iter().map(|folder| (folder.clone(), 0)).collect();
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            taken += found.blocks() * BLOCK_BYTES;
            if taken > enough {
                return taken;
            }
            if found.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_counts_and_what_links_lead_to_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in/deep"), dir.path().join("out"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(inside.join("file"), vec![1; 100_000]).unwrap();
        fs::write(outside.join("file"), vec![1; 1_000_000]).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        let taken = taken_bytes(&[dir.path().join("in")], u64::MAX);
        assert!((100_000..500_000).contains(&taken), "{taken}");
        assert!(taken_bytes(&[dir.path().to_owned()], 500_000) > 500_000);
    }
}
