use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::{ErrorKind, Guid, PublishError, StreamError};

/// The server stored the message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PubReceipt {
    /// The id of the publish.
    pub guid: Guid,
    /// The number of the message in its channel, where the back end tells.
    pub sequence: Option<u64>,
    /// The channel had a message with this guid already; `sequence` is that one's. With more than one attempt that
    /// was most likely an earlier attempt of this very publish.
    pub duplicate: bool,
    /// How often it was sent.
    pub attempts: u32,
}

pub(crate) type PublishResult = Result<PubReceipt, PublishError>;

/// The acknowledgement to come of a publish that was started.
///
/// Dropping it forgets the outcome, not the publish: that goes on, keeps its room in the window until it has ended,
/// and a failure is still an event.
#[derive(Debug)]
#[must_use = "the outcome of the publish comes out of this future"]
pub struct PubAck(State);

#[derive(Debug)]
enum State {
    Waiting(Guid, oneshot::Receiver<PublishResult>),
    Done(Option<PublishResult>),
}

impl PubAck {
    pub(crate) fn waiting(guid: Guid, outcome: oneshot::Receiver<PublishResult>) -> Self {
        Self(State::Waiting(guid, outcome))
    }

    pub(crate) fn done(result: PublishResult) -> Self {
        Self(State::Done(Some(result)))
    }
}

impl Future for PubAck {
    type Output = PublishResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PublishResult> {
        match &mut self.0 {
            State::Waiting(guid, outcome) => {
                let result = ready!(Pin::new(outcome).poll(cx)).unwrap_or_else(|_| {
                    let closed = StreamError::new(ErrorKind::Closed, "the client went away while it waited");
                    Err(PublishError::unknown(guid.clone(), closed))
                });
                self.0 = State::Done(None);
                Poll::Ready(result)
            }
            State::Done(result) => result.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}
