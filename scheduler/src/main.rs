//! `orch-scheduler`: reads its settings and runs until it is told to stop.

use std::process::ExitCode;

use clap::CommandFactory as _;
use scheduler::Cli;

fn main() -> ExitCode {
    if let Some(code) = service::settings::withdraw(&Cli::command()) {
        return code;
    }
    service::lifecycle::raise_open_files();
    match service::settings::parse::<Cli>() {
        Ok(cli) => {
            let telemetry = cli.telemetry.clone();
            service::lifecycle::run("orch-scheduler", &telemetry, |tasks| scheduler::run(cli, tasks))
        }
        Err(code) => code,
    }
}
