//! Who this runner is: a folder of its own, the node id in it, the incarnation of this start, the boot of the host.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{Incarnation, NodeId};
use service::Random;

use crate::files;

const NODE_ID: &str = "node_id";
const INCARNATION: &str = "incarnation";
const GENERATION: &str = "database_generation";
/// How often a taken place is looked at before the next one is tried, and how long after each: a process that the one before
/// was just starting holds the lock until it executes its program, and with another place a node would lose its runs.
const TRIES: u32 = 10;
const TRY_EVERY: Duration = Duration::from_millis(10);
/// The most runners that share one state folder.
const NODES_MAX: u32 = 256;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The state folder cannot be used.
    #[error("could not use the state folder {}: make it writable or set ORCH_RUNNER_STATE_DIR", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Every place in it is taken.
    #[error("{NODES_MAX} runners use the state folder {} already: set ORCH_RUNNER_STATE_DIR", path.display())]
    Full { path: PathBuf },
    /// A file in it was damaged.
    #[error("{} does not hold a number: restore it, or remove its folder to start as a new node", path.display())]
    Damaged { path: PathBuf },
}

/// The identity of this start of a node. Its folder is locked as long as it lives.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) boot_id: String,
    /// Makes this process's registrations its own, even of a copied identity.
    pub(crate) session: String,
    /// Which of the places in the state folder it has.
    pub(crate) place: u32,
    dir: PathBuf,
    _lock: File,
}

impl Identity {
    /// Takes the first free place below `state` and begins a new incarnation of the node that lives there.
    pub(crate) fn take(state: &Path, boot_id: String, random: &Random) -> Result<Self, Error> {
        let failed = |source| Error::State { path: state.to_owned(), source };
        files::create_private_dir(state).map_err(failed)?;
        for place in 0..NODES_MAX {
            let dir = state.join(format!("node-{place}"));
            files::create_private_dir(&dir).map_err(failed)?;
            let lock = files::private_file(&dir.join("lock")).map_err(failed)?;
            if could_lock(&lock).map_err(failed)? {
                return Self::begin(dir, place, lock, boot_id, random);
            }
        }
        Err(Error::Full { path: state.to_owned() })
    }

    fn begin(dir: PathBuf, place: u32, lock: File, boot_id: String, random: &Random) -> Result<Self, Error> {
        let failed = |source| Error::State { path: dir.clone(), source };
        files::create_private_dir(&dir.join("runs")).map_err(failed)?;
        let node = if let Some(bytes) = files::read_if_there(&dir.join(NODE_ID)).map_err(failed)? {
            String::from_utf8_lossy(&bytes).trim().to_owned()
        } else {
            let node = random.id().to_string();
            files::write_durable(&dir, NODE_ID, node.as_bytes()).map_err(failed)?;
            node
        };
        // It becomes part of paths.
        if node.is_empty() || !node.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::Damaged { path: dir.join(NODE_ID) });
        }
        let incarnation = read_number(&dir, INCARNATION)?.unwrap_or(0) + 1;
        files::write_durable(&dir, INCARNATION, incarnation.to_string().as_bytes()).map_err(failed)?;
        Ok(Self {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            boot_id,
            session: random.id().to_string(),
            place,
            dir,
            _lock: lock,
        })
    }

    /// The node's own folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the runs' folders are.
    pub(crate) fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    /// Where forgotten runs go to be removed.
    pub(crate) fn trash(&self) -> PathBuf {
        self.dir.join("trash")
    }

    /// Remembers the database's generation; true when it is another one than before.
    pub(crate) fn generation_changed(&self, generation: i64) -> Result<bool, Error> {
        let known = read_number(&self.dir, GENERATION)?;
        if known != Some(generation) {
            files::write_durable(&self.dir, GENERATION, generation.to_string().as_bytes())
                .map_err(|source| Error::State { path: self.dir.clone(), source })?;
        }
        Ok(known.is_some_and(|known| known != generation))
    }
}

fn read_number(dir: &Path, name: &str) -> Result<Option<i64>, Error> {
    let path = dir.join(name);
    let bytes = files::read_if_there(&path).map_err(|source| Error::State { path: path.clone(), source })?;
    let parse = |bytes: Vec<u8>| String::from_utf8(bytes).ok()?.trim().parse().ok();
    bytes.map(|bytes| parse(bytes).ok_or(Error::Damaged { path })).transpose()
}

/// The host's boot: deadlines in boot time mean nothing in another one.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Takes a place's lock, unless it stays somebody else's.
fn could_lock(lock: &File) -> io::Result<bool> {
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY_EVERY),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(state: &Path) -> Result<Identity, Error> {
        Identity::take(state, "boot".to_owned(), &Random::system())
    }

    #[test]
    fn a_node_keeps_its_id_and_counts_its_starts_and_a_second_one_takes_the_next_place() {
        let state = tempfile::tempdir().unwrap();
        let first = take(state.path()).unwrap();
        let other = take(state.path()).unwrap();
        assert_ne!(first.node, other.node);
        assert_eq!((first.incarnation, other.incarnation), (Incarnation(1), Incarnation(1)));
        let (node, session) = (first.node.clone(), first.session.clone());
        drop(first);
        let again = take(state.path()).unwrap();
        assert_eq!((&again.node, again.incarnation), (&node, Incarnation(2)));
        assert_ne!(again.session, session);
    }

    #[test]
    fn another_generation_is_noticed_once() {
        let state = tempfile::tempdir().unwrap();
        let identity = take(state.path()).unwrap();
        let changed = [1, 1, 2, 2].map(|generation| identity.generation_changed(generation).unwrap());
        assert_eq!(changed, [false, false, true, false]);
    }

    #[test]
    fn a_damaged_count_is_refused_rather_than_started_anew() {
        let state = tempfile::tempdir().unwrap();
        drop(take(state.path()).unwrap());
        std::fs::write(state.path().join("node-0/incarnation"), "x").unwrap();
        let error = take(state.path()).unwrap_err();
        assert!(error.to_string().contains("does not hold a number"), "{error}");
    }
}
