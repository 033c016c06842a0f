use std::ffi::OsString;
use std::net::SocketAddr;

use super::info::read_info;
use super::locate::find;
use super::pins::Program;
use super::process::{Manner, Process, free_address, loopback};
use super::unit::{External, Unit, containers_wanted, delegate_to_unit};
use super::workdir::WorkDir;
use super::{STAN_VERSION, ServerError};

pub(super) const READY: &str = "Streaming Server is ready";

/// Where a STAN server keeps messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StanStore {
    /// In memory: a restart forgets everything, clients and subscriptions included.
    #[default]
    Memory,
    /// In files, synced before each acknowledgement: a restart keeps everything.
    File,
}

/// A NATS Streaming server on the loopback interface, with its own core NATS server inside. Dropping it kills it
/// and removes its data; it also dies when this process is killed.
#[derive(Debug)]
pub struct StanServer {
    unit: Unit,
    cluster_id: String,
}

impl StanServer {
    /// NATS Streaming [`STAN_VERSION`], cluster id `test-cluster`, in memory.
    ///
    /// # Errors
    ///
    /// No server could be had, or it did not start; the message says what to do.
    pub async fn start() -> Result<Self, ServerError> {
        Self::builder().start().await
    }

    /// Another store, cluster id or other flags.
    pub fn builder() -> StanServerBuilder {
        StanServerBuilder {
            cluster_id: "test-cluster".to_owned(),
            store: StanStore::Memory,
            port: None,
            flags: Vec::new(),
        }
    }

    /// The id that clients name when they connect.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Always [`STAN_VERSION`]: there will be no other.
    pub fn version(&self) -> &str {
        STAN_VERSION
    }

    delegate_to_unit!();
}

/// How a [`StanServer`] shall be.
#[derive(Clone, Debug)]
pub struct StanServerBuilder {
    cluster_id: String,
    store: StanStore,
    port: Option<u16>,
    flags: Vec<String>,
}

impl StanServerBuilder {
    /// Default: `test-cluster`.
    #[must_use]
    pub fn cluster_id(mut self, id: impl Into<String>) -> Self {
        self.cluster_id = id.into();
        self
    }

    /// Default: in memory.
    #[must_use]
    pub fn store(mut self, store: StanStore) -> Self {
        self.store = store;
        self
    }

    /// That port, as a process. Default: a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Further flags of the program, for example `["--hb_interval", "1s"]` or `["--max_channels", "0"]`.
    #[must_use]
    pub fn flags<I>(mut self, flags: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// Starts the server; done when it is ready for streaming clients.
    ///
    /// # Errors
    ///
    /// No server could be had, it did not start, or the environment names one that is not as asked.
    pub async fn start(self) -> Result<StanServer, ServerError> {
        if let Some(external) = External::from_env(Program::Stan.variable()).await? {
            if self.store != StanStore::Memory || !self.flags.is_empty() {
                return Err(external.refuse("configure"));
            }
            read_info(external.address).await?;
            return Ok(StanServer { unit: Unit::External(external), cluster_id: self.cluster_id });
        }
        if self.port.is_none() && containers_wanted() {
            return self.contained().await;
        }
        let found = find(Program::Stan, STAN_VERSION, |line| tracing::info!("{line}")).await?;
        let dir = WorkDir::create()?;
        let store = dir.path().join("store");
        let arguments = self.arguments(&store.to_string_lossy()).into_iter().map(OsString::from).collect();
        let address = self.port.map_or_else(free_address, |port| Ok(loopback(port)))?;
        let process = Process::new(found.path, arguments, Manner::nats(READY), address, dir);
        let process = if self.port.is_some() { process.start_here().await? } else { process.start().await? };
        Ok(StanServer { unit: Unit::Process(process), cluster_id: self.cluster_id })
    }

    #[cfg(not(feature = "container"))]
    async fn contained(self) -> Result<StanServer, ServerError> {
        Err(super::unit::no_containers())
    }

    #[cfg(feature = "container")]
    async fn contained(self) -> Result<StanServer, ServerError> {
        let container = super::container::Container::start(self.recipe()).await?;
        Ok(StanServer { unit: Unit::Container(container), cluster_id: self.cluster_id })
    }

    #[cfg(feature = "container")]
    fn recipe(&self) -> super::container::Recipe {
        use super::container::{HOME, Recipe};
        Recipe {
            program: Program::Stan,
            version: STAN_VERSION.to_owned(),
            arguments: self.arguments(&format!("{HOME}/store")),
            files: Vec::new(),
            ready: READY,
        }
    }

    fn arguments(&self, store: &str) -> Vec<String> {
        let mut arguments = vec!["--cluster_id".to_owned(), self.cluster_id.clone()];
        if self.store == StanStore::File {
            arguments.extend(["--store", "FILE", "--dir", store].map(str::to_owned));
        }
        arguments.extend_from_slice(&self.flags);
        arguments
    }
}
