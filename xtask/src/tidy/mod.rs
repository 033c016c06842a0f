//! `cargo xtask tidy`: what ARCHITECTURE.md promises and a program can check.

mod layers;
mod manifests;
mod rooms;
mod sources;

use crate::shell::{Failure, Outcome};
use crate::workspace::Workspace;

/// What is wrong, one line each.
type Findings = Vec<String>;

pub(crate) fn run() -> Outcome {
    eprintln!("\n$ cargo xtask tidy");
    let workspace = Workspace::read()?;
    let findings = [
        layers::check(&workspace)?,
        manifests::check(&workspace)?,
        rooms::check(&workspace),
        sources::check()?,
    ]
    .concat();
    if findings.is_empty() {
        eprintln!("tidy: layers, manifests, rooms and sources are as they should be");
        return Ok(());
    }
    let count = findings.len();
    Err(Failure::new(format!("tidy: {count} findings\n  {}", findings.join("\n  "))))
}
