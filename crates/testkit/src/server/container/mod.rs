//! Servers as containers, through the engine that `DOCKER_HOST` names, or the local Docker.

mod engine;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep};

use self::engine::{HOST, OWNER, connect, engine_failed, host, image, on_engine, runtime};
pub use self::engine::{ensure_image, remove_abandoned_containers};
use super::process::free_address;
use super::workdir::WorkDir;
use super::{Program, ServerError, ServerErrorKind};

const CLIENTS: u16 = 4222;
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// Where a server's files are inside its container.
pub(super) const HOME: &str = "/sluicegate";

/// What a container runs.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) program: Program,
    pub(super) version: String,
    pub(super) arguments: Vec<String>,
    /// Paths inside the container, and what they hold.
    pub(super) files: Vec<(String, String)>,
    pub(super) ready: &'static str,
}

/// A server in a container whose port is the same over restarts. Removed when dropped.
#[derive(Debug)]
pub(super) struct Container {
    address: SocketAddr,
    running: Arc<Running>,
    /// Held until the container is gone: whoever cleans up takes its lock for a sign of life.
    _owner: WorkDir,
}

#[derive(Debug)]
struct Running {
    docker: Docker,
    id: String,
    ready: &'static str,
    /// Taken when the container is removed.
    handle: Mutex<Option<ContainerAsync<GenericImage>>>,
}

impl Container {
    pub(super) async fn start(recipe: Recipe) -> Result<Self, ServerError> {
        static SWEPT: OnceCell<usize> = OnceCell::const_new();
        SWEPT.get_or_try_init(remove_abandoned_containers).await?;
        ensure_image(recipe.program, &recipe.version, |line| tracing::info!("{line}")).await?;
        let owner = WorkDir::create()?;
        loop {
            let address = free_address()?;
            let request = request(&recipe, address, owner.path().to_string_lossy().into_owned());
            let ready = recipe.ready;
            if let Some(running) = on_engine(launch(request, ready)).await? {
                return Ok(Self { address, running: Arc::new(running), _owner: owner });
            }
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn log(&self) -> String {
        let running = Arc::clone(&self.running);
        on_engine(async move { Ok(running.log().await) }).await.unwrap_or_default()
    }

    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        let running = Arc::clone(&self.running);
        on_engine(async move {
            running.must_run().await?;
            running.signal("SIGKILL").await
        })
        .await
    }

    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        let running = Arc::clone(&self.running);
        on_engine(async move { running.stop().await }).await
    }

    pub(super) async fn restart(&self) -> Result<(), ServerError> {
        let running = Arc::clone(&self.running);
        on_engine(async move {
            running.stop().await?;
            running.start().await
        })
        .await
    }

    pub(super) fn pause(&self) -> Result<(), ServerError> {
        let running = Arc::clone(&self.running);
        block(async move {
            running.must_run().await?;
            running.docker.pause_container(&running.id).await.map_err(engine_failed)
        })
    }

    pub(super) fn resume(&self) -> Result<(), ServerError> {
        let running = Arc::clone(&self.running);
        block(async move { running.docker.unpause_container(&running.id).await.map_err(engine_failed) })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let running = Arc::clone(&self.running);
        let removed = block(async move {
            let handle = running.handle.lock().await.take();
            match handle {
                Some(handle) => handle.rm().await.map_err(|error| ServerError::io("cannot remove it", error)),
                None => Ok(()),
            }
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "a container is left behind; the next test removes it");
        }
    }
}

impl Running {
    async fn is_running(&self) -> Result<bool, ServerError> {
        let seen = self.docker.inspect_container(&self.id, None).await.map_err(engine_failed)?;
        Ok(seen.state.and_then(|state| state.running).unwrap_or(false))
    }

    async fn must_run(&self) -> Result<(), ServerError> {
        if self.is_running().await? {
            return Ok(());
        }
        Err(ServerError::new(ServerErrorKind::State, "the container does not run: restart it first"))
    }

    async fn stop(&self) -> Result<(), ServerError> {
        if self.is_running().await? { self.signal("SIGTERM").await } else { Ok(()) }
    }

    /// Sends the signal and waits until the container has ended.
    async fn signal(&self, signal: &str) -> Result<(), ServerError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.docker.kill_container(&self.id, Some(options)).await.map_err(engine_failed)?;
        // A paused container takes the signal when it goes on, and so, as a stopped process, does nothing before it
        // dies. That it is not paused is no failure.
        let _ = self.docker.unpause_container(&self.id).await;
        let until = Instant::now() + STOP_WITHIN;
        while self.is_running().await? {
            if Instant::now() >= until {
                let context = format!("the container did not end within {STOP_WITHIN:?} after {signal}");
                return Err(ServerError::new(ServerErrorKind::State, context));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn start(&self) -> Result<(), ServerError> {
        let before = self.times_ready().await;
        self.docker.start_container(&self.id, None).await.map_err(engine_failed)?;
        let until = Instant::now() + READY_WITHIN;
        while self.times_ready().await == before {
            if Instant::now() >= until || !self.is_running().await? {
                let context = format!("the container did not become ready again\n{}", self.log().await);
                return Err(ServerError::new(ServerErrorKind::Start, context));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn times_ready(&self) -> usize {
        self.log().await.matches(self.ready).count()
    }

    async fn log(&self) -> String {
        let handle = self.handle.lock().await;
        let Some(handle) = handle.as_ref() else { return String::new() };
        String::from_utf8_lossy(&handle.stderr_to_vec().await.unwrap_or_default()).into_owned()
    }
}

fn request(recipe: &Recipe, address: SocketAddr, owner: String) -> ContainerRequest<GenericImage> {
    let mut request = image(recipe.program, &recipe.version)
        .with_exposed_port(ContainerPort::Tcp(CLIENTS))
        .with_wait_for(WaitFor::message_on_stderr(recipe.ready))
        .with_cmd(recipe.arguments.clone())
        .with_mapped_port(address.port(), ContainerPort::Tcp(CLIENTS))
        .with_startup_timeout(READY_WITHIN)
        .with_label(OWNER, owner)
        .with_label(HOST, host())
        .with_host_config_modifier(|config| {
            // Servers without a password are for this machine only.
            for binding in config.port_bindings.iter_mut().flatten().filter_map(|(_, b)| b.as_mut()).flatten()
            {
                binding.host_ip = Some(Ipv4Addr::LOCALHOST.to_string());
            }
        });
    for (path, content) in &recipe.files {
        request = request.with_copy_to(path.clone(), content.clone().into_bytes());
    }
    request
}

/// `None` = the port is taken.
async fn launch(
    request: ContainerRequest<GenericImage>,
    ready: &'static str,
) -> Result<Option<Running>, ServerError> {
    let docker = connect()?;
    match request.start().await {
        Ok(handle) => {
            let id = handle.id().to_owned();
            Ok(Some(Running { docker, id, ready, handle: Mutex::new(Some(handle)) }))
        }
        Err(error) => {
            let text = error.to_string();
            if text.contains("already allocated") || text.contains("address already in use") {
                return Ok(None);
            }
            let context = format!("the container did not start: {text}");
            Err(ServerError::new(ServerErrorKind::Start, context))
        }
    }
}

/// Waits without a runtime of its own: for calls that are not async, and for `Drop`.
fn block<T: Send + 'static>(
    work: impl Future<Output = Result<T, ServerError>> + Send + 'static,
) -> Result<T, ServerError> {
    let (sender, receiver) = mpsc::channel();
    runtime()?.spawn(async move { sender.send(work.await) });
    receiver
        .recv()
        .map_err(|error| ServerError::io("the work with the container engine was stopped", error))?
}
