//! First come, first served between processes: a stream of tickets, one for the head of the line of each process that
//! waits. A ticket is a message on a subject of its own; its first sequence is its number, and it expires unless it
//! is renewed. Deletions are told to nobody, so whoever leaves says so with a message that expires at once.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sluicegate_core::{LeaseError, LeaseErrorKind, WaitQueue};
use sluicegate_nats::async_nats::HeaderMap;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::NATS_TTL;
use super::feed::{Entry, Fed};
use super::follower::{Follower, Follows, User, need};
use super::queue::{Queue, Turn};
use crate::event::GovernorEvent;
use crate::pool::Pool;
use crate::stream::Stream;
use crate::wire::{Answer, StreamInfo, read_answer, tickets_config};

/// How long a ticket lasts that is not renewed: a dead process stands in the way for no longer.
const TTL: Duration = Duration::from_secs(5);

/// How often a ticket is renewed.
const RENEWED: Duration = Duration::from_millis(1500);

/// How often is looked whether somebody still waits.
const TICK: Duration = Duration::from_millis(250);

/// A message that only tells something lasts so long, the least there is.
const TOLD: &str = "1s";

/// How long an attempt waits until the order is known.
const KNOWN: Duration = Duration::from_secs(1);

/// The number of a ticket that was renewed.
const NUMBER: &str = "Sluicegate-Ticket";

/// How many slots are waited for, or became free. A ticket without is given back.
const SLOTS: &str = "Sluicegate-Slots";

/// The last token but one of a subject on which freed slots are told.
const BELL: &str = "bell";

#[derive(Debug)]
pub(super) struct Tickets {
    pool: Arc<Pool>,
    stream: Stream,
    /// What the subjects begin with.
    prefix: String,
    line: WaitQueue,
    follower: Follower,
    made: OnceCell<()>,
    state: Mutex<State>,
    /// The queue has changed.
    changed: Notify,
    /// Our ticket was given back.
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// The subject of our ticket.
    mine: Option<String>,
    /// How many slots our head waits for.
    needs: u32,
    /// How many wait for a hint just now.
    standing: usize,
}

impl Follows for Tickets {
    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn follower(&self) -> &Follower {
        &self.follower
    }

    fn notice(&self, fed: Fed<'_>) {
        let limit = self.limit();
        let mut state = self.state();
        match fed {
            Fed::Anew(_) => state.queue.begin(),
            Fed::Stored(entry) => state.hear(&entry, limit),
            Fed::Current => state.queue.set_current(true),
            Fed::Stale => state.queue.set_current(false),
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    fn hear(&mut self, entry: &Entry<'_>, limit: u32) {
        let slots = entry.header(SLOTS).and_then(|slots| slots.parse().ok()).filter(|slots| *slots > 0);
        if entry.subject.rsplit('.').nth(1) == Some(BELL) {
            // One from before we listened is of no use: whoever was told of it has acted.
            self.queue.ring(slots.unwrap_or(1), limit, entry.arrived);
            return;
        }
        let Some(needs) = slots else { return self.queue.leave(entry.subject, entry.arrived) };
        let carried = entry.header(NUMBER).and_then(|number| number.parse().ok());
        let number = carried.filter(|number| *number <= entry.sequence).unwrap_or(entry.sequence);
        self.queue.enter(entry.subject, number, needs, entry.arrived + TTL);
    }
}

/// Somebody waits for a hint.
pub(super) struct Standing<'a> {
    tickets: &'a Tickets,
    _user: User<'a>,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.tickets.state().standing -= 1;
    }
}

impl Tickets {
    pub(super) fn new(pool: &Arc<Pool>, line: &WaitQueue) -> Option<Arc<Self>> {
        let leases = pool.stream.name();
        let name = leases.strip_prefix("GOVERNOR2_")?;
        let stream =
            Stream::new(pool.stream.connection(), format!("GOVERNOR2Q_{name}"), pool.stream.timeout());
        Some(Arc::new(Self {
            pool: Arc::clone(pool),
            stream,
            prefix: format!("$GOVERNOR2Q.{name}."),
            line: line.clone(),
            follower: Follower::new(),
            made: OnceCell::new(),
            state: Mutex::default(),
            changed: Notify::new(),
            left: Notify::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit(&self) -> u32 {
        self.pool.board.limit().map_or(u32::MAX, NonZeroU32::get)
    }

    /// Makes the stream of tickets where there is none.
    async fn make(&self) -> Result<(), LeaseError> {
        let made = self.made.get_or_try_init(|| async {
            if self.stream.find().await?.is_some() {
                return Ok(());
            }
            let leases: StreamInfo = self.pool.stream.info().await?;
            match self.stream.create(&tickets_config(self.stream.name(), &self.prefix, &leases.config)).await
            {
                Err(error) if error.kind() != LeaseErrorKind::Conflict => Err(error),
                // Or somebody else was quicker.
                _ => Ok(()),
            }
        });
        made.await.copied()
    }

    /// Whether an attempt for so many slots may be made now. True also where the order cannot be known: a slot must
    /// not stay idle for it.
    pub(super) async fn admits(self: &Arc<Self>, slots: NonZeroU32) -> bool {
        if self.follower.is_denied() {
            return true;
        }
        if let Err(error) = self.make().await {
            if error.kind() == LeaseErrorKind::NotPermitted {
                self.follower.deny();
                self.pool.emit(&GovernorEvent::PermissionDenied { what: error.to_string() });
            }
            return true;
        }
        let _user = need(self);
        let known = async {
            loop {
                let changed = self.changed.notified();
                if self.state().queue.is_current() {
                    return;
                }
                changed.await;
            }
        };
        let _ = timeout(KNOWN, known).await;
        let mut state = self.state();
        let State { queue, mine, .. } = &mut *state;
        let admitted = queue.admits(mine.as_deref(), Instant::now());
        if !admitted {
            state.needs = slots.get();
        }
        admitted
    }

    /// An attempt for so many slots was answered: the pool is full.
    pub(super) fn refused(&self, slots: NonZeroU32) {
        let mut state = self.state();
        state.needs = slots.get();
        state.queue.refused();
    }

    /// An attempt was granted: whoever is next in this process goes to the tail.
    pub(super) fn granted(&self) {
        let mut state = self.state();
        if let Some(mine) = state.mine.take() {
            state.queue.leave(&mine, Instant::now());
            self.left.notify_waiters();
        }
    }

    /// A grant was seen, ours or another's.
    pub(super) fn taken(&self) {
        self.state().queue.taken(Instant::now());
        self.changed.notify_waiters();
    }

    /// So many leases are believed to have expired, as all who wait believe.
    pub(super) fn expired(&self, slots: NonZeroU32) {
        let limit = self.limit();
        self.state().queue.expired(slots.get(), limit, Instant::now());
    }

    /// Tells those who wait that slots are free.
    pub(super) async fn ring(&self, slots: u32) {
        let waited_for = {
            let state = self.state();
            state.queue.others_wait(state.mine.as_deref(), Instant::now())
        };
        if waited_for {
            // On a subject of its own, so that no later one takes its place before it was told.
            let subject = format!("{}{BELL}.{}", self.prefix, nuid::next().as_str());
            self.tell(&subject, TOLD, Some(slots), None).await;
        }
    }

    /// Somebody begins to wait: takes a ticket, unless there is one.
    pub(super) fn stand(self: &Arc<Self>) -> Standing<'_> {
        let user = need(self);
        let mut state = self.state();
        state.standing += 1;
        if state.mine.is_none() && !self.follower.is_denied() {
            let mine = format!("{}{}", self.prefix, nuid::next().as_str());
            state.mine = Some(mine.clone());
            drop(self.pool.runtime.spawn(keep(Arc::clone(self), mine)));
        }
        drop(state);
        Standing { tickets: self, _user: user }
    }

    /// How many slots may be asked for now, or when to look again. Without the order everybody is first.
    pub(super) fn take(&self) -> Result<NonZeroU32, Turn> {
        let mut state = self.state();
        let State { queue, mine, .. } = &mut *state;
        let slots = queue.take(mine.as_deref(), Instant::now())?;
        NonZeroU32::new(slots).ok_or(Turn::No)
    }

    pub(super) fn is_first(&self) -> bool {
        let state = self.state();
        state.queue.turn(state.mine.as_deref(), Instant::now()) == Turn::First
    }

    /// Completes when the order has changed since this was called.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Removes the stream of tickets, if this handle may.
    pub(super) async fn delete(&self) {
        if let Err(error) = self.stream.delete().await {
            tracing::debug!(stream = &**self.stream.name(), %error, "not deleted");
        }
    }

    /// Says something without waiting for an answer.
    async fn tell(&self, subject: &str, ttl: &str, slots: Option<u32>, number: Option<u64>) {
        let client = self.stream.connection().client();
        let headers = headers(ttl, slots, number);
        let told = client.publish_with_headers(subject.to_owned(), headers, Bytes::new());
        let _ = timeout(self.stream.timeout(), told).await;
    }

    /// Publishes a ticket; its sequence, if the answer comes.
    async fn publish(&self, subject: &str, number: Option<u64>) -> Option<u64> {
        let needs = self.state().needs.max(1);
        let ttl = format!("{}s", TTL.as_secs());
        let headers = headers(&ttl, Some(needs), number);
        let connection = self.stream.connection();
        let answer = connection.request(subject, Some(headers), Bytes::new(), RENEWED).await;
        match read_answer(self.stream.name(), subject, answer) {
            Answer::Stored { sequence, .. } => {
                let mut state = self.state();
                if state.mine.as_deref() == Some(subject) {
                    let number = number.unwrap_or(sequence);
                    state.queue.enter(subject, number, needs, Instant::now() + TTL);
                }
                Some(sequence)
            }
            Answer::NobodyListens(_) => {
                // The stream was deleted, or has no leader for now.
                let known = self.stream.find().await;
                if matches!(known, Ok(None)) {
                    let config = self.pool.stream.info().await.ok()?.config;
                    let _ =
                        self.stream.create(&tickets_config(self.stream.name(), &self.prefix, &config)).await;
                }
                None
            }
            Answer::Refused(error) => {
                tracing::debug!(stream = &**self.stream.name(), %error, "no ticket");
                None
            }
            _ => None,
        }
    }

    fn is_mine(&self, subject: &str) -> bool {
        self.state().mine.as_deref() == Some(subject)
    }

    /// Gives the ticket back if nobody waits any more.
    fn give_up(&self, subject: &str) -> bool {
        let mut state = self.state();
        let given_up = state.standing == 0 && self.line.is_empty();
        if given_up && state.mine.as_deref() == Some(subject) {
            state.mine = None;
            state.queue.leave(subject, Instant::now());
        }
        given_up
    }
}

fn headers(ttl: &str, slots: Option<u32>, number: Option<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_TTL, ttl);
    if let Some(slots) = slots {
        headers.insert(SLOTS, slots.to_string());
    }
    if let Some(number) = number {
        headers.insert(NUMBER, number.to_string());
    }
    headers
}

/// Keeps a ticket for as long as it is ours and somebody waits, then gives it back.
async fn keep(tickets: Arc<Tickets>, subject: String) {
    let mut number = None;
    let mut idle = false;
    while tickets.is_mine(&subject) && !tickets.pool.hurry.is_cancelled() {
        let next = Instant::now() + RENEWED;
        if let Some(sequence) = tickets.publish(&subject, number).await {
            number.get_or_insert(sequence);
        } else {
            sleep(TICK).await;
        }
        // Until it is time to renew it, or it is no longer needed.
        while Instant::now() < next {
            let left = tickets.left.notified();
            if !tickets.is_mine(&subject) {
                break;
            }
            let tick = Instant::now() + TICK;
            tokio::select! {
                biased;
                () = tickets.pool.hurry.cancelled() => break,
                left = timeout_at(tick.min(next), left) => if left.is_ok() { break },
            }
            // Between two waits of the same caller nobody stands here for a moment.
            let is_idle = tickets.state().standing == 0 && tickets.line.is_empty();
            if is_idle && idle && tickets.give_up(&subject) {
                break;
            }
            idle = is_idle;
        }
    }
    tickets.tell(&subject, TOLD, None, None).await;
    tickets.state().queue.leave(&subject, Instant::now());
    tickets.changed.notify_waiters();
}
