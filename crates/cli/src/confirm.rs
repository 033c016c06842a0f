//! Before something is taken away from others.

use std::io::{self, BufRead, IsTerminal, Write};

use sluicegate_core::LeaseErrorKind;

use crate::code::Code;
use crate::cx::Cx;
use crate::error::CliError;
use crate::output::escape;

/// Asks whether to do that, where somebody can be asked; elsewhere `--force` says so.
///
/// # Errors
/// `Usage` where nobody can be asked; `Partial` if the answer is no: nothing was done.
pub(crate) fn confirm(what: &str, force: bool) -> Result<(), CliError> {
    if force {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let message = format!("{what}: needs --force, as nobody can be asked here");
        return Err(CliError::new(Code::Usage, message).help("add --force if that is meant"));
    }
    // A terminal that is gone gives no answer either.
    let _ = write!(io::stderr().lock(), "{}? [y/N] ", escape(what));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer).is_ok();
    if read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(CliError::new(Code::Partial, "nothing was changed: the answer was not yes"))
}

/// Asks whether to do what was refused because it takes something away; everything else stays refused.
///
/// # Errors
/// What was refused, and those of [`confirm`].
pub(crate) fn consent(cx: &Cx<'_>, kind: LeaseErrorKind, refused: CliError) -> Result<(), CliError> {
    match kind {
        LeaseErrorKind::Conflict if !cx.output.force => confirm(&refused.to_string(), false),
        _ => Err(refused),
    }
}
