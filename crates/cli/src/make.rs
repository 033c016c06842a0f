//! What `add` does with what exists already.

use std::io::{self, IsTerminal};

use sluicegate_core::{LeaseError, LeaseErrorKind};
use sluicegate_governor::{GovernorAdmin, GovernorKind, Wire};
use sluicegate_nats::Connection;

use crate::Failure;
use crate::code::Code;
use crate::confirm::confirm;
use crate::cx::Cx;
use crate::error::CliError;

/// Something that shall be as it was said.
pub(crate) trait Make {
    /// It.
    type Made;

    /// The one of that name that is there already.
    async fn find(&self) -> Result<Option<Self::Made>, LeaseError>;
    /// Makes it, or finds it exactly so.
    async fn create(&self) -> Result<Self::Made, LeaseError>;
    /// Makes it, or changes it where nothing is taken away from others; and whether it had to.
    async fn ensure(&self) -> Result<(Self::Made, bool), LeaseError>;
    /// The same, also where something is taken away.
    async fn force(&self) -> Result<(Self::Made, bool), LeaseError>;
    /// What the library refuses.
    fn refused(&self, error: &LeaseError) -> CliError;
}

/// Makes it; one that differs is changed if that was said, or is said at the terminal. And whether anything was done.
pub(crate) async fn make<M: Make>(cx: &Cx<'_>, wanted: &M, ensure: bool) -> Result<(M::Made, bool), Failure> {
    let failed = |error: LeaseError| wanted.refused(&error);
    if cx.output.force {
        return Ok(wanted.force().await.map_err(failed)?);
    }
    if ensure {
        return Ok(wanted.ensure().await.map_err(failed)?);
    }
    let existed = wanted.find().await.map_err(failed)?.is_some();
    match wanted.create().await {
        Ok(made) => Ok((made, !existed)),
        Err(error) if error.kind() == LeaseErrorKind::Conflict && existed && is_asked() => {
            confirm(&format!("{}: change it", failed(error)), false)?;
            Ok(wanted.force().await.map_err(failed)?)
        }
        Err(error) => Err(failed(error).into()),
    }
}

/// Whether there is somebody to ask: elsewhere it is an error of its own.
fn is_asked() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// What is there, or nothing.
pub(crate) fn found<T>(looked: Result<T, LeaseError>) -> Result<Option<T>, LeaseError> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == LeaseErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses a name that something of the other kind has: what is one stays one.
pub(crate) async fn not_of_another_kind(
    connection: &Connection,
    name: &str,
    wanted: GovernorKind,
    refused: impl Fn(&LeaseError) -> CliError,
) -> Result<(), CliError> {
    let there = found(GovernorAdmin::bind_on(connection, name, Wire::Native).await);
    match there.map_err(|error| refused(&error))?.map(|there| there.kind()) {
        Some(kind) if kind != wanted => {
            let message = format!("{wanted} add {name}: there is a {kind} of that name");
            let help = format!("choose another name, or see what it is: sluicegate {kind} view {name}");
            Err(CliError::new(Code::AlreadyExists, message).help(help))
        }
        _ => Ok(()),
    }
}
