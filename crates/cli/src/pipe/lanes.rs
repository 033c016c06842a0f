//! The batcher's watchers, as this command needs them.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_batcher::{
    Batcher, BatcherBuilder, BatcherEvent, ConfigError, Fixed, Flush, Handler, Operation, Retry,
    SharedCapacity, Watcher,
};

use super::args::PipeArgs;
use super::halt::Trouble;
use super::item::Item;
use super::letters::Letters;
use super::voice::Voice;

/// The first pause before another attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How finely a rate is spent: not finer than that, and not coarser.
const SLICES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// One watcher for all items; or, for items with a key, several that have one batch at a time, and each key with one
/// of them.
#[derive(Debug)]
pub(super) struct Lanes {
    watchers: Vec<Watcher<Item, (), Trouble>>,
}

/// A batcher without watchers. What waits is bounded by the bytes of all items, not here.
pub(super) fn batcher(args: &PipeArgs, shared: Option<SharedCapacity>, voice: &Arc<Voice>) -> BatcherBuilder {
    let voice = Arc::clone(voice);
    let builder = Batcher::builder()
        .observer(move |event: &BatcherEvent| voice.hear(event))
        .buffer(tokio::sync::Semaphore::MAX_PERMITS)
        // What stops now and then is no rate to be learnt.
        .adaptive(false)
        .max_operation_time(Duration::MAX)
        .slice(Duration::from(args.linger).clamp(SLICES.0, SLICES.1));
    match (shared, args.rate) {
        (Some(shared), _) => builder.capacity(shared),
        (None, Some(rate)) => builder.capacity(Fixed::per_second(rate.0)),
        (None, None) => builder,
    }
}

impl Lanes {
    pub(super) fn new(
        batcher: &Batcher,
        sink: &Arc<dyn Handler<Item, (), Trouble>>,
        args: &PipeArgs,
        letters: &Letters,
    ) -> Result<Self, ConfigError> {
        let keyed = args.key.is_some();
        let (lanes, batches) = if keyed { (args.concurrency.get(), 1) } else { (1, args.concurrency.get()) };
        let linger = Duration::from(args.linger);
        let longest = Duration::from(args.retry_max);
        let lane = |number: usize| {
            let retry = Retry::exponential()
                .first_delay(FIRST_PAUSE.min(longest))
                .longest_delay(longest)
                .in_order(keyed)
                .when(|trouble: &Trouble, _| trouble.is_passing());
            let watcher = batcher
                .watcher(Arc::clone(sink))
                .name(format!("pipe-{number}"))
                .max_batch_size(args.max_items.get())
                .max_batch_bytes(args.max_bytes.0)
                .max_concurrent_batches(batches)
                .max_attempts(args.attempts())
                .retry(retry)
                .dead_letter(letters.sink());
            let watcher = match linger.is_zero() {
                true => watcher.flush(Flush::Immediate),
                false => watcher.flush(Flush::Linger).linger(linger),
            };
            watcher.build()
        };
        Ok(Self { watchers: (0..lanes).map(lane).collect::<Result<_, _>>()? })
    }

    /// Hands over an item; or gives it back, with the reason.
    pub(super) fn send(&self, item: Item) -> Result<(), (Item, String)> {
        let lane = item.key.map_or(0, |key| key % self.watchers.len() as u64);
        let (cost, bytes) = (item.cost, u32::try_from(item.data.len()).unwrap_or(u32::MAX));
        // There are no more lanes than fit into memory.
        #[allow(clippy::cast_possible_truncation)]
        let watcher = &self.watchers[lane as usize];
        let operation = Operation::new(item).cost(cost).bytes(bytes);
        watcher.try_enqueue(operation).map_err(|refused| {
            let why = refused.kind().to_string();
            (refused.into_operation().into_payload(), why)
        })
    }
}
