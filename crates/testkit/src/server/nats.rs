use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tokio::sync::OnceCell;

use super::info::read_info;
use super::locate::find;
use super::pins::Program;
use super::process::{Manner, Process, free_address, loopback};
use super::unit::{External, Unit, containers_wanted, delegate_to_unit};
use super::workdir::WorkDir;
use super::{ServerError, ServerErrorKind};

pub(super) const READY: &str = "Server is ready";

/// A nats-server on the loopback interface, with JetStream in a directory of its own. Dropping it kills it and
/// removes its data; it also dies when this process is killed.
#[derive(Debug)]
pub struct NatsServer {
    unit: Unit,
    version: String,
}

impl NatsServer {
    /// nats-server [`NATS_VERSION`](super::NATS_VERSION) with JetStream.
    ///
    /// # Errors
    ///
    /// No server could be had, or it did not start; the message says what to do.
    pub async fn start() -> Result<Self, ServerError> {
        Self::builder().start().await
    }

    /// Another version or configuration.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// One server for all tests of this process that do not disturb it. Use stream names of your own.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn shared() -> Result<&'static Self, ServerError> {
        static SHARED: OnceCell<NatsServer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    pub(super) fn from_unit(unit: Unit, version: String) -> Self {
        Self { unit, version }
    }

    /// The version of the server, without a `v`.
    pub fn version(&self) -> &str {
        &self.version
    }

    delegate_to_unit!();
}

/// How a [`NatsServer`] shall be.
#[derive(Clone, Debug)]
pub struct NatsServerBuilder {
    version: Option<String>,
    name: Option<String>,
    port: Option<u16>,
    jetstream: bool,
    jetstream_config: String,
    config: String,
}

impl Default for NatsServerBuilder {
    fn default() -> Self {
        let (jetstream_config, config) = (String::new(), String::new());
        Self { version: None, name: None, port: None, jetstream: true, jetstream_config, config }
    }
}

impl NatsServerBuilder {
    /// That version instead of the newest, for example `2.10.26`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The server's name. Default: the server chooses.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// That port, as a process. Default: a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Whether JetStream is on. Default: it is.
    #[must_use]
    pub fn jetstream(mut self, on: bool) -> Self {
        self.jetstream = on;
        self
    }

    /// Lines for the block `jetstream { … }`, for example `sync_interval: always` or `domain: hub`.
    #[must_use]
    pub fn jetstream_config(mut self, lines: &str) -> Self {
        let _ = writeln!(self.jetstream_config, "{lines}");
        self
    }

    /// Lines for the configuration file, for example accounts and users. Leave ports and logging alone.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        let _ = writeln!(self.config, "{lines}");
        self
    }

    /// Starts the server; done when it is ready.
    ///
    /// # Errors
    ///
    /// No server could be had, it did not start, or the environment names one that is not as asked.
    pub async fn start(self) -> Result<NatsServer, ServerError> {
        if let Some(external) = External::from_env(Program::Nats.variable()).await? {
            return self.external(external).await;
        }
        let version = self.wanted_version().to_owned();
        if self.port.is_none() && containers_wanted() {
            return self.contained().await;
        }
        let dir = WorkDir::create()?;
        let process = match self.port {
            Some(port) => self.process(dir, loopback(port)).await?.start_here().await?,
            None => self.process(dir, free_address()?).await?.start().await?,
        };
        Ok(NatsServer { unit: Unit::Process(process), version })
    }

    pub(super) fn wanted_version(&self) -> &str {
        self.version.as_deref().unwrap_or(Program::Nats.version())
    }

    /// The process that this describes, not started yet.
    pub(super) async fn process(&self, dir: WorkDir, address: SocketAddr) -> Result<Process, ServerError> {
        let say = |line: &str| tracing::info!("{line}");
        let found = find(Program::Nats, self.wanted_version(), say).await?;
        let file = dir.path().join("nats.conf");
        let text = self.text(&dir.path().join("store"));
        fs::write(&file, text).map_err(|error| ServerError::io("cannot write the configuration", error))?;
        Ok(Process::new(found.path, vec!["-c".into(), file.into()], Manner::nats(READY), address, dir))
    }

    #[cfg(not(feature = "container"))]
    async fn contained(self) -> Result<NatsServer, ServerError> {
        Err(super::unit::no_containers())
    }

    #[cfg(feature = "container")]
    async fn contained(self) -> Result<NatsServer, ServerError> {
        let version = self.wanted_version().to_owned();
        let container = super::container::Container::start(self.recipe(&version)).await?;
        Ok(NatsServer { unit: Unit::Container(container), version })
    }

    #[cfg(feature = "container")]
    fn recipe(&self, version: &str) -> super::container::Recipe {
        use super::container::{HOME, Recipe};
        let file = format!("{HOME}/nats.conf");
        let text = self.text(&Path::new(HOME).join("store"));
        Recipe {
            program: Program::Nats,
            version: version.to_owned(),
            arguments: vec!["-c".to_owned(), file.clone()],
            files: vec![(file, text)],
            ready: READY,
        }
    }

    /// The configuration file.
    fn text(&self, store: &Path) -> String {
        let mut text = String::new();
        if let Some(name) = &self.name {
            let _ = writeln!(text, "server_name: {name:?}");
        }
        if self.jetstream {
            let _ = writeln!(text, "jetstream {{\n store_dir: {store:?}\n {}}}", self.jetstream_config);
        }
        text + &self.config
    }

    async fn external(self, external: External) -> Result<NatsServer, ServerError> {
        if !self.config.is_empty() || !self.jetstream_config.is_empty() || !self.jetstream {
            return Err(external.refuse("configure"));
        }
        let info = read_info(external.address).await?;
        let version = info["version"].as_str().unwrap_or_default().to_owned();
        let wrong = |what: String| {
            ServerError::new(
                ServerErrorKind::External,
                format!("the server named by {} {what}", external.variable),
            )
        };
        if self.version.as_ref().is_some_and(|wanted| *wanted != version) {
            return Err(wrong(format!("is {version}, wanted is {}", self.wanted_version())));
        }
        if info["jetstream"] != true {
            return Err(wrong("has no JetStream: start it with -js".to_owned()));
        }
        Ok(NatsServer { unit: Unit::External(external), version })
    }
}
