//! The exit code, and what goes with it.

use std::path::Path;

use super::letters::Undelivered;
use super::voice::Summary;
use crate::Failure;
use crate::code::Code;
use crate::error::CliError;
use crate::output::thousands;

const INT: u8 = 2;

/// Everything that the end depends on.
pub(super) struct End<'a> {
    /// Why nothing more could be delivered.
    pub(super) failure: Option<Failure>,
    /// Asked to end twice.
    pub(super) abandoned: bool,
    /// The first signal that asked to end.
    pub(super) signal: Option<u8>,
    pub(super) undelivered: Undelivered,
    pub(super) summary: Summary,
    /// The dead-letter file.
    pub(super) file: Option<&'a Path>,
}

/// 0 if everything was delivered; else what was not, and where it is.
pub(super) fn ending(end: End<'_>) -> Result<u8, Failure> {
    let left = left(&end);
    match (end.failure, left) {
        (Some(Failure::Error(error)), Some(left)) => Err(error.and(&left).into()),
        (Some(failure), _) => Err(failure),
        (None, Some(left)) if end.signal == Some(INT) && !end.abandoned => {
            Err(CliError::new(Code::Interrupted(INT), format!("interrupted; {left}")).into())
        }
        (None, Some(left)) => {
            let (left, help) = match end.file {
                _ if end.abandoned => (format!("abandoned; {left}"), "give it more time to settle"),
                Some(_) => (left, "see the reasons above, and feed the file again"),
                None => (left, "see the reasons above; --dead-letter FILE keeps such items"),
            };
            Err(CliError::new(Code::Partial, left).help(help).into())
        }
        (None, None) if end.signal == Some(INT) => {
            Err(CliError::new(Code::Interrupted(INT), "interrupted; all that was read is delivered").into())
        }
        (None, None) => Ok(0),
    }
}

/// What was not delivered, and where it is.
fn left(end: &End<'_>) -> Option<String> {
    let Undelivered { items, written } = end.undelivered;
    if items == 0 {
        return None;
    }
    let all = thousands(end.summary.items);
    let where_ = match (written, end.file) {
        (written, Some(file)) if written == items => format!("they are in {}", file.display()),
        (written, Some(file)) => format!("{} of them are in {}", thousands(written), file.display()),
        (_, None) => "they are written nowhere".to_owned(),
    };
    Some(format!("{} of {all} items were not delivered: {where_}", thousands(items)))
}
