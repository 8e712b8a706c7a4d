//! The shim's end of the last step before the agent: a process that is made before it is known whose agent it will be, and the
//! order by which it becomes that. What the step does is in `exec`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use service::Clock;

use crate::contain::Cgroup;
use crate::run_dir::ProgramKind;

/// Said instead of a cgroup when there is none.
pub(crate) const NO_CGROUP: &str = "-";
/// What a step says once it waits for its order: that it stands where it should, or that it could not get there.
pub(super) const IN_PLACE: u8 = b'+';
pub(super) const ASTRAY: u8 = b'-';
/// How long one may take to say that.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// The longest order: more than the kernel takes as arguments and environment.
const ORDER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a step is to become.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The run's folder.
    pub(super) dir: PathBuf,
    /// Whether the run's journal says how the agent is to be contained, beyond its cgroup.
    pub(super) is_confined: bool,
    /// Where it works.
    pub(super) workspace: PathBuf,
    /// The file to execute.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// The whole of it.
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Order {
    /// As it is written into the step's standard input, from which what follows it is the agent's to read.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let order = serde_json::to_vec(self)?;
        let length = u32::try_from(order.len()).map_err(io::Error::other)?;
        Ok([&length.to_le_bytes(), order.as_slice()].concat())
    }

    /// Takes one from a stream, and not a byte more.
    pub(super) fn read(mut from: impl io::Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > ORDER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut order = vec![0; length];
        from.read_exact(&mut order)?;
        Ok(serde_json::from_slice(&order)?)
    }
}

/// A step that waits for its order. It dies with its shim.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) child: Child,
    pub(super) stdout: OwnedFd,
    /// None where both streams come by one pipe.
    pub(super) stderr: Option<OwnedFd>,
    cgroup: Option<PathBuf>,
    in_place: bool,
}

impl Step {
    /// Makes one, called as `leading_args` say, in `cgroup` if there is one: that must exist.
    pub(super) fn start(
        leading_args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        cgroup: Option<PathBuf>,
        kind: ProgramKind,
    ) -> io::Result<Self> {
        let (stdout, writer) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("orch-agent")
            .args(leading_args)
            .arg("exec")
            .arg(std::process::id().to_string())
            .arg(cgroup.as_ref().map_or(NO_CGROUP.as_ref(), |path| path.as_os_str()))
            .stdin(Stdio::piped());
        match kind {
            ProgramKind::Agent => command.stderr(Stdio::piped()),
            // Its findings are read by people: what it says on either stream stays in the order in which it said it.
            ProgramKind::Gate => command.stderr(writer.try_clone()?),
        };
        let mut child = command.stdout(writer).spawn()?;
        // The command holds an end of the pipe, at whose closing the step is seen to have ended.
        drop(command);
        let stderr = child.stderr.take().map(Into::into);
        let mut step = Self { child, stdout: stdout.into(), stderr, cgroup, in_place: false };
        match step.said() {
            Ok(said) => {
                step.in_place = said == IN_PLACE;
                Ok(step)
            }
            Err(error) => {
                step.end();
                Err(io::Error::new(
                    error.kind(),
                    format!("the step before the agent does not get ready: {error}"),
                ))
            }
        }
    }

    fn said(&self) -> io::Result<u8> {
        let clock = Clock::system();
        let end_ms = clock.boot_ms() + i64::try_from(READY_WITHIN.as_millis()).unwrap_or(i64::MAX);
        loop {
            let left_ms = (end_ms - clock.boot_ms()).max(0);
            let left = Timespec { tv_sec: left_ms / 1000, tv_nsec: left_ms % 1000 * 1_000_000 };
            match poll(&mut [PollFd::new(&self.stdout, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut said = [0];
        std::fs::File::from(self.stdout.as_fd().try_clone_to_owned()?).read_exact(&mut said)?;
        Ok(said[0])
    }

    /// The cgroup that was made for it.
    pub(super) fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_deref()
    }

    /// Whether it stands in its cgroup, if it has one.
    pub(super) fn is_in_place(&self) -> bool {
        self.in_place
    }

    /// Whether it still waits.
    pub(super) fn waits(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Lets it go with its cgroup; it has become nobody's agent.
    pub(super) fn abandon(mut self) {
        self.end();
        if let Some(cgroup) = self.cgroup {
            Cgroup::at(cgroup).kill_and_remove();
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_taken_from_a_stream_and_what_follows_it_is_left() {
        let order = Order {
            dir: "/runs/1".into(),
            is_confined: true,
            workspace: "/work".into(),
            program: "/bin/agent".into(),
            arguments: vec!["-p".into(), "a\nb".into()],
            environment: vec![("HOME".into(), "/home".into())],
        };
        let mut stream = order.to_bytes().unwrap();
        stream.extend(b"the prompt");
        let mut stream = stream.as_slice();
        assert_eq!(format!("{:?}", Order::read(&mut stream).unwrap()), format!("{order:?}"));
        assert_eq!(stream, b"the prompt");
    }

    #[test]
    fn half_an_order_is_none() {
        let order = Order {
            dir: "/runs/1".into(),
            is_confined: false,
            workspace: "/work".into(),
            program: "/bin/agent".into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let bytes = order.to_bytes().unwrap();
        assert_eq!(Order::read(&bytes[..bytes.len() - 1]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(Order::read(&[255; 8][..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
