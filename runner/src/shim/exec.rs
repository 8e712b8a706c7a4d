//! The last step before the agent: an image of our own in a child of the shim, which ties its life to the shim's, enters the cgroup,
//! and waits until it is told whose agent to become. Then it confines itself as the run's tier demands and executes the agent in its
//! place. So nothing runs between fork and exec, and the agent does not wait for this image to start.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _, stderr, stdin, stdout};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use domain::containment::Tier;
use rustix::fs::{FileType, Uid, fchown, fstat};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};

use super::egress;
use super::step::{ASTRAY, IN_PLACE, NO_CGROUP, Order};
use crate::contain::{Cgroup, confine};
use crate::run_dir::{Intent, RunDir};

/// Becomes the agent that the standard input tells of. Returns only when that fails; the reason is left in the run's folder.
pub(super) fn run(parent: &OsString, cgroup: OsString) -> ExitCode {
    let parent = parent.to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    // The shim may have died before we asked to die with it.
    let tie = || set_parent_process_death_signal(Some(Signal::KILL)).is_ok() && getppid() == parent;
    if !tie() {
        return ExitCode::FAILURE;
    }
    // Fails only for a session leader, which is what we want to be.
    let _ = setsid();
    let joined = if cgroup == NO_CGROUP { Ok(()) } else { Cgroup::at(PathBuf::from(cgroup)).join() };
    // The shim made itself hard to kill for lack of memory; its agent is not to be.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    // An end of the stream instead of an order: the shim has no agent for us, or is gone.
    let Ok(order) = say(if joined.is_ok() { IN_PLACE } else { ASTRAY }).and_then(|()| receive()) else {
        return ExitCode::FAILURE;
    };
    let dir = RunDir::at(order.dir.clone());
    if let Err(error) = joined
        && dir.mark_uncontained(&error).is_err()
    {
        return ExitCode::FAILURE;
    }
    if let Err(error) = std::env::set_current_dir(&order.workspace) {
        let _ = dir.write_exec_error(&format!("{}: {error}", order.workspace.display()));
        return ExitCode::from(127);
    }
    if !order.is_confined {
        let error = execute(&order);
        let _ = dir.write_exec_error(&not_executed(&order.program, &error));
        return ExitCode::from(127);
    }
    // From here on the run's folder may be out of reach, so what is said there is opened first.
    let (Ok(mut unconfined), Ok(mut exec_error)) = (dir.open_unconfined(), dir.open_exec_error()) else {
        return ExitCode::FAILURE;
    };
    if let Err(error) = enter(&dir) {
        let _ = unconfined.write_all(error.to_string().as_bytes());
        return ExitCode::from(127);
    }
    // What changed our privileges may have undone it.
    if !tie() {
        return ExitCode::FAILURE;
    }
    let error = execute(&order);
    let _ = exec_error.write_all(not_executed(&order.program, &error).as_bytes());
    ExitCode::from(127)
}

fn say(word: u8) -> io::Result<()> {
    // The agent's own output follows in the same pipe: nothing may be buffered.
    File::from(stdout().as_fd().try_clone_to_owned()?).write_all(&[word])
}

fn receive() -> io::Result<Order> {
    // The prompt follows in the same pipe: nothing may be read ahead.
    Order::read(File::from(stdin().as_fd().try_clone_to_owned()?))
}

fn execute(order: &Order) -> io::Error {
    let environment = order.environment.iter().map(|(name, value)| (name, value));
    Command::new(&order.program).args(&order.arguments).env_clear().envs(environment).exec()
}

fn not_executed(program: &Path, error: &io::Error) -> String {
    format!("could not execute {}: {error}", program.display())
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
