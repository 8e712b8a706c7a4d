//! `--print-config`: the effective settings as `NAME=value` lines, secrets redacted.

use std::fmt::Write as _;

use clap::{ArgMatches, Command};

use super::secret::is_withdrawn;

/// What stands in for a secret.
pub(super) const REDACTED: &str = "<redacted>";

/// Every setting of `command` with its effective value, one `NAME=value` line each, in order of declaration.
///
/// It walks the arguments clap knows, so no setting can be left out. Arguments whose values clap hides
/// (`hide_env_values`) are redacted, and so is a password inside a URL. Without a value: nothing after the `=`.
pub fn effective(command: &Command, matches: &ArgMatches) -> String {
    let mut lines = String::new();
    for arg in command.get_arguments() {
        let Some(name) = setting_name(arg) else { continue };
        let values: Vec<String> = match matches.try_get_raw(arg.get_id().as_str()) {
            Ok(Some(values)) => values.map(|value| value.to_string_lossy().into_owned()).collect(),
            Ok(None) | Err(_) => Vec::new(),
        };
        let value = values.join(",");
        let shown = if value.is_empty() && is_withdrawn(&name) {
            REDACTED.to_owned()
        } else if value.is_empty() {
            String::new()
        } else if arg.is_hide_env_values_set() {
            REDACTED.to_owned()
        } else {
            one_line(&redact_password(&value))
        };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}={shown}");
    }
    lines
}

/// The name of the setting behind an argument: its variable, also when that was set but empty.
fn setting_name(arg: &clap::Arg) -> Option<String> {
    if let Some(name) = arg.get_env() {
        return Some(name.to_string_lossy().into_owned());
    }
    // An argument that lost its empty variable is still a setting; switches such as --help have no value.
    let takes_value = arg.get_action().takes_values() && !arg.is_positional();
    let long = arg.get_long().filter(|_| takes_value)?;
    let name = long.to_ascii_uppercase().replace('-', "_");
    Some(if name.starts_with("OTEL_") || name.starts_with("RUST_") { name } else { format!("ORCH_{name}") })
}

fn one_line(value: &str) -> String {
    value.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Replaces the password of `scheme://user:password@host`, and of a `password=` in the query.
pub(super) fn redact_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password with an unescaped slash would end the authority early, so look for the last `@` of all.
    let (user_info, after) = match rest.rfind('@') {
        Some(at) if rest[..at].contains(':') || at < authority_end => (&rest[..at], &rest[at..]),
        Some(_) | None => ("", rest),
    };
    let user_info = match user_info.split_once(':') {
        Some((user, _)) => format!("{user}:{REDACTED}"),
        None => user_info.to_owned(),
    };
    let (path, query) = after.split_once('?').unwrap_or((after, ""));
    let query: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}={REDACTED}"),
            Some(_) | None => pair.to_owned(),
        })
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{user_info}{path}{mark}{}", query.join("&"))
}
