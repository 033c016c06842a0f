use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::{FencingToken, HeldLease, Holder, Lease, LeaseId, LossCause, Request, later};

/// How long a slot is kept for a handle that was told of it and has not asked yet, and a place for one that asks.
const PROMISE: Duration = Duration::from_millis(100);

/// How many ended leases are remembered, so that a late `lost` can tell the cause.
const REMEMBERED: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandleId(u64);

struct Entry {
    token: FencingToken,
    holder: Holder,
    weight: NonZeroU32,
    granted: Instant,
    /// Grant or last renewal.
    confirmed: Instant,
    /// What the holder counts on.
    promised: Instant,
    expires: Instant,
    early: watch::Sender<EarlyEnd>,
}

/// When and why a lease ends before the deadline its holder counts on.
pub(super) type EarlyEnd = Option<(Instant, LossCause)>;

#[derive(Default)]
struct Waiter {
    hint: Arc<Notify>,
    /// Slots freed since the last failed attempt.
    freed: u32,
    /// Slots kept for this handle, and until when.
    promised: Option<(u32, Instant)>,
    /// Since when nobody waits although the handle has a place: it makes an attempt, or has gone away.
    away: Option<Instant>,
}

/// What the pool is; a plain machine over explicit instants.
pub(super) struct State {
    limit: NonZeroU32,
    ttl: Duration,
    last: u64,
    deleted: bool,
    entries: BTreeMap<LeaseId, Entry>,
    /// The most recent early ends, oldest first.
    lost: VecDeque<(LeaseId, LossCause)>,
    handles: BTreeMap<HandleId, Waiter>,
    /// Handles that wait for a hint, in the order in which they began to.
    waiting: VecDeque<HandleId>,
    next_handle: u64,
}

impl State {
    pub(super) fn new(limit: NonZeroU32, ttl: Duration) -> Self {
        Self {
            limit,
            ttl,
            last: 0,
            deleted: false,
            entries: BTreeMap::new(),
            lost: VecDeque::new(),
            handles: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_handle: 0,
        }
    }

    pub(super) fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.deleted
    }

    pub(super) fn used(&self) -> u32 {
        self.entries.values().map(|entry| entry.weight.get()).sum()
    }

    pub(super) fn attach(&mut self, hint: Arc<Notify>) -> HandleId {
        let id = HandleId(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(id, Waiter { hint, ..Waiter::default() });
        id
    }

    pub(super) fn detach(&mut self, id: HandleId, now: Instant) {
        self.waiting.retain(|waiting| *waiting != id);
        if let Some(Waiter { promised: Some((slots, _)), .. }) = self.handles.remove(&id) {
            self.tell(slots, now);
        }
    }

    /// Ends what has run out, leases and promises.
    pub(super) fn expire(&mut self, now: Instant) {
        let due = |entry: &Entry| entry.expires <= now;
        let over: Vec<_> = self.entries.iter().filter(|(_, entry)| due(entry)).map(|(id, _)| *id).collect();
        for id in over {
            let early = self.entries.get(&id).and_then(|entry| *entry.early.borrow());
            self.end(id, early.map(|(_, cause)| cause), now);
        }
        let mut broken = 0;
        for waiter in self.handles.values_mut() {
            if let Some((slots, until)) = waiter.promised
                && until <= now
            {
                waiter.promised = None;
                broken += slots;
            }
        }
        let handles = &self.handles;
        self.waiting.retain(|id| {
            let away = handles.get(id).and_then(|waiter| waiter.away);
            away.is_none_or(|since| now <= since + PROMISE)
        });
        self.tell(broken, now);
    }

    /// When something runs out that a waiter would want to know of.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let leases = self.entries.values().map(|entry| entry.expires);
        let promises = self.handles.values().filter_map(|waiter| waiter.promised.map(|(_, until)| until));
        leases.chain(promises).min()
    }

    pub(super) fn acquire(&mut self, handle: HandleId, request: &Request, now: Instant) -> Option<Lease> {
        let wanted = request.slots().get();
        let promised_to_others: u32 = self
            .handles
            .iter()
            .filter(|(id, _)| **id != handle)
            .filter_map(|(_, waiter)| waiter.promised.map(|(slots, _)| slots))
            .sum();
        let had_promise = self.handles.entry(handle).or_default().promised.take();
        let taken = self.entries.values().map(|entry| entry.weight.get()).sum::<u32>() + promised_to_others;
        if taken.saturating_add(wanted) > self.limit.get() {
            if let Some((slots, _)) = had_promise {
                // Not enough for this request: others may do with less, but this handle keeps its place.
                self.pass_on(handle, slots);
            }
            self.handles.entry(handle).or_default().freed = 0;
            return None;
        }
        self.waiting.retain(|waiting| *waiting != handle);
        // What was promised beyond this request stays promised.
        if let Some((slots, until)) = had_promise
            && slots > wanted
        {
            self.handles.entry(handle).or_default().promised = Some((slots - wanted, until));
        }
        let token = self.next_token();
        let id = LeaseId(token.0);
        let entry = Entry {
            token,
            holder: request.holder().clone(),
            weight: request.slots(),
            granted: now,
            confirmed: now,
            promised: later(now, self.ttl),
            expires: later(now, self.ttl),
            early: watch::Sender::new(None),
        };
        self.entries.insert(id, entry);
        Some(Lease::granted(id, token, request, now, self.ttl))
    }

    pub(super) fn renew(&mut self, lease: &Lease, now: Instant) -> Option<Lease> {
        let ttl = self.ttl;
        self.entries.get(&lease.id())?;
        let token = self.next_token();
        let entry = self.entries.get_mut(&lease.id())?;
        entry.token = token;
        entry.confirmed = now;
        entry.promised = later(now, ttl);
        entry.expires = entry.promised;
        entry.early.send_replace(None);
        Some(lease.renewed(token, now, ttl))
    }

    /// Ends a lease; with a cause its holder is told, without one it was released or ran out.
    pub(super) fn end(&mut self, id: LeaseId, cause: Option<LossCause>, now: Instant) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        if let Some(cause) = cause {
            if self.lost.len() == REMEMBERED {
                self.lost.pop_front();
            }
            self.lost.push_back((id, cause));
            entry.early.send_replace(Some((now, cause)));
        }
        self.tell(entry.weight.get(), now);
        true
    }

    pub(super) fn end_all(&mut self, cause: LossCause, now: Instant) -> u64 {
        let ids: Vec<LeaseId> = self.entries.keys().copied().collect();
        for id in &ids {
            self.end(*id, Some(cause), now);
        }
        ids.len() as u64
    }

    pub(super) fn delete(&mut self, now: Instant) {
        self.end_all(LossCause::Deleted, now);
        self.deleted = true;
    }

    pub(super) fn resize(&mut self, limit: NonZeroU32, now: Instant) {
        let more = limit.get().saturating_sub(self.limit.get());
        self.limit = limit;
        self.tell(more, now);
    }

    /// Applies to held leases too, as a stream's maximum age does.
    pub(super) fn set_ttl(&mut self, ttl: Duration, now: Instant) {
        self.ttl = ttl;
        for entry in self.entries.values_mut() {
            entry.expires = later(entry.confirmed, ttl);
            let early = entry.expires < entry.promised;
            entry.early.send_replace(early.then_some((entry.expires, LossCause::TtlLowered)));
        }
        self.expire(now);
        self.wake_waiting();
    }

    pub(super) fn held(&self, now: Instant) -> Vec<HeldLease> {
        let held = self.entries.iter().map(|(id, entry)| {
            HeldLease::new(*id, entry.token, entry.holder.clone(), now.duration_since(entry.granted))
                .with_weight(entry.weight)
        });
        held.collect()
    }

    /// Where the early end of that lease will be, or already is, announced.
    pub(super) fn watch(&self, id: LeaseId, now: Instant) -> Option<watch::Receiver<EarlyEnd>> {
        if let Some(entry) = self.entries.get(&id) {
            return Some(entry.early.subscribe());
        }
        let (_, cause) = self.lost.iter().find(|(lost, _)| *lost == id)?;
        Some(watch::channel(Some((now, *cause))).1)
    }

    /// The hint for this handle, if there is one; otherwise it takes, or keeps, its place in the line of waiting
    /// handles.
    pub(super) fn take_hint(&mut self, handle: HandleId) -> Option<NonZeroU32> {
        let waiter = self.handles.entry(handle).or_default();
        waiter.away = None;
        let slots = NonZeroU32::new(std::mem::take(&mut waiter.freed));
        if slots.is_none() && !self.waiting.contains(&handle) {
            self.waiting.push_back(handle);
        }
        slots
    }

    /// Nobody waits for a hint just now. The handle keeps its place for as long as an attempt may take.
    pub(super) fn step_away(&mut self, handle: HandleId, now: Instant) {
        self.handles.entry(handle).or_default().away = Some(now);
    }

    fn next_token(&mut self) -> FencingToken {
        self.last += 1;
        FencingToken(self.last)
    }

    /// Slots became free: each is promised to the handle that has waited longest. Those told, and those that do not
    /// wait just now, learn of all of them, which may be too many: a hint, not a grant.
    fn tell(&mut self, slots: u32, now: Instant) {
        if slots == 0 {
            return;
        }
        let told = self.waiting.len().min(slots as usize);
        for id in self.waiting.drain(..told) {
            if let Some(waiter) = self.handles.get_mut(&id) {
                let before = waiter.promised.map_or(0, |(slots, _)| slots);
                waiter.promised = Some((before + 1, now + PROMISE));
                waiter.hint.notify_one();
            }
        }
        for (id, waiter) in &mut self.handles {
            if !self.waiting.contains(id) {
                waiter.freed = waiter.freed.saturating_add(slots).min(self.limit.get());
            }
        }
        self.wake_waiting();
    }

    /// A promise that was of no use to its handle: a hint for the others that wait, and no promise, so that it is not
    /// passed on and on among those that all need more.
    fn pass_on(&mut self, handle: HandleId, slots: u32) {
        self.waiting.retain(|waiting| *waiting != handle);
        for id in &self.waiting {
            if let Some(waiter) = self.handles.get_mut(id) {
                waiter.freed = waiter.freed.saturating_add(slots).min(self.limit.get());
            }
        }
        self.wake_waiting();
        self.waiting.push_front(handle);
    }

    /// Lets those that wait on look again when the next thing runs out: a promise to another, or a shorter lease.
    fn wake_waiting(&self) {
        for id in &self.waiting {
            if let Some(waiter) = self.handles.get(id) {
                waiter.hint.notify_one();
            }
        }
    }
}
