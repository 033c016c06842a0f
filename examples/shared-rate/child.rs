//! One of the processes: it always has more to write than it may.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_batcher::{Batcher, BatcherEvent, Operation, Share, SharedCapacity, by_value};
use sluicegate_core::Holder;
use sluicegate_governor::NativePool;
use sluicegate_nats::{Settings, connect};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::arrivals::clock;
use crate::parent::{FACTOR, SLICE};

/// Writes to its standard output, which is the datastore, until its standard input ends.
pub(crate) async fn run(server: &str, pool: &str, name: &str, processes: u32) -> Result<(), Box<dyn Error>> {
    let connection = connect(&Settings::from_url(server)?).await?;
    let pool = Arc::new(NativePool::bind(&connection, pool).await?);
    // One of them is always away, before it has started or after it was killed: the others can use all that there is.
    let of = NonZeroU32::new(processes - 1).ok_or("too few processes")?;
    let share = Share::Weighted { weight: NonZeroU32::MIN, of };
    let capacity = SharedCapacity::builder(pool, Holder::try_new(name)?).factor(FACTOR).share(share);
    // The pool was made for this run.
    let capacity = capacity.borrow(false).fresh(true);

    // When the budget of a batch was taken: what arrives is held against the rate of that moment.
    let taken: Arc<Mutex<HashMap<u64, u64>>> = Arc::default();
    let noting = Arc::clone(&taken);
    let note = move |event: &BatcherEvent| {
        if let BatcherEvent::BatchStarted { batch, .. } = event {
            noting.lock().unwrap_or_else(PoisonError::into_inner).insert(batch.0, clock());
        }
    };
    let batcher = Batcher::builder().capacity(capacity.build().await?).observer(note);
    // In a closed loop the horizon is the latency one wants: a short one asks for all that there is.
    let batcher = batcher.slice(SLICE).buffer(100).horizon(Duration::from_millis(10));
    let (batcher, _engine) = batcher.start(CancellationToken::new())?;
    let rows = batcher.watcher(by_value(move |rows: Vec<()>, cx| {
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&cx.id().0);
        let mut store = std::io::stdout().lock();
        let written = writeln!(store, "{} {}", taken.unwrap_or_default(), rows.len());
        std::future::ready(written)
    }));
    let rows = rows.name("rows").build()?;

    let work = async { while rows.enqueue(Operation::new(())).await.is_ok() {} };
    let mut end = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        () = work => {}
        _ = stdin.read_to_end(&mut end) => {}
    }
    batcher.drain(Duration::from_secs(5)).await;
    Ok(())
}
