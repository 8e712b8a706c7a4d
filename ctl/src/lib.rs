//! The `orch` command: admin verbs over gRPC, `orch dev` with everything in one process, and what looks at the
//! database or the configuration without a scheduler.
//!
//! It decides nothing about jobs: the scheduler does, and the store guards.

mod admin;
mod ca;
mod classify;
mod cli;
mod config_check;
mod copies;
mod demo_agent;
mod dev;
mod doctor;
mod exit;
mod import;
mod manual;
mod migrate;
mod print;
mod reference;
mod top;

use std::process::ExitCode;

pub use cli::Cli;

use cli::Command;
use exit::{Failure, conclude};

/// The whole program.
pub fn main() -> ExitCode {
    // `orch dev` is the keeper of its agents' runs, too: called as one, it is nothing else.
    if let Some(code) = runner::shim::main_if_asked() {
        return code;
    }
    if let Some(code) = dev::withdraw_secrets() {
        return code;
    }
    let Cli { command, output } = match service::settings::parse_adjusted(dev::with_implied_defaults) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match command {
        Command::Dev(dev) => dev::main(*dev),
        Command::DemoAgent { args } => demo_agent::main(&args),
        Command::Reference { page } => conclude(print::write(page.text().as_bytes())),
        Command::Completions { shell } => conclude(manual::completions(shell)),
        Command::Man { folder } => conclude(manual::man(folder.as_deref())),
        Command::Admin(command) => conclude(run(*command, output)),
    }
}

fn run(command: cli::Admin, output: print::Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::No(format!("could not start the runtime: {error}")))?;
    runtime.block_on(cli::act(command, output))
}
