use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use sluicegate_core::FencingToken;
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Exit, Instance, InstanceId, InstanceSpec, Launched, Launcher};
use crate::ScalerError;

/// Instances that are tasks of this process.
///
/// The closure is the worker: it is called once for each instance, takes work until
/// [`draining`](InstanceContext::draining) completes, finishes what it has, and returns. Returning without having
/// been asked, or panicking, is a crash: the instance is replaced. One that has not returned by its
/// [`deadline`](InstanceContext::deadline) is aborted.
///
/// ```
/// use std::time::Duration;
///
/// use sluicegate_autoscaler::{InstanceContext, Tasks};
///
/// let tasks = Tasks::new(|cx: InstanceContext| async move {
///     while !cx.is_draining() {
///         tokio::select! {
///             biased;
///             () = cx.draining() => {}
///             () = tokio::time::sleep(Duration::from_millis(10)) => { /* one message */ }
///         }
///     }
/// })
/// .drain_deadline(Duration::from_secs(10));
/// ```
pub type Tasks = Launched<TaskLauncher>;

impl Tasks {
    /// Instances that run this closure. Its output is nothing, or a `Result` whose error is a crash's reason.
    pub fn new<F, Fut>(run: F) -> Self
    where
        F: Fn(InstanceContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Into<Exit>,
    {
        let run = Arc::new(run);
        Self::over(TaskLauncher {
            run: Arc::new(move |cx| {
                let run = Arc::clone(&run);
                // Called within the task: a panic of the closure itself is the instance's, too.
                Box::pin(async move { run(cx).await.into() })
            }),
        })
    }
}

type Run = dyn Fn(InstanceContext) -> Pin<Box<dyn Future<Output = Exit> + Send>> + Send + Sync;

/// Starts tasks; made by [`Tasks::new`].
#[derive(Clone)]
pub struct TaskLauncher {
    run: Arc<Run>,
}

impl fmt::Debug for TaskLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskLauncher")
    }
}

/// What an instance knows of itself.
#[derive(Clone, Debug)]
pub struct InstanceContext {
    spec: InstanceSpec,
    drain: CancellationToken,
    deadline: watch::Receiver<Option<Instant>>,
}

impl InstanceContext {
    /// What it is called.
    pub fn id(&self) -> &InstanceId {
        &self.spec.id
    }

    /// The leader's token under which it was started; `None` without a leader pool.
    pub fn fence(&self) -> Option<FencingToken> {
        self.spec.fence
    }

    /// Completes when the instance has to take nothing new, finish what it has, and return.
    ///
    /// # Cancel safety
    /// Safe: the next call completes at once.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Whether it has to take nothing new.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// The token behind [`draining`](Self::draining), to be handed to libraries.
    pub fn token(&self) -> &CancellationToken {
        &self.drain
    }

    /// When it will be aborted; `None` until it is draining.
    pub fn deadline(&self) -> Option<Instant> {
        *self.deadline.borrow()
    }
}

#[async_trait]
impl Launcher for TaskLauncher {
    async fn start(&self, spec: &InstanceSpec) -> Result<Box<dyn Instance>, ScalerError> {
        let (deadline, of_context) = watch::channel(None);
        let drain = CancellationToken::new();
        let polled = CancellationToken::new();
        let cx = InstanceContext { spec: spec.clone(), drain: drain.clone(), deadline: of_context };
        let (run, first_poll) = (Arc::clone(&self.run), polled.clone());
        let join = tokio::spawn(async move {
            first_poll.cancel();
            run(cx).await
        });
        let abort = join.abort_handle();
        Ok(Box::new(Task {
            id: spec.id.clone(),
            drain,
            deadline,
            polled,
            abort,
            end: Mutex::new(End::Running(join)),
        }))
    }
}

#[derive(Debug)]
struct Task {
    id: InstanceId,
    drain: CancellationToken,
    deadline: watch::Sender<Option<Instant>>,
    polled: CancellationToken,
    abort: AbortHandle,
    end: Mutex<End>,
}

#[derive(Debug)]
enum End {
    Running(JoinHandle<Exit>),
    Ended(Exit),
}

#[async_trait]
impl Instance for Task {
    fn id(&self) -> &InstanceId {
        &self.id
    }

    async fn ready(&self) {
        self.polled.cancelled().await;
    }

    async fn drain(&self, deadline: Instant) {
        self.deadline.send_replace(Some(deadline));
        self.drain.cancel();
    }

    async fn kill(&self) {
        self.abort.abort();
    }

    async fn ended(&self) -> Exit {
        let mut end = self.end.lock().await;
        let exit = match &mut *end {
            End::Ended(exit) => return exit.clone(),
            End::Running(join) => join.await.unwrap_or_else(exit_of),
        };
        *end = End::Ended(exit.clone());
        exit
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.drain.cancel();
    }
}

fn exit_of(error: JoinError) -> Exit {
    match error.try_into_panic() {
        Ok(panic) => Exit::Panicked(message_of(panic.as_ref())),
        Err(_) => Exit::Killed,
    }
}

pub(super) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
