//! The runner's process: the service, or one run's keeper when it was called as one.

use std::process::ExitCode;

use clap::CommandFactory as _;

fn main() -> ExitCode {
    if let Some(code) = runner::shim::main_if_asked() {
        return code;
    }
    if let Some(code) = service::settings::withdraw(&runner::Cli::command()) {
        return code;
    }
    match service::settings::parse::<runner::Cli>() {
        Ok(cli) => {
            service::lifecycle::run("orch-runner", &cli.telemetry.clone(), |tasks| runner::serve(cli, tasks))
        }
        Err(code) => code,
    }
}
