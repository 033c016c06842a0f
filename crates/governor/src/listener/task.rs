use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_core::{LeaseErrorKind, LossCause};
use sluicegate_nats::async_nats::{Message, StatusCode, Subscriber};
use sluicegate_nats::{NatsEvent, Operation};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::audit::{Audit, Call, Filter};
use super::channel::{Channel, HANDOVER, NotTaken, next, taken};
use super::note::{self, Note, Revocation};
use super::source::Source;
use super::{LINGER, Listener};
use crate::event::{GovernorEvent, HintSource, HintState};
use crate::pool::Pool;

/// One of the processes that share this name hears each release note.
const QUEUE_GROUP: &str = "sluicegate";

/// How often a note is passed on. Many may have ceased to wait a moment ago, and each of them leaves as it does so.
const HOPS: u8 = 8;

/// How long newcomers stand back when others wait elsewhere.
const CONTENDED: Duration = Duration::from_secs(1);

/// A note that was on its way as we unsubscribed is nobody's: so much later it is looked whether there was one, when
/// whoever heard another one has used it.
const AFTERTHOUGHT: Duration = Duration::from_millis(20);

/// Runs until the handle is gone.
pub(super) async fn run(pool: Arc<Pool>, mut events: Receiver<NatsEvent>) {
    let ended = pool.listener.ended.clone();
    let mut task = Task::new(pool);
    loop {
        task.arrange().await;
        let due = task.next_check();
        tokio::select! {
            biased;
            () = ended.cancelled() => return task.end().await,
            event = events.recv() => task.on_event(event),
            message = next(&mut task.notes.subscriber) => match message {
                Some(message) => task.on_note(&message).await,
                None => task.notes.subscriber = None,
            },
            message = next(&mut task.answers) => match message {
                Some(message) => task.on_answer(&message),
                None => task.answers = None,
            },
            message = next(&mut task.revocations.subscriber) => match message {
                Some(message) => task.on_revocation(&message),
                None => task.revocations.subscriber = None,
            },
            message = next(&mut task.changes.subscriber) => match message {
                Some(_) => task.on_change(),
                None => task.changes.subscriber = None,
            },
            message = next(&mut task.audits.subscriber) => match message {
                Some(message) => task.on_audit(&message),
                None => task.audits.subscriber = None,
            },
            Some(looked) = task.looks.join_next() => task.on_look(looked.unwrap_or(Looked::Unanswered)).await,
            () = task.pool.listener.changed.notified() => {}
            () = sleep_until(due) => task.check().await,
        }
    }
}

/// What became of a look at the stream.
enum Looked {
    Seen { free: u32 },
    Unanswered,
    Denied,
}

struct Task {
    pool: Arc<Pool>,
    filter: Filter,
    notes: Channel,
    revocations: Channel,
    audits: Channel,
    changes: Channel,
    own_notes: Source,
    answers: Option<Subscriber>,
    looks: JoinSet<Looked>,
    /// The client does not take subscriptions: not before then again.
    blocked: Option<Instant>,
    checked: Instant,
    /// We have unsubscribed from notes: when to look for one that was missed.
    left: Option<Instant>,
    /// The look that is under way is for one that was missed.
    missed: bool,
}

impl Task {
    fn new(pool: Arc<Pool>) -> Self {
        let stream = Arc::clone(pool.stream.name());
        let prefix = pool.stream.connection().event_prefix().to_owned();
        let notes = pool.bell.release().to_string();
        let revocations = pool.bell.revocation().to_string();
        Self {
            filter: Filter::new(&stream),
            notes: Channel::new(notes, HintSource::Notes),
            revocations: Channel::new(revocations, HintSource::Revocations),
            audits: Channel::new(format!("{prefix}.ADVISORY.API"), HintSource::Audits),
            changes: Channel::new(
                format!("{prefix}.ADVISORY.STREAM.*.{stream}"),
                HintSource::StreamAdvisories,
            ),
            own_notes: Source::new(HintSource::OwnNotes),
            answers: None,
            looks: JoinSet::new(),
            blocked: None,
            checked: Instant::now(),
            left: None,
            missed: false,
            pool,
        }
    }

    fn listener(&self) -> &Listener {
        &self.pool.listener
    }

    /// How many callers of this handle could use a slot.
    fn waiting(&self) -> usize {
        self.pool.line.len().max(self.listener().slots.count())
    }

    /// Subscribes to what somebody wants to hear of, and to nothing else.
    async fn arrange(&mut self) {
        if self.blocked.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.blocked = None;
        if self.try_arrange().await.is_err() {
            self.blocked = Some(Instant::now() + HANDOVER);
        }
    }

    async fn try_arrange(&mut self) -> Result<(), NotTaken> {
        if !self.pool.line.is_empty() {
            self.listener().slots.touch();
        }
        let (slots, losses) = (self.listener().slots.is_live(), self.listener().losses.is_live());
        let advisories = self.pool.options.advisories && (losses || self.listener().slots.is_recent());
        let client = || self.pool.stream.connection().client();

        if self.answers.is_none() {
            let inbox = client().new_inbox();
            let subscriber = taken(client().subscribe(note::reply_subjects(&inbox))).await?;
            self.answers = Some(subscriber);
            self.pool.bell.set_inbox(Some(inbox));
        }
        if self.revocations.is_missing(losses) {
            let subscriber = taken(client().subscribe(self.revocations.subject.clone())).await?;
            self.revocations.subscriber = Some(subscriber);
            self.listener().losses.set_served(true);
        } else if !losses && self.revocations.subscriber.is_some() {
            self.listener().losses.set_served(false);
            self.revocations.end().await;
        }
        let mut look = self.listener().look.swap(false, Ordering::AcqRel);
        if self.changes.is_missing(advisories) {
            let subscriber = taken(client().subscribe(self.changes.subject.clone())).await?;
            self.changes.subscriber = Some(subscriber);
        } else if !advisories && self.changes.subscriber.is_some() {
            self.changes.end().await;
        }
        if self.audits.is_missing(advisories) {
            let subscriber = taken(client().subscribe(self.audits.subject.clone())).await?;
            self.audits.subscriber = Some(subscriber);
            self.audits.source.begin();
            self.tell_pushed();
            // A look is a call of which the server tells.
            look |= self.audits.source.state != HintState::Working;
        } else if !advisories && self.audits.subscriber.is_some() {
            self.audits.end().await;
            self.tell_pushed();
        }
        if self.notes.is_missing(slots) {
            self.hear_notes().await?;
            // A slot may have become free between the last refusal and this subscription.
            look = true;
        } else if !slots && self.notes.subscriber.is_some() {
            self.hear_no_notes().await;
        }
        if look {
            self.look();
        }
        Ok(())
    }

    async fn hear_notes(&mut self) -> Result<(), NotTaken> {
        let connection = self.pool.stream.connection();
        let (subject, group) = (self.notes.subject.clone(), QUEUE_GROUP.to_owned());
        let subscriber = taken(connection.client().queue_subscribe(subject, group)).await?;
        self.notes.subscriber = Some(subscriber);
        self.listener().slots.set_served(true);
        // A client that was made elsewhere does not tell whether it is permitted: it has to be seen to work.
        let works = connection.is_supervised() || self.notes.source.state == HintState::Working;
        self.pool.board.hears_notes(self.pool.id, works);
        Ok(())
    }

    async fn hear_no_notes(&mut self) {
        self.listener().slots.set_served(false);
        self.pool.board.hears_notes(self.pool.id, false);
        if self.notes.subscriber.is_some() {
            self.notes.end().await;
            self.left = Some(Instant::now() + AFTERTHOUGHT);
        }
    }

    /// Looks at the stream as a whole, in a task of its own: hints have to be heard meanwhile.
    fn look(&mut self) {
        if !self.looks.is_empty() {
            // What it sees may be older than what it is wanted for.
            self.listener().look.store(true, Ordering::Release);
            return;
        }
        if !self.pool.may_look() {
            // Then an attempt has to do.
            self.missed = false;
            self.credit(1);
            return;
        }
        if self.audits.subscriber.is_some() {
            self.audits.source.expect(Instant::now());
        }
        let pool = Arc::clone(&self.pool);
        self.looks.spawn(async move {
            match pool.look().await {
                Ok(free) => Looked::Seen { free },
                Err(error) if error.kind() == LeaseErrorKind::NotPermitted => {
                    pool.emit(&GovernorEvent::PermissionDenied { what: error.to_string() });
                    Looked::Denied
                }
                Err(_) => Looked::Unanswered,
            }
        });
    }

    async fn on_look(&mut self, looked: Looked) {
        let missed = std::mem::take(&mut self.missed);
        match looked {
            // Nobody here wants them, and those who do may not have been told.
            Looked::Seen { free } if missed && free > 0 && self.waiting() == 0 => {
                let note = Note::new(0, free.min(self.pool.board.most()));
                self.pool.post(self.pool.bell.release().clone(), None, note.write()).await;
            }
            Looked::Seen { .. } => {}
            Looked::Unanswered => self.credit(1),
            Looked::Denied => {
                self.pool.board.forecast.give_up();
                // Calls that are denied are not told of: the next deletion of ours shows whether others are.
                self.audits.source.set(&self.pool, HintState::Unknown);
                self.tell_pushed();
                self.credit(1);
            }
        }
    }

    /// Lets so many of those who wait here ask.
    fn credit(&self, slots: u32) {
        let waiting = u32::try_from(self.waiting()).unwrap_or(u32::MAX);
        self.pool.board.credit(self.pool.id, slots.min(waiting));
    }

    async fn on_note(&mut self, message: &Message) {
        let Some(note) = Note::read(&message.payload, self.pool.board.most()) else { return };
        if self.notes.source.hear(&self.pool) {
            self.pool.board.hears_notes(self.pool.id, true);
        }
        // Whoever began to wait after our release stands behind those who waited elsewhere.
        let is_theirs = note.hop == 0 && self.pool.bell.is_left_to_others(note.seq);
        let waiting = if is_theirs { 0 } else { self.waiting() };
        let used = note.n.min(u32::try_from(waiting).unwrap_or(u32::MAX));
        self.credit(used);
        let reply = message.reply.as_deref().filter(|reply| note::slots_of_reply(reply).is_some());
        match reply {
            Some(reply) if self.pool.bell.is_ours(reply) && note.hop == 0 => self.pool.bell.hear_own(),
            Some(reply) if used > 0 => self.pool.post(reply.into(), None, note::answer(waiting)).await,
            _ => {}
        }
        if note.hop > 0 {
            self.pool.bell.hear_other();
        }
        let rest = note.n - used;
        if rest > 0 && note.hop < HOPS {
            // So that it does not come back to us, nor to anybody else who had it.
            self.listener().slots.is_over();
            self.hear_no_notes().await;
            let passed_on = Note { n: rest, hop: note.hop + 1, ..note };
            let subject = self.pool.bell.release().clone();
            self.pool.post(subject, reply.map(str::to_owned), passed_on.write()).await;
            if used > 0 && self.hear_notes().await.is_err() {
                self.blocked = Some(Instant::now() + HANDOVER);
            }
        }
    }

    fn on_answer(&mut self, message: &Message) {
        let Some(slots) = note::slots_of_reply(&message.subject) else { return };
        self.own_notes.hear(&self.pool);
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            self.pool.line.open();
            self.credit(slots.min(self.pool.board.most()));
        } else {
            self.pool.bell.hear_other();
            self.pool.line.hold_back(CONTENDED);
        }
    }

    fn on_revocation(&mut self, message: &Message) {
        let Some(revocation) = Revocation::read(&message.payload, self.pool.stream.name()) else { return };
        self.revocations.source.hear(&self.pool);
        match revocation.seq {
            Some(lease) if !revocation.all => self.pool.board.doubt_one(lease, LossCause::Evicted),
            _ => self.pool.board.doubt_all(LossCause::Reset, ""),
        }
    }

    fn on_change(&mut self) {
        self.changes.source.hear(&self.pool);
        self.look();
    }

    fn on_audit(&mut self, message: &Message) {
        let Some(Call { audit, by_us }) = self.filter.read(&message.payload) else { return };
        self.audits.source.hear(&self.pool);
        self.tell_pushed();
        // Those of ours are told of by their note, to one process each.
        let is_told = by_us && self.notes.subscriber.is_some();
        match audit {
            Audit::Deleted { sequence } => {
                self.pool.board.doubt_one(sequence, LossCause::Evicted);
                self.credit(u32::from(!is_told));
            }
            Audit::Purged { messages, prefix } => {
                self.pool.board.doubt_all(LossCause::Reset, &prefix);
                let slots = u32::try_from(messages).unwrap_or(u32::MAX).min(self.pool.board.most());
                self.credit(if is_told { 0 } else { slots });
            }
            Audit::Changed => self.look(),
            Audit::Other => {}
        }
    }

    /// Lets others know whether they can rely on what the server tells.
    fn tell_pushed(&self) {
        let since = self.audits.source.works_since();
        self.pool.line.set_hinted(since.is_some());
        self.listener().set_pushed(since.filter(|_| self.audits.subscriber.is_some()));
    }

    fn on_event(&mut self, event: Result<NatsEvent, RecvError>) {
        match event {
            Ok(NatsEvent::PermissionDenied { subject, operation: Operation::Subscribe }) => {
                self.on_denied(&subject);
            }
            Ok(NatsEvent::PermissionDenied { subject, operation: Operation::Publish }) => {
                if *subject == **self.pool.bell.release() && !self.own_notes.is_dead() {
                    self.pool.bell.set_denied(true);
                    self.own_notes.set(&self.pool, HintState::Dead);
                    self.denied(&subject, "tell others of freed slots");
                    // That note told nobody.
                    self.pool.board.tell(NonZeroU32::MIN.get());
                } else if *subject == **self.pool.bell.revocation() {
                    self.denied(&subject, "tell holders of their eviction");
                }
            }
            Ok(NatsEvent::Reconnected) => self.on_reconnected(),
            Ok(NatsEvent::ClientRebuilt) | Err(RecvError::Lagged(_)) => {
                self.forget_subscriptions();
                self.on_reconnected();
            }
            Ok(_) | Err(RecvError::Closed) => {}
        }
    }

    fn on_denied(&mut self, subject: &str) {
        let pool = Arc::clone(&self.pool);
        let channels = [&mut self.notes, &mut self.revocations, &mut self.audits, &mut self.changes];
        let denied = channels.into_iter().find(|channel| channel.subject == subject);
        let Some(denied) = denied else { return };
        denied.subscriber = None;
        if !denied.source.set(&pool, HintState::Dead) {
            return;
        }
        let what = match denied.source.source {
            HintSource::Notes => "hear of freed slots",
            HintSource::Audits => "hear of releases by others",
            HintSource::Revocations => "hear of evictions",
            _ => "hear of changes of the stream",
        };
        self.denied(subject, what);
        match self {
            Self { notes, .. } if notes.subject == subject => {
                self.pool.board.hears_notes(self.pool.id, false);
                // What was told by note alone until now told nobody here.
                self.credit(1);
            }
            Self { audits, .. } if audits.subject == subject => self.tell_pushed(),
            _ => {}
        }
    }

    fn denied(&self, subject: &str, what: &str) {
        let what = format!("`{subject}` is denied: without it this user does not {what}");
        self.pool.emit(&GovernorEvent::PermissionDenied { what });
    }

    /// The rights may be others by now, and notes may have been missed.
    fn on_reconnected(&mut self) {
        let pool = Arc::clone(&self.pool);
        for channel in [&mut self.notes, &mut self.revocations, &mut self.audits, &mut self.changes] {
            if channel.source.is_dead() {
                channel.source.set(&pool, HintState::Unknown);
            }
        }
        if self.own_notes.is_dead() {
            self.own_notes.set(&pool, HintState::Unknown);
            pool.bell.set_denied(false);
        }
        self.blocked = None;
        self.audits.source.begin();
        self.tell_pushed();
        if self.waiting() > 0 || self.listener().losses.is_live() {
            self.look();
            self.pool.board.doubt_all(LossCause::Gone, "");
        }
    }

    /// They were made on a client that is no more.
    fn forget_subscriptions(&mut self) {
        for channel in [&mut self.notes, &mut self.revocations, &mut self.audits, &mut self.changes] {
            channel.subscriber = None;
        }
        self.answers = None;
        self.listener().set_pushed(None);
        self.pool.bell.set_inbox(None);
        self.pool.board.hears_notes(self.pool.id, false);
    }

    fn next_check(&self) -> Instant {
        // What ended is not waited for.
        let due = self.audits.subscriber.as_ref().and_then(|_| self.audits.source.due());
        let regular = self.checked + LINGER;
        [due, self.left, self.pool.bell.due()].into_iter().flatten().fold(regular, Instant::min)
    }

    async fn check(&mut self) {
        let now = Instant::now();
        if self.pool.bell.due().is_some_and(|due| due <= now) {
            self.pool.tell_pending().await;
        }
        if self.left.take_if(|at| *at <= now).is_some() {
            self.missed = true;
            self.look();
        }
        self.checked = now;
        if self.audits.subscriber.is_some() {
            if let Some(deleted) = self.pool.board.last_deletion() {
                self.audits.source.expect(deleted);
            }
            if self.audits.source.miss(&self.pool) {
                self.tell_pushed();
            }
        }
    }

    async fn end(mut self) {
        self.pool.tell_pending().await;
        self.forget_subscriptions();
    }
}
