//! The `orch` command: admin verbs over gRPC, `orch dev` with everything in one process, and what looks at the
//! database or the configuration without a scheduler.
//!
//! It decides nothing about jobs: the scheduler does, and the store guards.

mod admin;
mod classify;
mod cli;
mod config_check;
mod doctor;
mod exit;
mod migrate;
mod print;

use std::process::ExitCode;

pub use cli::Cli;

use exit::{Failure, conclude};

/// The whole program.
pub fn main() -> ExitCode {
    match service::settings::parse::<Cli>() {
        Ok(cli) => conclude(run(cli)),
        Err(code) => code,
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::No(format!("could not start the runtime: {error}")))?;
    runtime.block_on(cli::act(cli.command, cli.output))
}
