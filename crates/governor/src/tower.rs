//! One permit a request, for services of `tower`.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use sluicegate_core::LossCause;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Governor, GovernorError, Grant, Permit};

/// Makes [`GovernorService`]s: services of which so many requests run at a time, in all processes together, as the
/// governor has slots.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{convert::Infallible, num::NonZeroU32, time::Duration};
/// use sluicegate_core::{Holder, MemoryPool};
/// use sluicegate_governor::{Governor, GovernorLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let pool = MemoryPool::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(60));
/// let governor = Governor::builder(pool, Holder::try_new("web03")?)
///     .max_wait(Duration::from_secs(5))
///     .build();
///
/// let service = ServiceBuilder::new()
///     .layer(GovernorLayer::new(governor))
///     .service(service_fn(|name: &'static str| async move { Ok::<_, Infallible>(format!("hello {name}")) }));
/// assert_eq!(service.oneshot("world").await?, "hello world");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GovernorLayer(Governor);

impl GovernorLayer {
    /// With permits of that governor, whose settings say how long a request waits and how many may.
    pub fn new(governor: Governor) -> Self {
        Self(governor)
    }
}

impl<S> Layer<S> for GovernorLayer {
    type Service = GovernorService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GovernorService::new(inner, self.0.clone())
    }
}

/// A service that is ready once it has a permit, each for one request.
///
/// The permit is given back when the response's future ends or is dropped: a body that is streamed after that runs
/// without. When the permit is lost, the inner call is dropped where it stands and the request fails with
/// [`LayerError::Lost`]. The inner service is made ready first, so that no slot is kept while it is not. A request
/// finds its [`Grant`] nowhere in it: where the resource checks the token, call
/// [`Governor::run`] instead.
///
/// A service that is ready keeps a slot, called or not, until it is dropped or the permit is lost. A clone has no
/// permit, as with any `tower` service: it has to become ready by itself.
pub struct GovernorService<S> {
    inner: S,
    governor: Governor,
    ready: Readiness,
}

enum Readiness {
    No,
    /// The mutex is never locked: it makes the service `Sync`, which the future is not.
    Waiting(Mutex<Acquire>),
    Yes(Permit),
}

type Acquire = Pin<Box<dyn Future<Output = Result<Permit, GovernorError>> + Send>>;

impl<S> GovernorService<S> {
    /// The inner service behind permits of that governor.
    pub fn new(inner: S, governor: Governor) -> Self {
        Self { inner, governor, ready: Readiness::No }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, without permits.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), GovernorError>> {
        loop {
            match &mut self.ready {
                // Who became ready and was not called until the permit was over waits for another one.
                Readiness::Yes(permit) if permit.loss().is_none() => return Poll::Ready(Ok(())),
                Readiness::No | Readiness::Yes(_) => {
                    let governor = self.governor.clone();
                    let acquire: Acquire = Box::pin(async move { governor.acquire().await });
                    self.ready = Readiness::Waiting(Mutex::new(acquire));
                }
                Readiness::Waiting(acquire) => {
                    let acquire = acquire.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let acquired = ready!(acquire.as_mut().poll(cx));
                    self.ready = Readiness::No;
                    self.ready = Readiness::Yes(acquired?);
                }
            }
        }
    }
}

impl<S: Clone> Clone for GovernorService<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.governor.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for GovernorService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernorService")
            .field("inner", &self.inner)
            .field("governor", &self.governor)
            .finish_non_exhaustive()
    }
}

impl<S, R> Service<R> for GovernorService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = LayerError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, LayerError<S::Error>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        ready!(self.inner.poll_ready(cx)).map_err(LayerError::Inner)?;
        self.poll_permit(cx).map_err(LayerError::Governor)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let Readiness::Yes(permit) = std::mem::replace(&mut self.ready, Readiness::No) else {
            return Box::pin(async { Err(LayerError::NotReady) });
        };
        // Not begun at all: the slot may be somebody else's.
        if let Some(cause) = permit.loss() {
            return Box::pin(async move { Err(LayerError::Lost(cause)) });
        }
        let response = self.inner.call(request);
        Box::pin(async move {
            let grant = Grant::clone(&permit);
            let ended = tokio::select! {
                biased;
                response = response => response.map_err(LayerError::Inner),
                cause = grant.lost() => Err(LayerError::Lost(cause)),
            };
            drop(permit);
            ended
        })
    }
}

/// Why a request behind a [`GovernorLayer`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LayerError<E> {
    /// There was no permit: nothing was called.
    Governor(GovernorError),
    /// The permit was lost, and the call dropped where it stood.
    Lost(LossCause),
    /// The service was called without having become ready: nothing was called.
    NotReady,
    /// The inner service says so.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for LayerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Governor(_) => f.write_str("no permit"),
            Self::Lost(cause) => write!(f, "stopped, because the permit was lost: {cause}"),
            Self::NotReady => f.write_str("called before the service was ready: await `ready` first"),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

// The inner error need not be an `Error`, as the boxed ones of other layers are not: so it cannot be the source, and
// stands in for this one.
impl<E: fmt::Debug + fmt::Display> Error for LayerError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Governor(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use futures::FutureExt;
    use sluicegate_core::{Holder, LeasePool, LeasePoolAdmin, MemoryPool};
    use tokio::sync::oneshot;
    use tokio::time::{advance, sleep};
    use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

    use super::*;
    use crate::GovernorErrorKind;

    const TTL: Duration = Duration::from_secs(10);
    const SOON: Duration = Duration::from_secs(1);

    fn pool() -> MemoryPool {
        MemoryPool::builder(NonZeroU32::MIN, TTL).renewable(false).build()
    }

    fn governor(pool: &MemoryPool) -> Governor {
        Governor::builder(pool.clone(), Holder::try_new("tests").unwrap()).build()
    }

    /// A request is a future that is awaited.
    type Job = oneshot::Receiver<Result<u32, String>>;

    fn service(
        governor: Governor,
    ) -> impl Service<Job, Response = u32, Error = LayerError<String>, Future: Send> + Clone + Send + Sync
    {
        let inner = service_fn(|job: Job| async move { job.await.unwrap_or(Err("dropped".into())) });
        ServiceBuilder::new().layer(GovernorLayer::new(governor)).service(inner)
    }

    async fn held(pool: &MemoryPool) -> usize {
        // Permits are given back in the background.
        sleep(Duration::from_millis(1)).await;
        pool.held().await.unwrap().len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_is_ready_when_it_has_a_permit_and_gives_it_back_with_the_response() {
        let pool = pool();
        let mut first = service(governor(&pool));
        let mut second = first.clone();
        let (answer, job) = oneshot::channel();
        let response = tokio::spawn(first.ready().await.unwrap().call(job));
        assert!(second.ready().now_or_never().is_none(), "the slot is taken");
        assert!(tokio::time::timeout(SOON, second.ready()).await.is_err(), "and stays so during the call");
        answer.send(Ok(7)).unwrap();
        assert_eq!(response.await.unwrap().unwrap(), 7);
        assert!(tokio::time::timeout(SOON, second.ready()).await.is_ok());
        assert_eq!(held(&pool).await, 1);
        drop(second);
        assert_eq!(held(&pool).await, 0, "readiness that nobody uses is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_and_a_dropped_call_give_their_permit_back() {
        let pool = pool();
        let mut service = service(governor(&pool));
        let (answer, job) = oneshot::channel();
        answer.send(Err("no".to_owned())).unwrap();
        let error = service.ready().await.unwrap().call(job).await.unwrap_err();
        assert!(matches!(&error, LayerError::Inner(inner) if inner == "no"), "{error:?}");
        assert_eq!(error.to_string(), "no");
        assert_eq!(held(&pool).await, 0);

        let (_never, job) = oneshot::channel();
        let call = service.ready().await.unwrap().call(job);
        assert_eq!(held(&pool).await, 1);
        drop(call);
        assert_eq!(held(&pool).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_when_its_permit_is_lost() {
        let pool = pool();
        let mut service = service(governor(&pool));
        let (mut answer, job) = oneshot::channel();
        let call = tokio::spawn(service.ready().await.unwrap().call(job));
        sleep(SOON).await;
        let id = pool.held().await.unwrap()[0].id;
        pool.evict(id).await.unwrap().expect("was held");
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, LayerError::Lost(LossCause::Evicted)), "{error:?}");
        answer.closed().now_or_never().expect("the inner call was dropped");

        // Without anybody doing anything it ends before the lease does.
        let (_never, job) = oneshot::channel();
        let error =
            tokio::time::timeout(TTL, service.ready().await.unwrap().call(job)).await.unwrap().unwrap_err();
        assert!(matches!(error, LayerError::Lost(LossCause::Expired)), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_lost_before_the_call_is_not_used() {
        let pool = pool();
        let mut service = service(governor(&pool));
        service.ready().await.unwrap();
        advance(TTL).await;
        let (mut answer, job) = oneshot::channel();
        let error = service.call(job).await.unwrap_err();
        assert!(matches!(error, LayerError::Lost(_)), "{error:?}");
        answer.closed().now_or_never().expect("the request was dropped");

        service.ready().await.unwrap();
        advance(TTL).await;
        let (answer, job) = oneshot::channel();
        answer.send(Ok(1)).unwrap();
        assert_eq!(
            service.ready().await.unwrap().call(job).await.unwrap(),
            1,
            "ready again, with another one"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_the_governor_are_told_from_those_of_the_service() {
        let pool = pool();
        let patient = Governor::builder(pool.clone(), Holder::try_new("tests").unwrap());
        let governor = patient.max_wait(SOON).build();
        let permit = governor.acquire().await.unwrap();
        let mut service = service(governor);
        let (_never, job) = oneshot::channel();
        assert!(matches!(service.call(job).await.unwrap_err(), LayerError::NotReady));
        let Err(LayerError::Governor(error)) = service.ready().await else { panic!("full") };
        assert_eq!(error.kind(), GovernorErrorKind::Timeout);
        permit.release().await.unwrap();
        assert!(service.ready().await.is_ok(), "a service that was refused may try again");
    }

    #[tokio::test(start_paused = true)]
    async fn it_stands_between_layers_whose_errors_are_boxed() {
        let pool = pool();
        let inner = service_fn(|seconds: u64| async move {
            sleep(Duration::from_secs(seconds)).await;
            Ok::<_, BoxError>(seconds)
        });
        let service = ServiceBuilder::new()
            .timeout(TTL)
            .layer(GovernorLayer::new(governor(&pool)))
            .timeout(SOON)
            .service(inner);
        assert_eq!(service.clone().oneshot(0).await.unwrap(), 0);
        let error: BoxError = service.oneshot(5).await.unwrap_err();
        assert_eq!(error.to_string(), "request timed out");
        assert!(error.downcast_ref::<LayerError<BoxError>>().is_some());
        assert_eq!(held(&pool).await, 0);
    }
}
