use std::fmt;

/// Receives a crate's typed events.
///
/// Called in the task that noticed the event, with no lock held: an observer must not block. Closures are
/// observers, so is a broadcast sender (which loses old events rather than slow anybody down), so is [`Ignore`].
///
/// ```
/// use sluicegate_core::Observer;
///
/// let print = |event: &u32| println!("{event}");
/// print.observe(&7);
/// ```
pub trait Observer<E>: Send + Sync + 'static {
    /// Takes notice of one event.
    fn observe(&self, event: &E);
}

/// The observer that drops everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignore;

impl<E> Observer<E> for Ignore {
    fn observe(&self, _event: &E) {}
}

impl<E, F> Observer<E> for F
where
    F: Fn(&E) + Send + Sync + 'static,
{
    fn observe(&self, event: &E) {
        self(event);
    }
}

impl<E> Observer<E> for tokio::sync::broadcast::Sender<E>
where
    E: Clone + Send + 'static,
{
    fn observe(&self, event: &E) {
        // Nobody listening is not an error.
        let _ = self.send(event.clone());
    }
}

impl<E: 'static> fmt::Debug for dyn Observer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
