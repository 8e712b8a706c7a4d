//! A shim before it has a run: everything that takes time and needs no run is done, the step before its agent started in the cgroup
//! that the run will have, and it waits to be told of one.
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
use super::step::{NO_CGROUP, Step};
use crate::contain::Cgroup;
use crate::run_dir::{ProgramKind, RunDir};

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
    let step = make(cgroup)?;
    let told = send(stdin(), READY, SendFlags::NOSIGNAL).map_err(io::Error::from).and_then(|_| receive());
    let Ok(Some(Told { dir, lock, log })) = told else {
        step.abandon();
        return Ok(());
    };
    dup2_stderr(log)?;
    // From here on the lock is held by the standard input alone, as in every shim.
    dup2_stdin(lock)?;
    keep::keep(&dir, Some(step))
}

/// The step before the agent, where the agent is to be.
fn make(cgroup: OsString) -> io::Result<Step> {
    // What the binary is called with to be a shim; the verb and the cgroup follow it.
    let mut leading_args: Vec<OsString> = std::env::args_os().skip(1).collect();
    leading_args.truncate(leading_args.len().saturating_sub(2));
    let cgroup = (cgroup != NO_CGROUP).then(|| PathBuf::from(cgroup));
    if let Some(cgroup) = &cgroup {
        Cgroup::at(cgroup.clone()).create()?;
    }
    match Step::start(leading_args, cgroup.clone(), ProgramKind::Agent) {
        Ok(step) if step.is_in_place() => Ok(step),
        Ok(step) => {
            step.abandon();
            Err(io::Error::other("the agent's cgroup cannot be entered"))
        }
        Err(error) => {
            if let Some(cgroup) = cgroup {
                Cgroup::at(cgroup).kill_and_remove();
            }
            Err(error)
        }
    }
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
