//! `orch-ingest`: webhooks in, jobs out.

use std::process::ExitCode;

fn main() -> ExitCode {
    match service::settings::parse::<ingest::Cli>() {
        Ok(cli) => {
            let telemetry = cli.telemetry.clone();
            service::lifecycle::run("orch-ingest", &telemetry, |tasks| ingest::run(cli, tasks))
        }
        Err(code) => code,
    }
}
