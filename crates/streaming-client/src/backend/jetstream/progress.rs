//! How far one publish has got, and what follows from that.

use std::time::Duration;

use sluicegate_nats::{ApiError, ApiErrorKind, RequestErrorKind, code};
use tokio::time::Instant;

use super::link::LinkState;
use crate::{Guid, OnUnknown, PublishError, StreamError};

/// An acknowledgement that has not come that long after a reconnect does not come: it was for the old connection.
const GRACE: Duration = Duration::from_millis(500);

/// Without an answer for that long over a living connection, the question is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// When to ask again while the server is at an earlier attempt.
const IN_PROCESS: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Order of the calls.
    pub(super) ticket: u64,
    pub(super) attempts: u32,
    /// How many attempts have not been answered.
    pub(super) unanswered: u32,
    first_sent: Option<Instant>,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// To be sent, not before that.
    Due(Instant),
    /// Sent, over that connection.
    Sent { at: Instant, epoch: u64 },
}

/// What is to be done about a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    Over,
}

impl Progress {
    pub(super) fn new() -> Self {
        let step = Step::Due(Instant::now());
        Self { ticket: 0, attempts: 0, unanswered: 0, first_sent: None, step }
    }

    pub(super) fn sent(&mut self, now: Instant, epoch: u64) {
        self.attempts += 1;
        self.unanswered += 1;
        self.first_sent.get_or_insert(now);
        self.step = Step::Sent { at: now, epoch };
    }

    /// The last attempt was not made after all.
    pub(super) fn not_sent(&mut self, now: Instant) {
        self.attempts = self.attempts.saturating_sub(1);
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.attempts == 0 {
            self.first_sent = None;
        }
        self.step = Step::Due(now);
    }

    /// An attempt was refused. `true`: for good.
    pub(super) fn refused(&mut self, error: &ApiError, now: Instant) -> bool {
        let nobody = error.kind() == ApiErrorKind::Request(RequestErrorKind::NoResponders);
        if error.err_code() == Some(code::DUPLICATE_IN_PROCESS) {
            // Which is no answer to the question whether it will be stored.
            self.step = Step::Due(now + IN_PROCESS);
            return false;
        }
        if nobody || error.is_transient() {
            // An election, most likely. This attempt is certainly not done.
            self.unanswered = self.unanswered.saturating_sub(1);
            let delay = Duration::from_millis(250) * (1 << self.attempts.saturating_sub(1).min(3));
            self.step = Step::Due(now + delay);
            return false;
        }
        // Anything else is no answer.
        matches!(error.kind(), ApiErrorKind::Server { .. })
    }

    pub(super) fn verdict(
        &self,
        now: Instant,
        link: LinkState,
        duplicate_window: Duration,
        on_unknown: OnUnknown,
    ) -> Option<Verdict> {
        if !link.up {
            return None;
        }
        let (lost, silent) = match self.step {
            Step::Due(at) => return (at <= now).then_some(Verdict::Send),
            Step::Sent { at, epoch } => {
                (epoch != link.epoch && now - link.since >= GRACE, now - at >= ASK_AGAIN)
            }
        };
        if !lost && !silent {
            return None;
        }
        // The server must still know the id with certainty when the repetition arrives.
        let margin = Duration::from_secs(10).min(duplicate_window / 2);
        let first = self.first_sent.unwrap_or(now);
        let known = now - first < duplicate_window - margin;
        match on_unknown {
            OnUnknown::Auto if known => Some(Verdict::Send),
            OnUnknown::Auto | OnUnknown::Report => lost.then_some(Verdict::Over),
        }
    }
}

/// A publish that ends without being acknowledged; `open`: how many attempts are without an answer, each of which may
/// have been stored whatever became of the others.
pub(super) fn failed(guid: Guid, open: u32, error: StreamError) -> PublishError {
    if open > 0 { PublishError::unknown(guid, error) } else { PublishError::not_done(guid, error) }
}

#[cfg(test)]
mod tests {
    use sluicegate_nats::PubAck;
    use sluicegate_nats::async_nats::Message;

    use super::*;
    use crate::{ErrorKind, Outcome};

    const WINDOW: Duration = Duration::from_secs(120);

    fn refusal(code: u16, err_code: u64) -> ApiError {
        let payload = format!(r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"no"}}}}"#);
        let message = Message {
            subject: "_INBOX.x.0".into(),
            reply: None,
            length: payload.len(),
            payload: payload.into(),
            headers: None,
            status: None,
            description: None,
        };
        PubAck::parse(&message).unwrap_err()
    }

    fn up(epoch: u64, since: Instant) -> LinkState {
        LinkState { up: true, epoch, client: 1, since }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_that_meets_its_original_asks_again() {
        let (mut progress, now) = (Progress::new(), Instant::now());
        progress.sent(now, 1);
        progress.sent(now, 2);
        assert!(!progress.refused(&refusal(409, code::DUPLICATE_IN_PROCESS), now));
        assert_eq!(progress.unanswered, 2, "it may be stored yet");
        let ask = |at| progress.verdict(at, up(2, now), WINDOW, OnUnknown::Auto);
        assert_eq!(ask(now), None);
        assert_eq!(ask(now + IN_PROCESS), Some(Verdict::Send));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_repetition_says_nothing_about_the_original() {
        let (mut progress, now) = (Progress::new(), Instant::now());
        let outcome = |progress: &Progress| {
            let error = StreamError::new(ErrorKind::Rejected, "full");
            failed(Guid::made("test", 1), progress.unanswered - 1, error).outcome()
        };
        progress.sent(now, 1);
        assert!(progress.refused(&refusal(503, code::STORE_FAILED), now));
        assert_eq!(outcome(&progress), Outcome::NotDone);
        progress.sent(now, 2);
        assert!(progress.refused(&refusal(503, code::STORE_FAILED), now));
        assert_eq!(outcome(&progress), Outcome::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_was_not_made_leaves_no_trace() {
        let (mut progress, now) = (Progress::new(), Instant::now());
        progress.sent(now, 1);
        progress.not_sent(now);
        assert_eq!((progress.attempts, progress.unanswered, progress.first_sent), (0, 0, None));
        assert_eq!(progress.verdict(now, up(1, now), WINDOW, OnUnknown::Report), Some(Verdict::Send));
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_out_over_a_lost_connection_goes_out_again() {
        let (mut progress, now) = (Progress::new(), Instant::now());
        progress.sent(now, 1);
        let at = |at, on_unknown| progress.verdict(at, up(2, now), WINDOW, on_unknown);
        assert_eq!(at(now, OnUnknown::Auto), None, "the answer may be in the air");
        assert_eq!(at(now + GRACE, OnUnknown::Auto), Some(Verdict::Send));
        assert_eq!(at(now + GRACE, OnUnknown::Report), Some(Verdict::Over));
        assert_eq!(at(now + WINDOW, OnUnknown::Auto), Some(Verdict::Over), "its id may be forgotten");
    }
}
