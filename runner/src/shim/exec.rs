//! The last step before the agent: a short-lived image of our own in the child, which ties the child's life to the
//! shim's, enters the cgroup, confines itself as the run's tier demands, and executes the agent in its place. So nothing runs
//! between fork and exec.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _, stderr, stdin, stdout};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use domain::containment::Tier;
use rustix::fs::{FileType, Uid, fchown, fstat};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};

use super::egress;
use crate::contain::{Cgroup, confine};
use crate::run_dir::{Intent, RunDir};

/// Said instead of a cgroup when there is none.
const NO_CGROUP: &str = "-";
/// Whether the run's journal says how the agent is to be contained, beyond its cgroup.
const CONFINED: &str = "confined";
const FREE: &str = "free";

/// The arguments that [`run`] reads, after the run's folder.
pub(super) fn args(
    cgroup: Option<&PathBuf>,
    is_confined: bool,
    agent: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let cgroup = cgroup.map_or_else(|| NO_CGROUP.into(), |path| path.clone().into_os_string());
    let confined = if is_confined { CONFINED } else { FREE };
    [std::process::id().to_string().into(), cgroup, confined.into()].into_iter().chain(agent).collect()
}

/// Becomes the agent. Returns only when that fails; the reason is left in the run's folder.
pub(super) fn run(dir: &RunDir, args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(parent), Some(cgroup), Some(confined), Some(program)) =
        (args.next(), args.next(), args.next(), args.next())
    else {
        return ExitCode::from(2);
    };
    let parent = parent.to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    // The shim may have died before we asked to die with it.
    let tie = || set_parent_process_death_signal(Some(Signal::KILL)).is_ok() && getppid() == parent;
    if !tie() {
        return ExitCode::FAILURE;
    }
    // Fails only for a session leader, which is what we want to be.
    let _ = setsid();
    if cgroup != NO_CGROUP
        && let Err(error) = Cgroup::at(PathBuf::from(cgroup)).join()
        && dir.mark_uncontained(&error).is_err()
    {
        return ExitCode::FAILURE;
    }
    // The shim made itself hard to kill for lack of memory; its agent is not to be.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    if confined == FREE {
        let error = Command::new(&program).args(args).exec();
        let _ = dir.write_exec_error(&not_executed(&program, &error));
        return ExitCode::from(127);
    }
    // From here on the run's folder may be out of reach, so what is said there is opened first.
    let (Ok(mut unconfined), Ok(mut exec_error)) = (dir.open_unconfined(), dir.open_exec_error()) else {
        return ExitCode::FAILURE;
    };
    if let Err(error) = enter(dir) {
        let _ = unconfined.write_all(error.to_string().as_bytes());
        return ExitCode::from(127);
    }
    // What changed our privileges may have undone it.
    if !tie() {
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(args).exec();
    let _ = exec_error.write_all(not_executed(&program, &error).as_bytes());
    ExitCode::from(127)
}

fn not_executed(program: &OsString, error: &io::Error) -> String {
    format!("could not execute {}: {error}", program.to_string_lossy())
}

fn enter(dir: &RunDir) -> io::Result<()> {
    let missing =
        || io::Error::new(io::ErrorKind::NotFound, "the run's journal does not say how it is contained");
    let Intent { confinement, workspace, user, .. } = dir.intent()?.ok_or_else(missing)?;
    if confinement.is_none() && user.is_none() {
        return Err(missing());
    }
    let is_sealed = confinement.as_ref().is_some_and(|confinement| confinement.tier >= Tier::Sealed);
    let way_out = is_sealed.then(|| egress::connect(dir)).transpose()?;
    if let Some(user) = user {
        // A program may open its own streams anew, by their names.
        for stream in [stdin().as_fd(), stdout().as_fd(), stderr().as_fd()] {
            if FileType::from_raw_mode(fstat(stream)?.st_mode) == FileType::Fifo {
                fchown(stream, Some(Uid::from_raw(user.uid)), None)?;
            }
        }
    }
    confine(confinement.as_ref(), user, &dir.trees(), &workspace, way_out)
}
