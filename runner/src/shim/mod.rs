//! The keeper of one run, a process of its own: holds the agent, drains its pipes to the spool, keeps the
//! dead-man timer, kills what is left and writes the outcome.
//!
//! It outlives the runner and knows nothing of the scheduler: all it needs is in the run's folder, and its lease
//! is extended over the socket there. One thread and one `poll`, so that twenty of them cost next to nothing.

mod agent;
mod client;
mod control;
mod disk;
mod egress;
mod exec;
mod keep;
mod output;
mod protocol;
mod room;
mod step;
mod wait;
pub mod watchdog;

pub(crate) use agent::{PATH_DEFAULT, environment};
pub(crate) use client::Link;
pub use protocol::Ask;
pub(crate) use step::NO_CGROUP;
pub(crate) use wait::READY;
pub(crate) use watchdog::Wish;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::run_dir::RunDir;

/// The agent asks nobody for permission.
pub const PERMISSION_MODE_DEFAULT: &str = agent::BYPASS;

/// The hidden subcommand by which a binary is called as a shim.
pub const SUBCOMMAND: &str = "shim";

/// Keeps a run, or executes its agent, when this process was called for that; none in every other case.
///
/// Every binary that hosts a runner calls this first in `main`, before anything else is set up.
pub fn main_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == SUBCOMMAND).then(|| main(args.collect()))
}

/// The shim itself, with the arguments after [`SUBCOMMAND`].
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    match (args.next(), args.next()) {
        (Some(verb), Some(dir)) if verb == "run" => {
            let dir = RunDir::at(PathBuf::from(dir));
            exit_code(keep::run(&dir))
        }
        (Some(verb), Some(cgroup)) if verb == "wait" => exit_code(wait::run(cgroup)),
        (Some(verb), Some(parent)) if verb == "exec" => {
            args.next().map_or(ExitCode::from(2), |cgroup| exec::run(&parent, cgroup))
        }
        (_, _) => {
            eprintln!("shim: this is called by the runner only");
            ExitCode::from(2)
        }
    }
}

fn exit_code(kept: std::io::Result<()>) -> ExitCode {
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shim: could not keep its run: {error}");
            ExitCode::FAILURE
        }
    }
}
