//! A keeper that was made before its run, so that the run need not wait for it: a program started, a cgroup entered.

use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::Spawned;
use crate::contain::Cgroup;
use crate::run_dir::RunDir;
use crate::shim::{NO_CGROUP, READY};

/// How long one may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// What the cgroups are called that are made before their run is known: none is a run's id, and nobody else makes one twice.
const PREFIX: &str = "next-";

/// A keeper without a run; it ends when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    child: Child,
    socket: UnixStream,
    cgroup: Made,
}

/// A cgroup that waits for its run, if there are cgroups. When this is dropped it goes, unless somebody lives there: a keeper that is let go removes
/// it, one that was killed no longer can.
#[derive(Debug)]
struct Made(Option<PathBuf>);

impl Made {
    /// Leaves it to its run.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = Cgroup::at(path).remove();
        }
    }
}

/// Removes the cgroups in which nobody lives, of keepers that waited and were killed together with their runner.
pub(super) fn tidy(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            drop(Made(Some(entry.path())));
        }
    }
}

impl Waiting {
    /// Starts one with `command`, the call of a shim, and waits until it is ready. Its cgroup is made in `place`, if anywhere.
    pub(super) async fn start(mut command: Command, place: Option<&Path>) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let cgroup = Made(place.map(|place| place.join(format!("{PREFIX}{}", Uuid::new_v4()))));
        let named = cgroup.0.as_ref().map_or(NO_CGROUP.as_ref(), |path| path.as_os_str());
        command.arg("wait").arg(named).stdin(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::null());
        let child = command.spawn()?;
        // The command holds the child's end of the socket, at whose closing it is seen to have ended.
        drop(command);
        socket.set_nonblocking(true)?;
        let mut socket = tokio::net::UnixStream::from_std(socket)?;
        let mut said = [0; READY.len()];
        tokio::time::timeout(READY_WITHIN, socket.read_exact(&mut said)).await??;
        Ok(Self { child, socket: socket.into_std()?, cgroup })
    }

    /// Its pid, for log lines alone.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its agent will be born.
    pub(crate) fn cgroup(&self) -> Option<&Path> {
        self.cgroup.0.as_deref()
    }

    /// Gives it its run; an error: it has none, and is gone.
    pub(super) fn begin(self, dir: &RunDir, lock: &impl AsFd, log: &impl AsFd) -> io::Result<Spawned> {
        let Self { mut child, socket, cgroup } = self;
        cgroup.leave();
        let files = [lock.as_fd(), log.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        let path = dir.path().as_os_str().as_bytes();
        let sent = sendmsg(socket.as_fd(), &[IoSlice::new(path)], &mut ancillary, SendFlags::NOSIGNAL)?;
        if sent != path.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let pid = child.id();
        let gone = Box::pin(async move {
            // Only so that it leaves no zombie: whether it lives is read from its lock.
            let _ = child.wait().await;
        });
        Ok(Spawned { pid, gone })
    }
}
