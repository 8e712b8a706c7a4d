//! `orch-console`: the web side of Orch, reading the database.

use std::process::ExitCode;

use clap::CommandFactory as _;

fn main() -> ExitCode {
    if let Some(code) = service::settings::withdraw(&console::Cli::command()) {
        return code;
    }
    service::lifecycle::raise_open_files();
    match service::settings::parse::<console::Cli>() {
        Ok(cli) => service::lifecycle::run("orch-console", &cli.telemetry.clone(), |tasks| {
            console::serve(cli, tasks)
        }),
        Err(code) => code,
    }
}
