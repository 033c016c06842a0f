//! A result for each operation.

use sluicegate_testkit::figures::Figures;

use crate::batchers::{Ours, Peer};
use crate::throughput::Series;
use crate::{Effort, floors, median, runtime};

pub(crate) fn measure(effort: Effort, figures: &mut Figures) {
    for (callers, operations) in [(1, 1 << 16), (64, 1 << 19), (1_024, 1 << 19), (10_000, 1 << 19)] {
        let operations = effort.part(operations).max(callers);
        let (mut floor, mut ours, mut peer) = (Series::default(), Series::default(), Series::default());
        for _ in 0..effort.rounds() {
            let runtime = runtime();
            floor.time(operations, || runtime.block_on(floors::call(callers, operations)));
            let batcher = runtime.block_on(async { Ours::start() });
            ours.time(operations, || runtime.block_on(batcher.call(callers, operations)));
            let other = runtime.block_on(async { Peer::start() });
            peer.time(operations, || runtime.block_on(other.call(callers, operations)));
        }
        let (name, base) = (format!("result/call_{callers}"), median(floor.wall));
        let note = format!("batch-aint-one {:.2} × the floor", median(peer.wall) / base);
        figures.beside(&name, "time", "ns/operation", median(ours.wall), base).note(note);
    }
}
