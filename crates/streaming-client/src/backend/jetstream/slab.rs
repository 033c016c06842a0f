use std::time::Duration;

use bytes::Bytes;
use sluicegate_nats::async_nats::{HeaderMap, Subject};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::progress::Progress;
use crate::Guid;
use crate::publish::{PublishResult, Room};

/// The publishes that wait for an acknowledgement. A slot's number and generation are in the reply subject, so a
/// late acknowledgement meets nobody it is not meant for.
#[derive(Debug, Default)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many entries have never been handed over.
    unsent: usize,
    tickets: u64,
    /// Nobody looks after entries any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

/// Where an entry is, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) guid: Guid,
    pub(super) subject: Subject,
    pub(super) payload: Bytes,
    pub(super) headers: Option<HeaderMap>,
    pub(super) room: Room,
    pub(super) tell: oneshot::Sender<PublishResult>,
    pub(super) deadline: Instant,
    pub(super) duplicate_window: Duration,
    pub(super) progress: Progress,
}

impl Token {
    pub(super) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn of(number: u64) -> Self {
        let [index, generation] = [number, number >> 32].map(|half| (half & u64::from(u32::MAX)) as u32);
        Self { index, generation }
    }

    /// The token at the end of a reply subject.
    pub(super) fn parse(subject: &str) -> Option<Self> {
        let (_, token) = subject.rsplit_once('.')?;
        u64::from_str_radix(token, 16).ok().map(Self::of)
    }
}

impl Slab {
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Something waits to be handed over for the first time: what comes now must queue behind it.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    /// `None`: the slab is closed.
    pub(super) fn insert(&mut self, mut entry: Entry) -> Option<Token> {
        if self.closed {
            return None;
        }
        self.tickets += 1;
        entry.progress.ticket = self.tickets;
        self.unsent += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            // The window bounds the number of entries far below that.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.slots[index as usize];
        slot.entry = Some(entry);
        Some(Token { index, generation: slot.generation })
    }

    /// From now on nothing is taken in.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(token.index as usize)?;
        slot.entry.as_mut().filter(|_| slot.generation == token.generation)
    }

    /// The entry is about to be handed over.
    pub(super) fn sent(&mut self, token: Token, now: Instant, epoch: u64) {
        if let Some(entry) = self.get_mut(token) {
            let first = entry.progress.attempts == 0;
            entry.progress.sent(now, epoch);
            self.unsent -= usize::from(first);
        }
    }

    /// The entry could not be handed over.
    pub(super) fn not_sent(&mut self, token: Token, now: Instant) {
        if let Some(entry) = self.get_mut(token) {
            entry.progress.not_sent(now);
            let never = entry.progress.attempts == 0;
            self.unsent += usize::from(never);
        }
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Entry> {
        self.get_mut(token)?;
        let slot = &mut self.slots[token.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let entry = slot.entry.take()?;
        self.free.push(token.index);
        self.unsent -= usize::from(entry.progress.attempts == 0);
        Some(entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &Entry)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let token = Token { index: index as u32, generation: slot.generation };
            slot.entry.as_ref().map(|entry| (token, entry))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::PublishConfig;
    use crate::publish::Window;

    fn entry(room: Room) -> Entry {
        Entry {
            guid: Guid::made("test", 1),
            subject: "s".into(),
            payload: Bytes::new(),
            headers: None,
            room,
            tell: oneshot::channel().0,
            deadline: Instant::now(),
            duplicate_window: Duration::ZERO,
            progress: Progress::new(),
        }
    }

    proptest! {
        #[test]
        fn each_entry_is_found_by_its_own_token_only(steps in proptest::collection::vec((0u8..4, any::<usize>()), 1..200)) {
            let window = Window::new(&PublishConfig::default());
            let (mut slab, mut live, mut dead) = (Slab::default(), HashMap::new(), Vec::new());
            for (what, pick) in steps {
                match what {
                    0 => {
                        let token = slab.insert(entry(window.try_room(1).unwrap())).unwrap();
                        let ticket = slab.get_mut(token).unwrap().progress.ticket;
                        prop_assert!(live.insert(token.number(), ticket).is_none());
                    }
                    1 if !live.is_empty() => {
                        let number = *live.keys().nth(pick % live.len()).unwrap();
                        let ticket = live.remove(&number);
                        let subject = format!("_INBOX.x.{number:x}");
                        let removed = slab.remove(Token::parse(&subject).unwrap());
                        prop_assert_eq!(removed.map(|entry| entry.progress.ticket), ticket);
                        dead.push(number);
                    }
                    2 if !live.is_empty() => {
                        let number = *live.keys().nth(pick % live.len()).unwrap();
                        slab.sent(Token::of(number), Instant::now(), 1);
                    }
                    3 if !live.is_empty() => {
                        let token = Token::of(*live.keys().nth(pick % live.len()).unwrap());
                        if slab.get_mut(token).unwrap().progress.attempts > 0 {
                            slab.not_sent(token, Instant::now());
                        }
                    }
                    _ => {}
                }
                prop_assert!(dead.iter().all(|number| slab.get_mut(Token::of(*number)).is_none()));
                prop_assert_eq!(slab.iter().count(), live.len());
                prop_assert_eq!(window.outstanding(), live.len());
                let unsent = slab.iter().filter(|(_, entry)| entry.progress.attempts == 0).count();
                prop_assert_eq!(slab.has_unsent(), unsent > 0);
            }
        }

        #[test]
        fn a_closed_slab_takes_nothing_and_keeps_no_room(before in 0usize..5) {
            let window = Window::new(&PublishConfig::default());
            let mut slab = Slab::default();
            for _ in 0..before {
                slab.insert(entry(window.try_room(1).unwrap())).unwrap();
            }
            slab.close();
            prop_assert!(slab.insert(entry(window.try_room(1).unwrap())).is_none());
            prop_assert_eq!((slab.iter().count(), window.outstanding()), (before, before));
        }

        #[test]
        fn no_subject_panics(text in "\\PC*") {
            if let Some(token) = Token::parse(&text) {
                prop_assert!(Slab::default().remove(token).is_none());
            }
        }
    }
}
