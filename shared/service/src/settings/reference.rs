//! The settings reference page, written from the same clap declarations the processes parse with.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// One row: a setting, and the services that read it with the same default and meaning.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    setting: String,
    default: String,
    meaning: String,
    read_by: Vec<String>,
}

/// A markdown table of every setting of the given services: setting, default, meaning, read by.
///
/// A setting that services share has one row; services that differ in default or meaning have a row each.
/// Subcommands are walked too, and count as their service.
pub fn reference(services: &[(&str, Command)]) -> String {
    let mut rows: Vec<Row> = Vec::new();
    for (service, command) in services {
        collect(service, command, &mut rows);
    }
    let mut table = String::from("| setting | default | meaning | read by |\n|---|---|---|---|\n");
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            row.setting,
            row.default,
            row.meaning,
            row.read_by.join(", ")
        );
    }
    table
}

fn collect(service: &str, command: &Command, rows: &mut Vec<Row>) {
    for arg in command.get_arguments() {
        let Some(setting) = arg.get_env() else { continue };
        let (setting, default, meaning) =
            (setting.to_string_lossy().into_owned(), default(arg), meaning(arg));
        let same =
            |row: &&mut Row| row.setting == setting && row.default == default && row.meaning == meaning;
        if let Some(row) = rows.iter_mut().find(same) {
            if !row.read_by.iter().any(|known| known == service) {
                row.read_by.push(service.to_owned());
            }
            continue;
        }
        let row = Row { read_by: vec![service.to_owned()], setting, default, meaning };
        // Rows of one setting stand together.
        let at =
            rows.iter().rposition(|known| known.setting == row.setting).map_or(rows.len(), |last| last + 1);
        rows.insert(at, row);
    }
    for below in command.get_subcommands() {
        collect(service, below, rows);
    }
}

fn default(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() { "–".to_owned() } else { format!("`{}`", cell(&values.join(","))) }
}

fn meaning(arg: &Arg) -> String {
    let text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = cell(text.trim());
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let is_switch = values.iter().any(|value| value == "`true`");
    if !values.is_empty() && !is_switch {
        // Writing to a string cannot fail.
        let _ = write!(meaning, " ({})", values.join(", "));
    }
    meaning
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
