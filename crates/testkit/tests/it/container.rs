//! What is special about containers; everything else runs on them too when `SLUICEGATE_CONTAINER=1`.

use sluicegate_testkit::server::{Program, ensure_image, remove_abandoned_containers};

/// Prints where the images came from: `cargo xtask servers --container` runs this.
#[tokio::test]
async fn images_are_pulled_or_built() {
    for program in [Program::Nats, Program::Stan] {
        let how = ensure_image(program, program.version(), |line| println!("{line}")).await.unwrap();
        println!("{how}");
        let again = ensure_image(program, program.version(), |line| println!("{line}")).await.unwrap();
        assert!(again.ends_with("is there"), "{again}");
    }
}

/// Shared servers end with their process, but a container does not: `cargo xtask test --container` runs this last.
#[tokio::test]
async fn nothing_abandoned_stays() {
    // Another test may be leaving one behind just now.
    for _ in 0..5 {
        let removed = remove_abandoned_containers().await.unwrap();
        println!("removed {removed} containers that tests had left behind");
        if removed == 0 {
            return;
        }
    }
    panic!("removed containers come back");
}
