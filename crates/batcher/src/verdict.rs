use std::sync::Arc;
use std::time::Duration;

use crate::OpError;

/// How one operation went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict<R, E> {
    /// It took effect, with this result.
    Done(R),
    /// It did not.
    Failed(E),
    /// It did not, because the datastore has too much to do. The operation goes back to the head of the queue, this
    /// attempt does not count, and nothing is started for a while. One whose payload was taken has failed instead.
    Throttled {
        /// When to come back, if the datastore says so.
        retry_after: Option<Duration>,
        /// What it said.
        error: E,
    },
    /// It was not tried, because of what became of another operation of the batch. It goes back to the head of the
    /// queue, and this attempt does not count: to be used with [`Retry::in_order`](crate::Retry::in_order), which
    /// makes the operations behind a failed one wait with it. One whose payload was taken ends as `NoVerdict`.
    Skipped,
}

impl<R, E> From<Result<R, E>> for Verdict<R, E> {
    fn from(result: Result<R, E>) -> Self {
        match result {
            Ok(result) => Self::Done(result),
            Err(error) => Self::Failed(error),
        }
    }
}

/// How the operations of one batch went, in the order of the batch.
///
/// It is made from `Result<(), E>` (all done, or all failed with the same error), `Result<Vec<R>, E>`,
/// `Vec<Result<R, E>>` and `Vec<Verdict<R, E>>`. A list that is too short leaves the operations without verdict as
/// `NoVerdict`; one that is too long cannot be matched to operations at all, so all are `NoVerdict`.
#[derive(Debug)]
pub struct Verdicts<R, E>(Kind<R, E>);

#[derive(Debug)]
enum Kind<R, E> {
    All(fn() -> R),
    Failed(E),
    Throttled(Option<Duration>, E),
    Done(Vec<R>),
    Each(Vec<Verdict<R, E>>),
}

/// What a handler has said of one operation, and what follows from it.
#[derive(Debug)]
pub(crate) enum Word<R, E> {
    Done(R),
    Failed(Arc<E>),
    Throttled(Option<Duration>, Arc<E>),
    Skipped,
    Nothing,
    /// It ends like that.
    Ended(OpError<E>),
    /// It is to be tried again, and no longer part of the batch.
    Elsewhere,
}

impl<E> Verdicts<(), E> {
    /// All of them took effect.
    pub fn done() -> Self {
        Self::from(Ok::<(), E>(()))
    }
}

impl<R, E> Verdicts<R, E> {
    /// None of them took effect, for this one reason.
    pub fn failed(error: E) -> Self {
        Self(Kind::Failed(error))
    }

    /// The datastore wants none of them now; see [`Verdict::Throttled`].
    pub fn throttled(retry_after: Option<Duration>, error: E) -> Self {
        Self(Kind::Throttled(retry_after, error))
    }

    /// What each operation has as result, if they are all done and all have the same.
    pub(crate) fn all_done(&self) -> Option<fn() -> R> {
        match &self.0 {
            Kind::All(result) => Some(*result),
            _ => None,
        }
    }

    /// One word for each of `len` operations.
    pub(crate) fn words(self, len: usize) -> Vec<Word<R, E>> {
        let mut words: Vec<_> = match self.0 {
            Kind::All(result) => (0..len).map(|_| Word::Done(result())).collect(),
            Kind::Failed(error) => {
                let error = Arc::new(error);
                (0..len).map(|_| Word::Failed(Arc::clone(&error))).collect()
            }
            Kind::Throttled(retry_after, error) => {
                let error = Arc::new(error);
                (0..len).map(|_| Word::Throttled(retry_after, Arc::clone(&error))).collect()
            }
            Kind::Done(results) if results.len() <= len => results.into_iter().map(Word::Done).collect(),
            Kind::Each(verdicts) if verdicts.len() <= len => verdicts
                .into_iter()
                .map(|verdict| match verdict {
                    Verdict::Done(result) => Word::Done(result),
                    Verdict::Failed(error) => Word::Failed(Arc::new(error)),
                    Verdict::Throttled { retry_after, error } => {
                        Word::Throttled(retry_after, Arc::new(error))
                    }
                    Verdict::Skipped => Word::Skipped,
                })
                .collect(),
            Kind::Done(_) | Kind::Each(_) => Vec::new(),
        };
        words.resize_with(len, || Word::Nothing);
        words
    }
}

impl<E> From<Result<(), E>> for Verdicts<(), E> {
    fn from(result: Result<(), E>) -> Self {
        Self(match result {
            Ok(()) => Kind::All(|| ()),
            Err(error) => Kind::Failed(error),
        })
    }
}

impl<R, E> From<Result<Vec<R>, E>> for Verdicts<R, E> {
    fn from(result: Result<Vec<R>, E>) -> Self {
        Self(match result {
            Ok(results) => Kind::Done(results),
            Err(error) => Kind::Failed(error),
        })
    }
}

impl<R, E> From<Vec<Result<R, E>>> for Verdicts<R, E> {
    fn from(results: Vec<Result<R, E>>) -> Self {
        Self(Kind::Each(results.into_iter().map(Verdict::from).collect()))
    }
}

impl<R, E> From<Vec<Verdict<R, E>>> for Verdicts<R, E> {
    fn from(verdicts: Vec<Verdict<R, E>>) -> Self {
        Self(Kind::Each(verdicts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_length_is_no_verdict() {
        let short = Verdicts::<u8, &str>::from(vec![Ok(1), Err("no")]).words(3);
        assert!(matches!(short[..], [Word::Done(1), Word::Failed(_), Word::Nothing]), "{short:?}");
        let long = Verdicts::<u8, &str>::from(Ok(vec![1, 2, 3])).words(2);
        assert!(matches!(long[..], [Word::Nothing, Word::Nothing]), "{long:?}");
        let empty = Verdicts::<u8, &str>::from(Vec::<Verdict<u8, &str>>::new()).words(1);
        assert!(matches!(empty[..], [Word::Nothing]), "{empty:?}");
    }

    #[test]
    fn whole_batch_error_shared() {
        let words = Verdicts::<(), &str>::failed("down").words(2);
        let [Word::Failed(a), Word::Failed(b)] = &words[..] else { panic!("{words:?}") };
        assert!(Arc::ptr_eq(a, b));
        let words = Verdicts::<(), &str>::throttled(None, "busy").words(2);
        let [Word::Throttled(None, a), Word::Throttled(None, b)] = &words[..] else { panic!("{words:?}") };
        assert!(Arc::ptr_eq(a, b));
    }
}
