//! `orch-console`: the web side of Orch, reading the database.

use std::process::ExitCode;

fn main() -> ExitCode {
    match service::settings::parse::<console::Cli>() {
        Ok(cli) => service::lifecycle::run("orch-console", &cli.telemetry.clone(), |tasks| {
            console::serve(cli, tasks)
        }),
        Err(code) => code,
    }
}
