//! Settings, said once: each is a clap argument with a flag, an environment variable, a default
//! and a doc comment that becomes `--help` and the reference page.
//!
//! Here are the groups that several processes share, and the parts settings are made of: secrets,
//! durations, `--print-config`, the reference. What only one service reads is declared there.

mod duration;
mod forges;
mod groups;
mod listener;
mod mask;
mod print;
mod reference;
mod secret;

pub use duration::{duration, format_duration};
pub use forges::{ForgeAccess, ForgeSettings, Forges, GiteaToken, PlaneApiKey};
pub use groups::{
    CaSettings, CommonFlags, DatabaseSettings, DatabaseUrl, Exporter, LogFormat, OtlpProtocol, OtlpTarget,
    PipelineSettings, QueueSettings, SchedulerAddrSettings, SchedulerEndpointSettings, TelemetrySettings,
    TlsSettings,
};
pub use listener::ListenerSettings;
pub use mask::{Mask, Veil};
pub use print::effective;
pub use reference::reference;
pub use secret::{Secret, SecretName, SecretSetting, withdraw};

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, Parser};

use crate::lifecycle::{EXIT_CLEAN, EXIT_REFUSED};

/// The argument that asks for the effective settings, in [`CommonFlags`].
const PRINT_CONFIG: &str = "print_config";

/// Reads the settings of this process from its arguments and environment.
///
/// # Errors
/// The exit code to end with, when there is nothing more to do: after `--help`, `--version` and
/// `--print-config` (0), or when a setting is wrong (2; the reason is on stderr).
pub fn parse<P: Parser>() -> Result<P, ExitCode> {
    parse_adjusted(|command| command)
}

/// Like [`parse`], with the command changed first: defaults that follow from something else, such as a folder.
pub fn parse_adjusted<P: Parser>(adjust: impl FnOnce(Command) -> Command) -> Result<P, ExitCode> {
    let (command, matches) =
        matches(adjust(P::command()), std::env::args_os()).map_err(|error| ended(&error))?;
    let parsed = P::from_arg_matches(&matches).map_err(|error| ended(&error.format(&mut command.clone())))?;
    if let Some(text) = asked_to_print(&command, &matches) {
        use std::io::Write as _;
        // A closed pipe (`| head`) is the reader's wish, not an error.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Err(ExitCode::from(EXIT_CLEAN));
    }
    Ok(parsed)
}

/// Like [`parse`], from given arguments (the first one is the program's name), without printing.
pub fn try_parse_from<P: Parser>(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<P, clap::Error> {
    let (command, matches) = matches(P::command(), args)?;
    P::from_arg_matches(&matches).map_err(|error| error.format(&mut command.clone()))
}

fn matches(
    command: Command,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<(Command, ArgMatches), clap::Error> {
    let command = ignore_empty(command);
    let matches = command.clone().try_get_matches_from(args)?;
    Ok((command, matches))
}

fn ended(error: &clap::Error) -> ExitCode {
    // clap knows which stream; where it cannot be written nobody is reading.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { EXIT_REFUSED } else { EXIT_CLEAN })
}

fn asked_to_print(command: &Command, matches: &ArgMatches) -> Option<String> {
    let asked = matches.try_get_one::<bool>(PRINT_CONFIG).ok().flatten().copied().unwrap_or(false);
    if asked {
        return Some(effective(command, matches));
    }
    let (name, below) = matches.subcommand()?;
    asked_to_print(command.find_subcommand(name)?, below)
}

/// A variable that is set but empty counts as not set: what compose files make of `${NAME:-}`.
fn ignore_empty(command: Command) -> Command {
    let command =
        command.mut_args(|arg| if environment_is_empty(&arg) { arg.env(None::<&'static str>) } else { arg });
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, ignore_empty))
}

fn environment_is_empty(arg: &Arg) -> bool {
    arg.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
}

#[cfg(test)]
mod tests;
