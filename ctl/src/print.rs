//! What commands print: JSON for scripts, aligned columns for people, colours on a terminal alone.
//!
//! Texts from outside never reach a terminal with their control characters.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use domain::Timestamp;
use serde::Serialize;

use crate::exit::Failure;

/// Flags every command has.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Output {
    /// Print JSON for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print without colours, also on a terminal
    #[arg(long, global = true, env = "NO_COLOR", value_parser = FalseyValueParser::new())]
    pub(crate) no_color: bool,
}

impl Output {
    /// Prints a message as JSON when scripts ask, else the text made of it.
    pub(crate) fn show<T: Serialize>(
        self,
        message: &T,
        text: impl FnOnce(Paint) -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return write(text(self.paint()).as_bytes());
        }
        let json = serde_json::to_string_pretty(message).map_err(|error| Failure::No(error.to_string()))?;
        write(format!("{json}\n").as_bytes())
    }

    fn paint(self) -> Paint {
        Paint { on: !self.no_color && io::stdout().is_terminal() }
    }
}

/// Writes to stdout.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::Unread;
        }
        Failure::No(format!("could not write to stdout: {error}"))
    })
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// A status or state in its colour.
    pub(crate) fn state(self, word: &str) -> Cell {
        let color = match word {
            "done" | "ready" | "ok" | "closed" | "met" => "32",
            "running" | "started" | "half_open" => "36",
            "failed" | "lost" | "open" | "broken" => "31",
            "draining" | "unreachable" | "warning" | "holds" => "33",
            _ => return Cell::from(word),
        };
        Cell { text: plain(word), color: self.on.then_some(color) }
    }
}

/// One cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    color: Option<&'static str>,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: plain(text.as_ref()), color: None }
    }
}

/// Rows under a head, the columns aligned; `none` when there is no row.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<Cell>>, none: &str) -> String {
    if rows.is_empty() {
        return format!("{none}\n");
    }
    let head: Vec<Cell> = head.iter().map(Cell::from).collect();
    let rows: Vec<Vec<Cell>> = std::iter::once(head).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count()).max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// Names with their values, one to a line.
pub(crate) fn facts(rows: Vec<(&str, Cell)>) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.into_iter().map(|(name, value)| line(&[Cell::from(name), value], &[width, 0])).collect()
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let last = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
    let cells = row.iter().take(last).zip(widths).enumerate().map(|(column, (cell, width))| {
        let padding = if column + 1 == last { 0 } else { width - cell.text.chars().count() + 2 };
        let text = match cell.color {
            Some(color) => format!("\x1b[{color}m{}\x1b[0m", cell.text),
            None => cell.text.clone(),
        };
        format!("{text}{}", " ".repeat(padding))
    });
    cells.collect::<String>() + "\n"
}

/// A text on one line, without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An instant of the wire as people say it: `4m ago`, `in 20s`; as it is when it cannot be read.
pub(crate) fn when(instant: &str, now: Timestamp) -> String {
    match Timestamp::parse(instant) {
        None => plain(instant),
        Some(at) if at > now => format!("in {}", span(at.since(now))),
        Some(at) => format!("{} ago", span(now.since(at))),
    }
}

/// A duration in its two largest units.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        86_400.. => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_reaches_the_terminal_as_an_order() {
        let rows = vec![
            vec![Cell::from("1"), Paint { on: true }.state("done"), Cell::from("a\x1b[2Jb")],
            vec![Cell::from("12"), Paint { on: false }.state("failed"), Cell::from("")],
        ];
        assert_eq!(
            table(&["ID", "STATUS", "NOTE"], rows, "none"),
            "ID  STATUS  NOTE\n1   \x1b[32mdone\x1b[0m    a [2Jb\n12  failed\n"
        );
        assert_eq!(table(&["ID"], Vec::new(), "no jobs"), "no jobs\n");
    }

    #[test]
    fn instants_are_said_from_now() {
        let now = Timestamp::from_ms(1_795_317_438_000);
        let said = |text: &str| when(text, now);
        assert_eq!(said("2026-11-22T03:17:18Z"), "0s ago");
        assert_eq!(said("2026-11-22T03:15:15Z"), "2m 3s ago");
        assert_eq!(said("2026-11-22T05:18:18Z"), "in 2h 1m");
        assert_eq!(said("2026-11-20T02:17:18Z"), "2d 1h ago");
        assert_eq!(said("soon\n"), "soon ");
    }
}
