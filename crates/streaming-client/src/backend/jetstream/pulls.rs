use std::collections::VecDeque;

/// Keeps the books of pull requests: how much was asked for and has not come. Pure.
#[derive(Debug)]
pub(super) struct Pulls {
    max: u32,
    batch: u32,
    open: VecDeque<Pull>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pull {
    pub(super) id: u64,
    pub(super) left: u32,
}

impl Pulls {
    /// At most `max` messages in flight and asked for, at most `batch` in one request.
    pub(super) fn new(max: u32, batch: u32) -> Self {
        Self { max, batch: if batch == 0 { max } else { batch.min(max) }, open: VecDeque::new(), next: 0 }
    }

    /// The next request to send when that many are in flight. Asks for more once half of what fits is free, so that
    /// one request serves many messages.
    pub(super) fn want(&mut self, in_flight: usize) -> Option<Pull> {
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        let asked: u32 = self.open.iter().map(|pull| pull.left).sum();
        let free = self.max.saturating_sub(in_flight).saturating_sub(asked);
        if free == 0 || (asked > 0 && free < self.max.div_ceil(2)) {
            return None;
        }
        let pull = Pull { id: self.next, left: free.min(self.batch) };
        self.next += 1;
        self.open.push_back(pull);
        Some(pull)
    }

    /// A message came. Servers serve the oldest request first.
    pub(super) fn arrived(&mut self) {
        if let Some(oldest) = self.open.front_mut() {
            oldest.left -= 1;
            if oldest.left == 0 {
                self.open.pop_front();
            }
        }
    }

    /// The server ended this request, or it could not be sent.
    pub(super) fn ended(&mut self, id: u64) {
        self.open.retain(|pull| pull.id != id);
    }

    /// Every request is lost.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// No other request is open.
    pub(super) fn is_only(&self, id: u64) -> bool {
        self.open.len() == 1 && self.open.front().is_some_and(|pull| pull.id == id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn asks_in_halves() {
        let mut pulls = Pulls::new(8, 0);
        assert_eq!(pulls.want(0), Some(Pull { id: 0, left: 8 }));
        assert_eq!(pulls.want(0), None);
        (0..3).for_each(|_| pulls.arrived());
        assert_eq!(pulls.want(0), None, "three are free");
        pulls.arrived();
        assert_eq!(pulls.want(4), None, "they are in flight");
        assert_eq!(pulls.want(0), Some(Pull { id: 1, left: 4 }));
        pulls.ended(0);
        assert_eq!(pulls.want(4), None, "four asked for, four in flight");
        pulls.forget();
        assert!(pulls.is_empty());
        assert_eq!(pulls.want(7), Some(Pull { id: 2, left: 1 }), "something is better than nothing");
    }

    #[test]
    fn batches_are_bounded() {
        let mut pulls = Pulls::new(100, 30);
        assert_eq!(pulls.want(0).map(|pull| pull.left), Some(30));
        assert_eq!(pulls.want(0).map(|pull| pull.left), Some(30));
        assert_eq!(pulls.want(0), None, "more than half is asked for");
    }

    proptest! {
        #[test]
        fn never_more_than_fits(max in 1u32..50, batch in 0u32..60, steps in proptest::collection::vec((0u8..4, any::<u8>()), 1..300)) {
            let mut pulls = Pulls::new(max, batch);
            let mut in_flight = 0usize;
            for (what, pick) in steps {
                match what {
                    0 => _ = pulls.want(in_flight),
                    1 if !pulls.is_empty() => {
                        pulls.arrived();
                        in_flight += 1;
                    }
                    2 => in_flight = in_flight.saturating_sub(1),
                    3 => {
                        let ids: Vec<u64> = pulls.open.iter().map(|pull| pull.id).collect();
                        if !ids.is_empty() {
                            pulls.ended(ids[usize::from(pick) % ids.len()]);
                        }
                    }
                    _ => {}
                }
                let asked: u32 = pulls.open.iter().map(|pull| pull.left).sum();
                prop_assert!(in_flight + asked as usize <= max as usize);
                prop_assert!(pulls.open.iter().all(|pull| pull.left > 0));
            }
            pulls.forget();
            prop_assert_eq!(pulls.want(in_flight).is_some(), in_flight < max as usize);
        }
    }
}
