//! A shim before it has a run: everything that takes time and needs no run is done, and it waits to be told of one.
//!
//! It ends with the runner that made it, until it has a run: then it is that run's shim like any other.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::stdio::{dup2_stderr, dup2_stdin, stdin};

use super::keep;
use crate::contain::Nest;
use crate::run_dir::RunDir;

/// Said instead of a cgroup when there is none.
pub(crate) const NO_CGROUP: &str = "-";
/// What it says once it is ready.
pub(crate) const READY: &[u8] = b"ready";
/// The longest path of a run's folder, which is the whole message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

/// A run's folder, its lock, and the file for complaints.
struct Told {
    dir: RunDir,
    lock: OwnedFd,
    log: OwnedFd,
}

/// Waits on its standard input, a socket, and keeps the run that it is told of.
pub(super) fn run(cgroup: OsString) -> io::Result<()> {
    keep::detach()?;
    let nest = if cgroup == NO_CGROUP { None } else { Some(Nest::enter(PathBuf::from(cgroup))?) };
    let told = send(stdin(), READY, SendFlags::NOSIGNAL).map_err(io::Error::from).and_then(|_| receive());
    let Ok(Some(Told { dir, lock, log })) = told else {
        return nest.map_or(Ok(()), Nest::abandon);
    };
    dup2_stderr(log)?;
    // From here on the lock is held by the standard input alone, as in every shim.
    dup2_stdin(lock)?;
    keep::keep(&dir, nest)
}

/// What it is told; none when the runner has gone.
fn receive() -> io::Result<Option<Told>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut path = vec![0; MESSAGE_BYTES_MAX];
    let length = loop {
        let mut parts = [IoSliceMut::new(&mut path)];
        match recvmsg(stdin(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut files = ancillary.drain().flat_map(|message| {
        if let RecvAncillaryMessage::ScmRights(files) = message { files.collect() } else { Vec::new() }
    });
    let (Some(lock), Some(log)) = (files.next(), files.next()) else { return Ok(None) };
    let dir = RunDir::at(PathBuf::from(OsStr::from_bytes(&path[..length])));
    Ok((length > 0).then_some(Told { dir, lock, log }))
}
