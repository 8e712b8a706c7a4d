//! `orch-ingest`: webhooks in, jobs out.

use std::process::ExitCode;

use clap::CommandFactory as _;

fn main() -> ExitCode {
    if let Some(code) = service::settings::withdraw(&ingest::Cli::command()) {
        return code;
    }
    service::lifecycle::raise_open_files();
    match service::settings::parse::<ingest::Cli>() {
        Ok(cli) => {
            let telemetry = cli.telemetry.clone();
            service::lifecycle::run("orch-ingest", &telemetry, |tasks| ingest::run(cli, tasks))
        }
        Err(code) => code,
    }
}
