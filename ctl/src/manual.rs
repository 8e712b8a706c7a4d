//! What people read and press Tab for beside `--help`: shell completions, man pages, docs/CLI.md.
//!
//! All of it is made from the declarations that the command line is parsed with.

use std::path::Path;

use clap::{Arg, Command, CommandFactory as _, ValueEnum};

use crate::cli::Cli;
use crate::exit::{EXIT_CODES, Failure};
use crate::{print, reference};

/// How wide docs/CLI.md is, in columns.
const PAGE_WIDTH: usize = 110;
/// The headings of options that many commands share; docs/CLI.md says them once.
const SHARED: &str = "Scheduler";

const CLI_HEAD: &str = "\
# The `orch` command

Tables are for people, `--json` is for scripts: the same facts, and of what the scheduler answers the very messages of
`proto/orch/v1/admin.proto`. Colours are for terminals alone: a pipe, `NO_COLOR` or `--no-color` turns them off. Results
go to stdout, and what went wrong to stderr, in one line that begins with `orch:` and says what to do.

`orch completions bash|zsh|fish` prints completions, `orch man FOLDER` writes a man page for each command.

This page is generated: `cargo run -- reference cli > docs/CLI.md`.

";

/// A generated page of the docs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Page {
    /// docs/CONFIGURATION.md
    Configuration,
    /// docs/CLI.md
    Cli,
    /// docs/METRICS.md
    Metrics,
}

impl Page {
    /// The page.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Configuration => reference::page(),
            Self::Cli => cli_page(),
            Self::Metrics => instruments::page(),
        }
    }
}

/// A shell that completions are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    /// `source <(orch completions bash)`, or into ~/.local/share/bash-completion/completions/orch
    Bash,
    /// Into a folder of `$fpath`, as _orch
    Zsh,
    /// Into ~/.config/fish/completions/orch.fish
    Fish,
}

/// `orch completions SHELL`.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut without_hidden(&Cli::command()), "orch", &mut script);
    print::write(&script)
}

/// `orch man [FOLDER]`.
pub(crate) fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let orch = without_hidden(&silent(Cli::command()));
    let Some(folder) = folder else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(orch).render(&mut page);
        return rendered.map_err(|error| Failure::No(error.to_string())).and_then(|()| print::write(&page));
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(orch, folder));
    written.map_err(|error| {
        Failure::No(format!("could not write the man pages into {}: {error}", folder.display()))
    })?;
    print::write(format!("the man pages are in {}\n", folder.display()).as_bytes())
}

/// What is not for people is no part of what they read.
fn without_hidden(orch: &Command) -> Command {
    let (kept, head) = (visible(orch), Command::new("orch").disable_help_subcommand(true));
    let mut made = head.args(orch.get_arguments().cloned()).subcommands(kept);
    if let Some(about) = orch.get_about() {
        made = made.about(about.clone());
    }
    if let Some(version) = orch.get_version() {
        made = made.version(version.to_owned());
    }
    if let Some(after) = orch.get_after_help() {
        made = made.after_help(after.clone());
    }
    made
}

fn visible(command: &Command) -> Vec<Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect()
}

/// Without the values that the environment has just now.
fn silent(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(silent)
}

fn cli_page() -> String {
    let orch = silent(Cli::command()).term_width(PAGE_WIDTH);
    let mut page = CLI_HEAD.to_owned();
    page += "## Exit codes\n\n| code | meaning |\n|---|---|\n";
    page.extend(EXIT_CODES.iter().map(|(code, meaning)| format!("| {code} | {meaning} |\n")));
    page += "\n## Options of every command, and where the scheduler is\n\n";
    let shared = orch.find_subcommand("queue").cloned().unwrap_or_default();
    let shared = shared.args(orch.get_arguments().cloned()).about("").bin_name("orch COMMAND");
    page += &fenced(shared.term_width(PAGE_WIDTH).disable_help_flag(true));
    for command in visible(&orch) {
        section(&command, "orch", &mut page);
    }
    page
}

/// A command and all below it.
fn section(command: &Command, above: &str, page: &mut String) {
    let name = format!("{above} {}", command.get_name());
    page.extend(["## ", &name, "\n\n"]);
    let own = |arg: Arg| {
        let is_shared = arg.is_global_set() || arg.get_help_heading() == Some(SHARED);
        // `orch dev` takes every setting of every service: docs/CONFIGURATION.md has them.
        let is_setting = command.get_name() == "dev" && arg.get_env().is_some();
        if is_shared || is_setting { arg.hide(true) } else { arg }
    };
    let shown = command.clone().mut_args(own).bin_name(name.clone()).term_width(PAGE_WIDTH);
    *page += &fenced(shown.disable_help_flag(true).disable_help_subcommand(true));
    for inner in visible(command) {
        section(&inner, &name, page);
    }
}

fn fenced(mut command: Command) -> String {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.trim().lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_the_one_the_code_says() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CLI.md");
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            kept == cli_page(),
            "docs/CLI.md is out of date: run `cargo run -- reference cli > docs/CLI.md`"
        );
    }
}
