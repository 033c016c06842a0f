use std::sync::Arc;

use crate::OpError;

/// How one operation went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict<R, E> {
    /// It took effect, with this result.
    Done(R),
    /// It did not.
    Failed(E),
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
    Whole(E),
    Done(Vec<R>),
    Each(Vec<Verdict<R, E>>),
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
        Self(Kind::Whole(error))
    }

    /// One outcome for each of `len` operations.
    pub(crate) fn settle(self, len: usize) -> Vec<Result<R, OpError<E>>> {
        let mut outcomes: Vec<_> = match self.0 {
            Kind::All(result) => (0..len).map(|_| Ok(result())).collect(),
            Kind::Whole(error) => {
                let error = Arc::new(error);
                (0..len).map(|_| Err(OpError::Failed(Arc::clone(&error)))).collect()
            }
            Kind::Done(results) if results.len() <= len => results.into_iter().map(Ok).collect(),
            Kind::Each(verdicts) if verdicts.len() <= len => verdicts
                .into_iter()
                .map(|verdict| match verdict {
                    Verdict::Done(result) => Ok(result),
                    Verdict::Failed(error) => Err(OpError::Failed(Arc::new(error))),
                })
                .collect(),
            Kind::Done(_) | Kind::Each(_) => Vec::new(),
        };
        outcomes.resize_with(len, || Err(OpError::NoVerdict));
        outcomes
    }
}

impl<E> From<Result<(), E>> for Verdicts<(), E> {
    fn from(result: Result<(), E>) -> Self {
        Self(match result {
            Ok(()) => Kind::All(|| ()),
            Err(error) => Kind::Whole(error),
        })
    }
}

impl<R, E> From<Result<Vec<R>, E>> for Verdicts<R, E> {
    fn from(result: Result<Vec<R>, E>) -> Self {
        Self(match result {
            Ok(results) => Kind::Done(results),
            Err(error) => Kind::Whole(error),
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
        let short = Verdicts::<u8, &str>::from(vec![Ok(1), Err("no")]).settle(3);
        assert!(matches!(short[..], [Ok(1), Err(OpError::Failed(_)), Err(OpError::NoVerdict)]), "{short:?}");
        let long = Verdicts::<u8, &str>::from(Ok(vec![1, 2, 3])).settle(2);
        assert!(matches!(long[..], [Err(OpError::NoVerdict), Err(OpError::NoVerdict)]), "{long:?}");
        let empty = Verdicts::<u8, &str>::from(Vec::<Verdict<u8, &str>>::new()).settle(1);
        assert!(matches!(empty[..], [Err(OpError::NoVerdict)]), "{empty:?}");
    }

    #[test]
    fn whole_batch_error_shared() {
        let outcomes = Verdicts::<(), &str>::failed("down").settle(2);
        let [Err(OpError::Failed(a)), Err(OpError::Failed(b))] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert!(Arc::ptr_eq(a, b));
    }
}
