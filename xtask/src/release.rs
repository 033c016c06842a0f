//! `cargo xtask release`

use crate::shell::{Outcome, cargo, run as run_command};

/// Packs every crate that will be published, and builds each from its package.
pub(crate) async fn run() -> Outcome {
    run_command(&mut cargo(&[
        "package",
        "--workspace",
        "--locked",
        "--exclude",
        "xtask",
        "--exclude",
        "sluicegate-examples",
    ]))
    .await?;
    eprintln!("All packages build from what would be uploaded. Nothing was published.");
    Ok(())
}
