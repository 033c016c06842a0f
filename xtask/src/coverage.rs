//! `cargo xtask coverage`

use crate::shell::{Failure, Outcome, cargo, cargo_has, run as run_command};

pub(crate) async fn run() -> Outcome {
    if !cargo_has("llvm-cov") {
        return Err(Failure::new(
            "cargo-llvm-cov is missing: `cargo install cargo-llvm-cov --locked && rustup component add llvm-tools`",
        ));
    }
    run_command(&mut cargo(&["llvm-cov", "--workspace", "--html"])).await
}
