//! Fields that are others than before: what `edit` tells.

use serde::Serialize;

use crate::Failure;
use crate::cx::Cx;
use crate::output::{self, Block, Cell, Column, Format, Grid, Kind};

/// One field that is another now.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    field: &'static str,
    have: String,
    want: String,
}

const CHANGE: [Column; 3] = [
    Column { key: "field", title: "Field", kind: Kind::Text },
    Column { key: "have", title: "Have", kind: Kind::Text },
    Column { key: "want", title: "Want", kind: Kind::Text },
];

/// Those of the fields whose values differ: each with what it was and what it is.
pub(crate) fn changes<const N: usize>(fields: [(&'static str, String, String); N]) -> Vec<Change> {
    let changed = fields.into_iter().filter(|(_, have, want)| have != want);
    changed.map(|(field, have, want)| Change { field, have, want }).collect()
}

/// Prints what was changed: the document, or the block and behind it the changes.
pub(crate) fn show(
    cx: &Cx<'_>,
    document: &impl Serialize,
    block: &Block,
    changes: &[Change],
) -> Result<(), Failure> {
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(document)?,
        Format::Tsv => {
            let cells = |change: &Change| {
                vec![Cell::text(change.field), Cell::text(&change.have), Cell::text(&change.want)]
            };
            block.tsv_with("change", &Grid::new(&CHANGE, changes.iter().map(cells).collect()))
        }
        Format::Table => {
            let lines =
                changes.iter().map(|Change { field, have, want }| format!("\n  {field} {have} → {want}"));
            format!("{}{}", block.table(), lines.collect::<String>())
        }
    };
    Ok(output::print(&text)?)
}
