//! `orch reference`: docs/CONFIGURATION.md, written from the declarations the processes parse with.

use clap::{Command, CommandFactory as _};

use crate::cli::Cli;

const HEAD: &str = "\
# Configuration

Every setting is an environment variable and a flag of the same name: `ORCH_MAX_CONCURRENCY=8` and
`--max-concurrency 8` are the same, and the flag wins. A variable that is set but empty counts as not set. Durations are
written `500ms`, `1s`, `2m`, `1h`, `7d` or as plain seconds. Secrets can be given as a file: `NAME_FILE=/path`. Each process prints
what holds with `--print-config`, secrets redacted.

`orch dev` reads every setting of the four services; with it, what lies under `orch-data` here lies under `--data-dir`.
What `orch.toml` may say: [README.md](../README.md) and the file that `orch dev` writes.

This page is generated: `cargo run -- reference > docs/CONFIGURATION.md`.

";

/// The page.
pub(crate) fn page() -> String {
    let services = [
        ("ingest", ingest::Cli::command()),
        ("scheduler", scheduler::Cli::command()),
        ("runner", runner::Cli::command()),
        ("console", console::Cli::command()),
        ("orch", without_dev(&Cli::command())),
    ];
    format!("{HEAD}{}", service::settings::reference(&services))
}

/// `orch dev` has all settings of all services: in the table it would be a word in every row.
fn without_dev(orch: &Command) -> Command {
    let others = orch.get_subcommands().filter(|command| command.get_name() != "dev");
    Command::new("orch").args(orch.get_arguments()).subcommands(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_in_the_repository_are_those_of_the_catalogue() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            kept == instruments::page(),
            "docs/METRICS.md is out of date: run `cargo run -- reference metrics > docs/METRICS.md`"
        );
    }

    #[test]
    fn the_page_in_the_repository_is_the_one_the_code_says() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            kept == page(),
            "docs/CONFIGURATION.md is out of date: run `cargo run -- reference > docs/CONFIGURATION.md`"
        );
    }
}
