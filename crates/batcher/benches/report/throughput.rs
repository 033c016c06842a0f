//! From enqueue to the handler, without results.

use std::time::Duration;

use sluicegate_testkit::figures::Figures;
use tokio::time::Instant;

use crate::batchers::Ours;
use crate::{Effort, cpu, floors, median, runtime};

pub(crate) fn measure(effort: Effort, figures: &mut Figures) {
    let operations = effort.part(1 << 20);
    for producers in [1, 4, 64] {
        let (mut floor, mut ours) = (Series::default(), Series::default());
        for _ in 0..effort.rounds() {
            let runtime = runtime();
            floor.time(operations, || runtime.block_on(floors::enqueue(producers, operations)));
            let batcher = runtime.block_on(async { Ours::start() });
            ours.time(operations, || runtime.block_on(batcher.enqueue(producers, operations)));
        }
        let name = format!("throughput/enqueue_{producers}");
        figures.beside(&name, "time", "ns/operation", median(ours.wall), median(floor.wall));
        if producers == 64 {
            figures.beside("throughput/cpu_64", "cpu", "ns/operation", median(ours.cpu), median(floor.cpu));
        }
    }
}

/// Nanoseconds for an operation, of each round.
#[derive(Default)]
pub(crate) struct Series {
    pub(crate) wall: Vec<f64>,
    pub(crate) cpu: Vec<f64>,
}

impl Series {
    pub(crate) fn time(&mut self, operations: usize, work: impl FnOnce()) {
        let (start, before) = (Instant::now(), cpu());
        work();
        let each = |time: Duration| time.as_nanos() as f64 / operations as f64;
        self.wall.push(each(start.elapsed()));
        self.cpu.push(each(cpu() - before));
    }
}
