use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError};

/// A bound on what waits, in operations or in bytes. Its line is the order in which callers wait for a place.
#[derive(Debug)]
pub(crate) struct Places {
    free: Semaphore,
    all: usize,
    /// Needed by what waits anew, after others had taken its places: paid back before anybody else gets one.
    owed: AtomicUsize,
}

impl Places {
    pub(crate) fn new(all: usize) -> Self {
        Self { free: Semaphore::new(all), all, owed: AtomicUsize::new(0) }
    }

    /// Something larger than everything takes everything.
    fn fit(&self, places: usize) -> u32 {
        u32::try_from(places.min(self.all)).unwrap_or(u32::MAX)
    }

    pub(crate) fn try_take(&self, places: usize) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.free.try_acquire_many(self.fit(places))
    }

    pub(crate) async fn take(&self, places: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.free.acquire_many(self.fit(places)).await
    }

    /// What took so many places waits no longer.
    pub(crate) fn free(&self, places: usize) {
        let places = self.fit(places) as usize;
        if places == 0 {
            return;
        }
        let mut give = places;
        if self.owed.load(Ordering::Acquire) > 0 {
            let pay = |owed: usize| (owed > 0).then(|| owed.saturating_sub(places));
            let owed = self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, pay).unwrap_or(0);
            give = places.saturating_sub(owed);
        }
        if give > 0 {
            self.free.add_permits(give);
        }
    }

    /// What gave so many places away waits again.
    pub(crate) fn owe(&self, places: usize) {
        let places = self.fit(places) as usize;
        let taken = self.free.forget_permits(places);
        self.owed.fetch_add(places - taken, Ordering::AcqRel);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// Nobody gets a place any more, whoever waits.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.free.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_paid_back_first() {
        let places = Places::new(3);
        places.try_take(3).unwrap().forget();
        places.free(1);
        places.owe(3);
        assert_eq!((places.free.available_permits(), places.owed.load(Ordering::Relaxed)), (0, 2));
        places.free(1);
        assert_eq!((places.free.available_permits(), places.owed.load(Ordering::Relaxed)), (0, 1));
        places.free(3);
        assert_eq!((places.free.available_permits(), places.owed.load(Ordering::Relaxed)), (2, 0));
    }

    #[test]
    fn something_larger_than_everything_takes_everything() {
        let places = Places::new(3);
        places.try_take(10).unwrap().forget();
        assert!(places.is_full());
        places.free(10);
        assert_eq!(places.free.available_permits(), 3);
    }
}
