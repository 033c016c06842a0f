//! What goes to stdout, and in which shape: the destination picks the format.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentLineStyle, LineStyle, Table, TableStyle};
use serde::Serialize;

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

/// Writes one line to stderr; nobody is left to be told if that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// One JSON document on one line.
pub(crate) fn json(document: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(document)
        .map_err(|error| CliError::new(Code::Internal, "the result is no JSON").caused_by(&error))
}

/// Borders as the `nats` tool draws them.
const ROUNDED: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('╭', '─', '┬', '╮'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('╰', '─', '┴', '╯'));

/// A table with a header; columns from `numbers` on stand to the right.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: &[[String; N]],
    numbers: std::ops::Range<usize>,
) -> String {
    let mut table = Table::new();
    table.load_style(ROUNDED);
    table.set_header(header).add_rows(rows.iter().map(|row| row.as_slice()));
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Rows without header or border; tabs, newlines and backslashes escaped.
pub(crate) fn tsv<const N: usize>(rows: &[[String; N]]) -> String {
    let escape = |cell: &String| {
        cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
    };
    let lines = rows.iter().map(|row| row.iter().map(escape).collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `1,234,567`, for people.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_digits_by_three() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (20_000, "20,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
    }

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
