//! The container engine: one runtime for its connection, images, and what killed tests left behind.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;

use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::BuildImageOptions;
use testcontainers::runners::{AsyncBuilder, AsyncRunner};
use testcontainers::{GenericBuildableImage, GenericImage};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

use crate::server::locate::cached_or_provisioned;
use crate::server::workdir::is_abandoned;
use crate::server::{Program, ServerError, ServerErrorKind};

/// The directory whose lock the owner of a container holds.
pub(super) const OWNER: &str = "io.sluicegate.testkit.owner";
/// The host that directory is on: several may share an engine.
pub(super) const HOST: &str = "io.sluicegate.testkit.host";

/// Runs it on a runtime that lives as long as the process: connections to the engine end with their runtime, and
/// the runtime of a test ends before a shared container does.
pub(super) async fn on_engine<T: Send + 'static>(
    work: impl Future<Output = Result<T, ServerError>> + Send + 'static,
) -> Result<T, ServerError> {
    let stopped = |error| ServerError::io("the work with the container engine was stopped", error);
    runtime()?.spawn(work).await.map_err(stopped)?
}

pub(super) fn runtime() -> Result<&'static Runtime, ServerError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let built = built.map_err(|error| ServerError::io("cannot run a second runtime", error))?;
    Ok(RUNTIME.get_or_init(|| built))
}

pub(super) fn connect() -> Result<Docker, ServerError> {
    Docker::connect_with_defaults().map_err(engine_failed)
}

pub(super) fn engine_failed(error: testcontainers::bollard::errors::Error) -> ServerError {
    let context = format!("the container engine refuses: {error}; does it run? (`docker info`)");
    ServerError::io(context, error)
}

/// The repository and tag of the image with that server.
pub(super) fn image(program: Program, version: &str) -> GenericImage {
    GenericImage::new(repository(program), version)
}

fn repository(program: Program) -> &'static str {
    match program {
        Program::Nats => "nats",
        Program::Stan => "nats-streaming",
    }
}

pub(super) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Makes sure that the image is there: pulls it, or builds it from the static program under the same tag where it
/// cannot be pulled. Returns what was done, for people. `say` is told what takes time.
///
/// # Errors
///
/// There is no engine, or the image can neither be pulled nor built.
pub async fn ensure_image(
    program: Program,
    version: &str,
    say: impl Fn(&str) + Send + Sync + 'static,
) -> Result<String, ServerError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let version = version.to_owned();
    on_engine(async move {
        let _turn = ONE_AT_A_TIME.lock().await;
        let name = format!("{}:{version}", repository(program));
        let docker = connect()?;
        docker.ping().await.map_err(engine_failed)?;
        if docker.inspect_image(&name).await.is_ok() {
            return Ok(format!("the image {name} is there"));
        }
        say(&format!("pulling the image {name}"));
        let Err(pull) = image(program, &version).pull_image().await else {
            return Ok(format!("the image {name} was pulled"));
        };
        say(&format!("cannot pull {name}: building it from the program"));
        let found = cached_or_provisioned(program, &version, say).await?;
        build(program, &version, &found.path).await.map_err(|error| {
            let context = format!("cannot pull the image {name} ({pull}), and cannot build it: {error}");
            ServerError::new(ServerErrorKind::Unavailable, context)
        })?;
        Ok(format!("the image {name} was built from {}", found.how))
    })
    .await
}

async fn build(program: Program, version: &str, path: &Path) -> Result<(), ServerError> {
    let name = program.name();
    let dockerfile = format!(
        "FROM scratch\nCOPY {name} /{name}\nEXPOSE 4222\nENTRYPOINT [\"/{name}\"]\nCMD [\"--version\"]\n"
    );
    GenericBuildableImage::new(repository(program), version)
        .with_dockerfile_string(dockerfile)
        .with_file(path, name)
        .build_image_with(BuildImageOptions::new())
        .await
        .map(drop)
        .map_err(|error| ServerError::io(error.to_string(), error))
}

/// Removes the containers of test processes of this host that have ended without doing it. Returns how many.
///
/// # Errors
///
/// There is no engine.
pub async fn remove_abandoned_containers() -> Result<usize, ServerError> {
    on_engine(async {
        let docker = connect()?;
        let filters = HashMap::from([("label".to_owned(), vec![format!("{HOST}={}", host())])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let mut removed = 0;
        for container in docker.list_containers(Some(options)).await.map_err(engine_failed)? {
            let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
            let Some((owner, id)) = owner.zip(container.id.as_ref()) else { continue };
            if Path::new(owner).exists() && !is_abandoned(Path::new(owner)) {
                continue;
            }
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            // Somebody else may be removing it too.
            removed += usize::from(docker.remove_container(id, Some(options)).await.is_ok());
        }
        Ok(removed)
    })
    .await
}
