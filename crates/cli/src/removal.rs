//! Ending all leases, or the whole pool, of others.

use serde::Serialize;
use sluicegate_core::LeaseError;
use sluicegate_governor::{GovernorAdmin, GovernorView};

use crate::Failure;
use crate::confirm::confirm;
use crate::cx::Cx;
use crate::error::CliError;
use crate::output::{self, Block, Cell, Format, Grid};

/// What is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Its leases.
    Reset,
    /// All of it.
    Rm,
}

impl Removal {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Rm => "rm",
        }
    }

    /// Does it if that is meant, and tells what there was before, and how many leases have ended. `holders` says who
    /// they are.
    pub(crate) async fn carry_out(
        self,
        cx: &Cx<'_>,
        governor: &GovernorAdmin,
        holders: impl Fn(&GovernorView) -> Vec<String>,
        refused: impl Fn(&LeaseError) -> CliError,
    ) -> Result<(GovernorView, u64), CliError> {
        let failed = |error: LeaseError| refused(&error);
        let view = governor.view().await.map_err(failed)?;
        let (does, name) = (if self == Self::Reset { "reset" } else { "remove" }, &view.name);
        confirm(&format!("{does} {name}{}", held(&holders(&view))), cx.output.force)?;
        let freed = match self {
            Self::Reset => governor.reset().await.map_err(failed)?,
            Self::Rm => {
                governor.delete().await.map_err(failed)?;
                view.active
            }
        };
        cx.flush(governor).await;
        Ok((view, freed))
    }
}

/// Who holds it, for the question whether that is meant.
fn held(holders: &[String]) -> String {
    const SHOWN: usize = 5;
    let names = holders[..holders.len().min(SHOWN)].join(", ");
    match holders.len() {
        0 => ", which nobody holds".to_owned(),
        all if all > SHOWN => format!(", held by {names} and {} more", all - SHOWN),
        _ => format!(", held by {names}"),
    }
}

/// Prints whom it freed: the document, or the rows, each behind the word for one of them.
pub(crate) fn show(
    cx: &Cx<'_>,
    document: &impl Serialize,
    (name, freed): (&str, u64),
    (one, rows): (&str, &Grid<'_>),
) -> Result<(), Failure> {
    let block =
        Block::new().row("name", "Name", Cell::text(name)).row("freed", "Leases ended", Cell::number(freed));
    let text = match cx.format() {
        Format::Json | Format::Ndjson => output::json(document)?,
        format => block.with(one, rows, format),
    };
    Ok(output::print(&text)?)
}
