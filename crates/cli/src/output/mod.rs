//! What goes to stdout, and in which shape: the destination picks the format.

mod block;
mod grid;
mod listing;
mod live;
mod text;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

pub(crate) use self::block::Block;
pub(crate) use self::grid::{Cell, Column, Grid, Kind};
pub(crate) use self::listing::{list, names};
pub(crate) use self::live::status_line;
pub(crate) use self::text::{age, clock, escape, exact, millis, record_seconds, thousands, timestamp};

use crate::code::Code;
use crate::error::CliError;

/// Exit code of a program whose reader went away, as the shell reports SIGPIPE.
pub(crate) const BROKEN_PIPE: u8 = 141;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Table,
    /// Tab-separated values, raw numbers, no header.
    Tsv,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
}

impl Format {
    /// What was asked for, else a table for a terminal and TSV for everything else.
    pub(crate) fn resolve(json: bool, format: Option<Self>) -> Self {
        match format {
            _ if json => Self::Json,
            Some(format) => format,
            None if io::stdout().is_terminal() => Self::Table,
            None => Self::Tsv,
        }
    }

    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Ndjson)
    }
}

/// Writes lines to stdout.
///
/// # Errors
/// A reader that went away, or a device that is full.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Writes lines to stdout, and nothing at all if there are none.
///
/// # Errors
/// As `print`.
pub(crate) fn print_lines(text: &str) -> io::Result<()> {
    if text.is_empty() { Ok(()) } else { print(text) }
}

/// How wide the terminal behind stdout is, if there is one.
pub(crate) fn width() -> Option<u16> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
    size.map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// Writes one line to stderr; nobody is left to be told if that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// One JSON document on one line.
pub(crate) fn json(document: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(document)
        .map_err(|error| CliError::new(Code::Internal, "the result is no JSON").caused_by(&error))
}

/// The documents as JSON, one a line.
pub(crate) fn ndjson(documents: impl IntoIterator<Item = impl Serialize>) -> Result<String, CliError> {
    let lines: Result<Vec<_>, _> = documents.into_iter().map(|document| json(&document)).collect();
    Ok(lines?.join("\n"))
}

/// A table with a header; columns from `numbers` on stand to the right.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: &[[String; N]],
    numbers: std::ops::Range<usize>,
) -> String {
    let kinds: Vec<_> =
        (0..N).map(|i| if numbers.contains(&i) { Kind::Number } else { Kind::Text }).collect();
    let rows = rows.iter().map(|row| row.to_vec()).collect();
    grid::draw(&header, &kinds, rows, None)
}

/// Rows without header or border; tabs, newlines and backslashes escaped.
pub(crate) fn tsv<const N: usize>(rows: &[[String; N]]) -> String {
    rows.iter().map(|row| grid::tsv_row(row)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_as_wide_as_what_they_show() {
        let rows = [["orders".to_owned(), "20,000".to_owned()], ["calls".to_owned(), "3".to_owned()]];
        let expected = "\
╭────────┬────────╮
│ What   │   Seen │
├────────┼────────┤
│ orders │ 20,000 │
│ calls  │      3 │
╰────────┴────────╯";
        assert_eq!(table(["What", "Seen"], &rows, 1..2), expected);
    }

    #[test]
    fn tsv_cells_cannot_break_the_row() {
        let rows = [["a\tb".to_owned(), "c\nd\\".to_owned()]];
        assert_eq!(tsv(&rows), "a\\tb\tc\\nd\\\\");
    }
}
