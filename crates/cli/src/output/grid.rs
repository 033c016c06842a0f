//! Rows of equal shape: a table for people, TSV for programs.

use std::time::Duration;

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle, Row, Table, TableStyle,
};
use time::OffsetDateTime;

use super::text::{age, escape, exact, seconds, thousands, timestamp};

/// How a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the left; cut where the terminal is too narrow.
    Text,
    /// To the right.
    Number,
    /// To the right, and never cut: it has to be typed again.
    Id,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its name in TSV and JSON.
    pub(crate) key: &'static str,
    /// Its name on a terminal.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
}

/// One value, as people and as programs read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    human: String,
    raw: String,
}

impl Cell {
    /// What is shown alike to both; whatever a terminal would obey is escaped.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        let text = escape(text.as_ref());
        Self { human: text.clone(), raw: text }
    }

    pub(crate) fn number(number: impl Into<u64>) -> Self {
        let number = number.into();
        Self { human: thousands(number), raw: number.to_string() }
    }

    /// A number that is typed again, and never has separators.
    pub(crate) fn id(id: u64) -> Self {
        Self::text(id.to_string())
    }

    /// A number that may not be known.
    pub(crate) fn count(number: Option<u64>) -> Self {
        number.map_or_else(Self::unknown, Self::number)
    }

    /// A time that was said, and is shown as it can be said again.
    pub(crate) fn ttl(ttl: Option<Duration>) -> Self {
        ttl.map_or_else(Self::unknown, |ttl| Self::age(ttl).said(exact(ttl)))
    }

    pub(crate) fn age(duration: Duration) -> Self {
        Self { human: age(duration), raw: seconds(duration) }
    }

    pub(crate) fn time(time: OffsetDateTime) -> Self {
        Self::text(timestamp(time))
    }

    /// What is not known: a dash for people, nothing for programs.
    pub(crate) fn unknown() -> Self {
        Self { human: "-".to_owned(), raw: String::new() }
    }

    /// Other words for people.
    pub(crate) fn said(mut self, human: impl AsRef<str>) -> Self {
        self.human = escape(human.as_ref());
        self
    }

    pub(crate) fn human(&self) -> &str {
        &self.human
    }

    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }
}

/// Rows under named columns.
#[derive(Debug)]
pub(crate) struct Grid<'a> {
    columns: &'a [Column],
    rows: Vec<Vec<Cell>>,
}

impl<'a> Grid<'a> {
    pub(crate) fn new(columns: &'a [Column], rows: Vec<Vec<Cell>>) -> Self {
        Self { columns, rows }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn table(&self, width: Option<u16>) -> String {
        let header: Vec<_> = self.columns.iter().map(|column| column.title).collect();
        let kinds: Vec<_> = self.columns.iter().map(|column| column.kind).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(|cell| cell.human.clone()).collect()).collect();
        draw(&header, &kinds, rows, width)
    }

    /// One line a row, without a newline at the end; with `header` the keys come first.
    pub(crate) fn tsv(&self, header: bool) -> String {
        let keys = self.columns.iter().map(|column| column.key).collect::<Vec<_>>().join("\t");
        let rows = self.rows.iter().map(|row| {
            let raw: Vec<_> = row.iter().map(|cell| cell.raw.clone()).collect();
            tsv_row(&raw)
        });
        header.then_some(keys).into_iter().chain(rows).collect::<Vec<_>>().join("\n")
    }
}

/// Cells of one row, in which nothing can break the row.
pub(super) fn tsv_row(cells: &[String]) -> String {
    let escape = |cell: &String| {
        cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
    };
    cells.iter().map(escape).collect::<Vec<_>>().join("\t")
}

/// Borders as the `nats` tool draws them.
const ROUNDED: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('╭', '─', '┬', '╮'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('╰', '─', '┴', '╯'));

/// A table as wide as what it shows, or as the terminal: then text is cut.
pub(super) fn draw(header: &[&str], kinds: &[Kind], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(ROUNDED).set_header(header.to_vec());
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        table.set_truncation_indicator("…");
    }
    for row in rows {
        let mut row = Row::from(row);
        row.max_height(1);
        table.add_row(row);
    }
    for (index, kind) in kinds.iter().enumerate() {
        let Some(column) = table.column_mut(index) else { continue };
        if *kind != Kind::Text {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if *kind == Kind::Id {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { key: "id", title: "Id", kind: Kind::Id },
        Column { key: "holder", title: "Holder", kind: Kind::Text },
        Column { key: "age_seconds", title: "Age", kind: Kind::Number },
    ];

    fn row(holder: &str) -> Vec<Cell> {
        vec![Cell::id(1_795_309_080_033_843), Cell::text(holder), Cell::age(Duration::from_millis(257_104))]
    }

    #[test]
    fn text_is_cut_to_the_terminal_and_ids_never() {
        let long = "a very long name of a holder that nobody would choose ".repeat(3);
        let table = Grid::new(&COLUMNS, vec![row(&long)]).table(Some(50));
        assert!(table.lines().all(|line| line.chars().count() <= 50), "{table}");
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(
            table.contains("1795309080033843") && table.contains('…') && table.contains("4m17s"),
            "{table}"
        );
    }

    #[test]
    fn tsv_has_raw_values_and_names_on_request() {
        let grid =
            Grid::new(&COLUMNS, vec![row("a\tb\x1b\\"), vec![Cell::id(1), Cell::unknown(), Cell::unknown()]]);
        assert_eq!(grid.tsv(false), "1795309080033843\ta\\\\tb\\\\u{1b}\\\\\t257.104\n1\t\t");
        assert!(grid.tsv(true).starts_with("id\tholder\tage_seconds\n"), "{}", grid.tsv(true));
    }
}
