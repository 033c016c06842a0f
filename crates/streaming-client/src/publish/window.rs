use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::PublishConfig;

/// Bounds what waits for acknowledgements, by number and by bytes.
#[derive(Debug)]
pub(crate) struct Window {
    slots: Semaphore,
    max_slots: u32,
    bytes: Semaphore,
    max_bytes: u32,
}

/// Room for one publish, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    window: Arc<Window>,
    bytes: u32,
}

impl Window {
    pub(crate) fn new(config: &PublishConfig) -> Arc<Self> {
        let (max_slots, max_bytes) = (config.max_outstanding.get(), config.max_outstanding_bytes.get());
        Arc::new(Self {
            slots: Semaphore::new(max_slots as usize),
            max_slots,
            bytes: Semaphore::new(max_bytes as usize),
            max_bytes,
        })
    }

    /// How many publishes are outstanding.
    pub(crate) fn outstanding(&self) -> usize {
        (self.max_slots as usize).saturating_sub(self.slots.available_permits())
    }

    pub(crate) fn try_room(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let slot = self.slots.try_acquire().ok()?;
        let bytes = self.weight(bytes);
        let space = self.bytes.try_acquire_many(bytes).ok()?;
        slot.forget();
        space.forget();
        Some(Room { window: Arc::clone(self), bytes })
    }

    /// Waits in line, first in, first out.
    pub(crate) async fn room(self: &Arc<Self>, bytes: usize) -> Room {
        let bytes = self.weight(bytes);
        // Neither semaphore is ever closed, so neither can fail.
        if let Ok(slot) = self.slots.acquire().await
            && let Ok(space) = self.bytes.acquire_many(bytes).await
        {
            slot.forget();
            space.forget();
        }
        Room { window: Arc::clone(self), bytes }
    }

    /// Waits until everything that has room now has given it back.
    pub(crate) async fn emptied(&self) {
        // The line is fair: whoever comes later waits behind us.
        let _all = self.slots.acquire_many(self.max_slots).await;
    }

    fn weight(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.max_bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.window.bytes.add_permits(self.bytes as usize);
        self.window.slots.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn window(slots: u32, bytes: u32) -> Arc<Window> {
        Window::new(&PublishConfig {
            max_outstanding: NonZeroU32::new(slots).unwrap(),
            max_outstanding_bytes: NonZeroU32::new(bytes).unwrap(),
            ..PublishConfig::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn both_bounds_hold_and_all_room_returns() {
        let window = window(2, 100);
        let first = window.try_room(60).unwrap();
        assert!(window.try_room(60).is_none(), "bytes");
        assert_eq!(window.outstanding(), 1, "a refusal takes nothing");
        let second = window.try_room(40).unwrap();
        assert!(window.try_room(0).is_none(), "slots");
        let mut waiting = Box::pin(window.room(1_000));
        assert!((&mut waiting).now_or_never().is_none());
        drop(first);
        assert!((&mut waiting).now_or_never().is_none(), "too large for the rest: it goes alone");
        drop(second);
        let alone = waiting.await;
        assert!(window.try_room(1).is_none());
        drop(alone);
        window.emptied().await;
        assert_eq!(window.outstanding(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_leaves_no_trace() {
        let window = window(1, 10);
        let only = window.try_room(1).unwrap();
        for _ in 0..10 {
            assert!(window.room(5).now_or_never().is_none());
        }
        drop(only);
        assert!(window.try_room(10).is_some());
    }

    proptest! {
        #[test]
        fn never_beyond_the_bounds_never_a_leak(steps in proptest::collection::vec((any::<bool>(), 0usize..50), 1..200)) {
            let window = window(5, 100);
            let mut held = Vec::new();
            for (take, size) in steps {
                if take {
                    let before: usize = held.iter().map(|(_, size)| *size).sum();
                    let fits = held.len() < 5 && before + size <= 100;
                    let room = window.try_room(size);
                    prop_assert_eq!(room.is_some(), fits);
                    held.extend(room.map(|room| (room, size)));
                } else if !held.is_empty() {
                    held.swap_remove(size % held.len());
                }
                prop_assert_eq!(window.outstanding(), held.len());
            }
            held.clear();
            prop_assert_eq!(window.outstanding(), 0);
        }
    }
}
