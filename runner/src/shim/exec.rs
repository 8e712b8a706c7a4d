//! The last step before the agent: a short-lived image of our own in the child, which ties the child's life to the
//! shim's, enters the cgroup and executes the agent in its place. So nothing runs between fork and exec.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};

use crate::contain::Cgroup;
use crate::run_dir::RunDir;

/// Said instead of a cgroup when there is none.
const NO_CGROUP: &str = "-";

/// The arguments that [`run`] reads, after the run's folder.
pub(super) fn args(cgroup: Option<&PathBuf>, agent: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let cgroup = cgroup.map_or_else(|| NO_CGROUP.into(), |path| path.clone().into_os_string());
    [std::process::id().to_string().into(), cgroup].into_iter().chain(agent).collect()
}

/// Becomes the agent. Returns only when that fails; the reason is left in the run's folder.
pub(super) fn run(dir: &RunDir, args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(parent), Some(cgroup), Some(program)) = (args.next(), args.next(), args.next()) else {
        return ExitCode::from(2);
    };
    let parent = parent.to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let tied = set_parent_process_death_signal(Some(Signal::KILL));
    // The shim may have died before we asked to die with it.
    if tied.is_err() || getppid() != parent {
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
    let error = Command::new(&program).args(args).exec();
    let _ = dir.write_exec_error(&format!("could not execute {}: {error}", program.to_string_lossy()));
    ExitCode::from(127)
}
