use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{ClientError, Event, ServerError};
use sluicegate_core::Random;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::hub::Hub;
use crate::permission::{Denied, is_about_credentials};
use crate::{NatsEvent, Operation, Supervision};

/// A client that nobody needs any more asks this rarely for a connection. It cannot be ended while it has none.
const RETIRED_DELAY: Duration = Duration::from_secs(30);

/// What one client's events say, and the requests that wait for its answers.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) state: watch::Sender<LinkState>,
    hub: Hub,
    /// This client is the connection's: its events are the connection's.
    current: AtomicBool,
    retired: AtomicBool,
    supervision: Supervision,
    inbox_prefix: String,
    waiting: Mutex<Waiting>,
    in_flight: TaskTracker,
}

#[derive(Clone, Debug)]
pub(crate) struct LinkState {
    pub(crate) connected: bool,
    /// The client's own task is over.
    pub(crate) ended: bool,
    pub(crate) lame_duck: bool,
    /// Why the server last refused us, since the connection was lost.
    pub(crate) refused: Option<String>,
    pub(crate) down_since: Option<Instant>,
    /// Its first connection was told of.
    pub(crate) greeted: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    requests: BTreeMap<u64, (String, oneshot::Sender<Denied>)>,
    /// The inbox subscription is made once a connection: once denied, no answer ever comes.
    inbox_denied: Option<Denied>,
}

impl Link {
    pub(crate) fn new(hub: Hub, supervision: Supervision, inbox_prefix: String) -> Arc<Self> {
        // Nobody sees a link before its client is connected; the first event to say so comes a little later.
        let state = LinkState {
            connected: true,
            ended: false,
            lame_duck: false,
            refused: None,
            down_since: None,
            greeted: false,
        };
        Arc::new(Self {
            state: watch::Sender::new(state),
            hub,
            current: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            supervision,
            inbox_prefix,
            waiting: Mutex::default(),
            in_flight: TaskTracker::new(),
        })
    }

    /// From now on its events are the connection's.
    pub(crate) fn take_over(&self) {
        self.current.store(true, Ordering::Release);
    }

    /// Its events are nobody's any more, and it stops asking for a connection often.
    pub(crate) fn retire(&self) {
        self.current.store(false, Ordering::Release);
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn is_connected(&self) -> bool {
        let state = self.state.borrow();
        state.connected && !state.ended
    }

    /// Delay before the given attempt, counted from 1, to get the connection back.
    pub(crate) fn reconnect_delay(&self, attempt: usize) -> Duration {
        if self.retired.load(Ordering::Acquire) {
            return RETIRED_DELAY;
        }
        if self.state.borrow().down_since.is_none() {
            return Duration::ZERO;
        }
        let refused = self.state.borrow().refused.is_some();
        reconnect_delay(&self.supervision, attempt, refused)
    }

    /// Why the credentials could not be used, when not the server says it.
    pub(crate) fn note_refusal(&self, reason: String) {
        self.state.send_modify(|state| {
            if !state.connected {
                state.refused = Some(reason);
            }
        });
    }

    pub(crate) fn note_end(&self) {
        self.state.send_modify(|state| {
            state.ended = true;
            state.connected = false;
        });
    }

    pub(crate) fn clear_lame_duck(&self) {
        self.state.send_modify(|state| state.lame_duck = false);
    }

    /// Takes notice of an event of this client.
    pub(crate) fn on_event(&self, event: Event) {
        let told = match event {
            Event::Connected => self.on_connected(),
            Event::Disconnected => {
                self.state.send_modify(|state| {
                    state.connected = false;
                    state.down_since = Some(Instant::now());
                });
                Some(NatsEvent::Disconnected)
            }
            Event::LameDuckMode => {
                self.state.send_modify(|state| state.lame_duck = true);
                Some(NatsEvent::LameDuck)
            }
            Event::SlowConsumer(sid) | Event::ServerError(ServerError::SlowConsumer(sid)) => {
                Some(NatsEvent::SlowConsumer { subscription: sid })
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                Some(self.on_server_error("Authorization Violation".to_owned()))
            }
            Event::ServerError(ServerError::Other(text)) => Some(self.on_server_error(text)),
            Event::ClientError(ClientError::Other(text)) => {
                if is_about_credentials(&text) {
                    self.note_refusal(text);
                }
                None
            }
            Event::ClientError(_) | Event::Draining | Event::Closed => None,
        };
        if let Some(told) = told
            && self.current.load(Ordering::Acquire)
        {
            self.hub.emit(told);
        }
    }

    fn on_connected(&self) -> Option<NatsEvent> {
        self.waiting().inbox_denied = None;
        let mut first = false;
        self.state.send_modify(|state| {
            first = !state.greeted;
            state.greeted = true;
            state.connected = true;
            state.refused = None;
            state.down_since = None;
        });
        // Whoever made the client tells of the first time.
        (!first).then_some(NatsEvent::Reconnected)
    }

    fn on_server_error(&self, text: String) -> NatsEvent {
        if let Some(denied) = Denied::parse(&text) {
            self.deny(&denied);
            return NatsEvent::PermissionDenied { subject: denied.subject, operation: denied.operation };
        }
        if is_about_credentials(&text) {
            self.state.send_modify(|state| state.refused = Some(text.clone()));
        }
        NatsEvent::ServerError { text }
    }

    /// Answers the requests that will never be answered otherwise.
    fn deny(&self, denied: &Denied) {
        let mut waiting = self.waiting();
        let inbox = denied.operation == Operation::Subscribe && self.is_inbox(&denied.subject);
        if inbox {
            waiting.inbox_denied = Some(denied.clone());
        }
        let all = std::mem::take(&mut waiting.requests);
        for (id, (subject, answer)) in all {
            if inbox || subject == denied.subject {
                // The request may have been given up in the meantime.
                let _ = answer.send(denied.clone());
            } else {
                waiting.requests.insert(id, (subject, answer));
            }
        }
    }

    fn is_inbox(&self, subject: &str) -> bool {
        subject.strip_prefix(&self.inbox_prefix).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Registers a request to that subject, until the ticket is dropped.
    pub(crate) fn enter(self: &Arc<Self>, subject: &str) -> Result<Ticket, Denied> {
        let mut waiting = self.waiting();
        if let Some(denied) = &waiting.inbox_denied {
            return Err(denied.clone());
        }
        let (answer, denied) = oneshot::channel();
        let id = waiting.next;
        waiting.next += 1;
        waiting.requests.insert(id, (subject.to_owned(), answer));
        drop(waiting);
        Ok(Ticket { id, link: Arc::clone(self), denied, _in_flight: self.in_flight.token() })
    }

    /// Waits until no request is in flight, or the deadline. False: some still are.
    pub(crate) async fn settle(&self, deadline: Instant) -> bool {
        self.in_flight.close();
        let settled = timeout_at(deadline, self.in_flight.wait()).await.is_ok();
        self.in_flight.reopen();
        settled
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: u64,
    link: Arc<Link>,
    denied: oneshot::Receiver<Denied>,
    _in_flight: TaskTrackerToken,
}

impl Ticket {
    /// Completes if the server denies it.
    pub(crate) async fn denied(&mut self) -> Denied {
        match (&mut self.denied).await {
            Ok(denied) => denied,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.link.waiting().requests.remove(&self.id);
    }
}

/// At most `reconnect_delay` for about the first 30 attempts, then growing to `reconnect_delay_max`; each drawn from
/// the upper half, so that a fleet does not come back in step. A refusal is not repeated in haste.
fn reconnect_delay(supervision: &Supervision, attempt: usize, refused: bool) -> Duration {
    let (first, last) = (supervision.reconnect_delay, supervision.reconnect_delay_max);
    let doublings = |n: usize| 2u32.saturating_pow(u32::try_from(n.min(16)).unwrap_or(16));
    let bound = if refused {
        (last / 2).max(first)
    } else if attempt <= 30 {
        (first / 8).saturating_mul(doublings(attempt.saturating_sub(1))).min(first)
    } else {
        first.saturating_mul(doublings(attempt - 30)).min(last).max(first)
    };
    Random::fresh().jitter(bound.mul_f64(0.75), 1.0 / 3.0)
}

#[cfg(test)]
mod tests {
    use sluicegate_core::Ignore;

    use super::*;

    fn link() -> Arc<Link> {
        let link = Link::new(Hub::new(Arc::new(Ignore)), Supervision::default(), "_INBOX.me".to_owned());
        link.take_over();
        link
    }

    fn violation(text: &str) -> Event {
        Event::ServerError(ServerError::Other(format!("Permissions Violation for {text}")))
    }

    fn subject(denied: &mut oneshot::Receiver<Denied>) -> Option<String> {
        denied.try_recv().ok().map(|denied| denied.subject)
    }

    #[tokio::test]
    async fn a_violation_answers_the_requests_to_its_subject_and_no_other() {
        let link = link();
        let (mut one, mut two) = (link.enter("a").unwrap(), link.enter("a").unwrap());
        let mut other = link.enter("b").unwrap();
        link.on_event(violation(r#"Publish to "a""#));
        assert_eq!(subject(&mut one.denied).as_deref(), Some("a"));
        assert_eq!(subject(&mut two.denied).as_deref(), Some("a"));
        assert_eq!(subject(&mut other.denied), None);
    }

    #[tokio::test]
    async fn a_denied_inbox_answers_everybody_until_the_next_connection() {
        let link = link();
        let mut request = link.enter("a").unwrap();
        link.on_event(violation(r#"Subscription to "_INBOX.me.xyz.*""#));
        assert_eq!(subject(&mut request.denied).as_deref(), Some("_INBOX.me.xyz.*"));
        assert_eq!(link.enter("b").unwrap_err().operation, crate::Operation::Subscribe);
        link.on_event(Event::Connected);
        assert!(link.enter("b").is_ok());
    }

    #[tokio::test]
    async fn what_only_looks_like_a_denied_inbox_is_none() {
        let link = link();
        let mut request = link.enter("a").unwrap();
        link.on_event(violation(r#"Publish to "_INBOX.me.xyz.1""#));
        link.on_event(violation(r#"Subscription to "_INBOX.messages""#));
        assert_eq!(subject(&mut request.denied), None);
        assert!(link.enter("b").is_ok());
    }

    #[tokio::test]
    async fn tickets_leave_nothing_behind() {
        let link = link();
        drop(link.enter("a").unwrap());
        assert!(link.waiting().requests.is_empty());
        assert!(link.settle(Instant::now()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn settling_waits_for_requests_in_flight_and_no_longer_than_asked() {
        let link = link();
        let ticket = link.enter("a").unwrap();
        assert!(!link.settle(Instant::now() + Duration::from_secs(1)).await);
        let settling = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.settle(Instant::now() + Duration::from_secs(600)).await }
        });
        tokio::task::yield_now().await;
        drop(ticket);
        let before = Instant::now();
        assert!(settling.await.unwrap());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn only_the_current_client_is_heard() {
        let hub = Hub::new(Arc::new(Ignore));
        let mut events = hub.subscribe();
        let link = Link::new(hub, Supervision::default(), "_INBOX.me".to_owned());
        link.on_event(Event::Connected);
        link.on_event(Event::Disconnected);
        assert!(events.try_recv().is_err());
        link.take_over();
        link.on_event(Event::Connected);
        assert_eq!(events.try_recv(), Ok(NatsEvent::Reconnected));
        link.retire();
        link.on_event(Event::Disconnected);
        assert!(events.try_recv().is_err());
        assert_eq!(link.reconnect_delay(1), RETIRED_DELAY);
    }

    #[tokio::test]
    async fn refusals_are_remembered_until_connected() {
        let link = link();
        link.on_event(Event::Connected);
        link.on_event(Event::ServerError(ServerError::Other("User Authentication Expired".to_owned())));
        link.on_event(Event::Disconnected);
        assert_eq!(link.state.borrow().refused.as_deref(), Some("User Authentication Expired"));
        link.on_event(Event::ClientError(ClientError::Other("authorization violation".to_owned())));
        assert_eq!(link.state.borrow().refused.as_deref(), Some("authorization violation"));
        link.on_event(Event::ClientError(ClientError::Other("IO error".to_owned())));
        assert!(link.state.borrow().refused.is_some());
        link.on_event(Event::Connected);
        assert_eq!(link.state.borrow().refused, None);
    }

    #[tokio::test]
    async fn a_first_connection_is_tried_without_delay() {
        assert_eq!(link().reconnect_delay(1), Duration::ZERO);
    }

    #[test]
    fn delays_stay_within_their_bounds_and_grow_only_late() {
        let supervision = Supervision::default();
        for attempt in 1..200 {
            let delay = reconnect_delay(&supervision, attempt, false);
            let bound = if attempt <= 30 { 250 } else { 2_000 };
            assert!(delay <= Duration::from_millis(bound), "attempt {attempt}: {delay:?}");
            assert!(delay >= Duration::from_millis(15), "attempt {attempt}: {delay:?}");
        }
        assert!(reconnect_delay(&supervision, 1, false) <= Duration::from_millis(32));
        assert!(reconnect_delay(&supervision, 100, false) >= Duration::from_millis(990));
        assert!(reconnect_delay(&supervision, 1, true) >= Duration::from_millis(490));
    }
}
