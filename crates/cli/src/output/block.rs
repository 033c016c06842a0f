//! One thing and its properties: labels for people, `key<TAB>value` for programs.

use super::Format;
use super::grid::{Cell, Grid, tsv_row};

#[derive(Debug, Default)]
pub(crate) struct Block {
    rows: Vec<(&'static str, &'static str, Cell)>,
}

impl Block {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A property with its name in TSV and JSON, and its label on a terminal.
    #[must_use]
    pub(crate) fn row(mut self, key: &'static str, label: &'static str, value: Cell) -> Self {
        self.rows.push((key, label, value));
        self
    }

    /// `  Label: value`, the colons below each other.
    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|(_, label, _)| label.chars().count()).max().unwrap_or_default();
        let lines = self.rows.iter().map(|(_, label, value)| format!("  {label:>width$}: {}", value.human()));
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn tsv(&self) -> String {
        let lines =
            self.rows.iter().map(|(key, _, value)| tsv_row(&[(*key).to_owned(), value.raw().to_owned()]));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// With the rows of a list below it, as people or as programs read it.
    pub(crate) fn with(&self, one: &str, rows: &Grid<'_>, format: Format) -> String {
        match format {
            Format::Table if rows.is_empty() => self.table(),
            Format::Table => format!("{}\n{}", self.table(), rows.table(super::width())),
            _ => self.tsv_with(one, rows),
        }
    }

    /// With the rows of a list, each behind the word for one of them.
    pub(crate) fn tsv_with(&self, one: &str, rows: &Grid<'_>) -> String {
        let rows = rows.tsv(false);
        let rows = rows.lines().map(|row| format!("\n{one}\t{row}"));
        format!("{}{}", self.tsv(), rows.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_to_the_right_and_values_to_the_left() {
        let block = Block::new().row("capacity", "Capacity", Cell::number(10_000u32)).row(
            "ttl_seconds",
            "Time to live",
            Cell::unknown(),
        );
        assert_eq!(block.table(), "      Capacity: 10,000\n  Time to live: -");
        assert_eq!(block.tsv(), "capacity\t10000\nttl_seconds\t");
    }
}
