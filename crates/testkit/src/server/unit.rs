use std::net::SocketAddr;

#[cfg(feature = "container")]
use super::container::Container;
use super::process::Process;
use super::{ServerError, ServerErrorKind};

/// One server, whatever runs it.
#[derive(Debug)]
pub(super) enum Unit {
    /// Named by the environment.
    External(External),
    Process(Process),
    #[cfg(feature = "container")]
    Container(Container),
}

#[derive(Debug)]
pub(super) struct External {
    pub(super) variable: &'static str,
    pub(super) url: String,
    pub(super) address: SocketAddr,
}

impl External {
    /// The server that the environment names.
    pub(super) async fn from_env(variable: &'static str) -> Result<Option<Self>, ServerError> {
        let Ok(url) = std::env::var(variable) else { return Ok(None) };
        let (_, rest) = url.split_once("://").unwrap_or(("nats", &url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/');
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:4222") };
        let failed =
            |error| ServerError::io(format!("{variable} names the host {host}, which is not known"), error);
        let address = tokio::net::lookup_host(&host).await.map_err(failed)?.next();
        let none =
            || ServerError::new(ServerErrorKind::External, format!("{variable}: {host} has no address"));
        Ok(Some(Self { variable, address: address.ok_or_else(none)?, url }))
    }

    pub(super) fn refuse(&self, what: &str) -> ServerError {
        let context = format!("cannot {what} the server named by {}: unset it for this test", self.variable);
        ServerError::new(ServerErrorKind::External, context)
    }
}

/// Whether servers of this run are containers.
pub(super) fn containers_wanted() -> bool {
    std::env::var_os("SLUICEGATE_CONTAINER").is_some_and(|value| value == "1")
}

#[cfg(not(feature = "container"))]
pub(super) fn no_containers() -> ServerError {
    let context = "SLUICEGATE_CONTAINER=1, but the testkit was built without its feature `container`: \
        use `cargo xtask test --container`";
    ServerError::new(ServerErrorKind::Unavailable, context)
}

impl Unit {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::External(external) => external.address,
            Self::Process(process) => process.address(),
            #[cfg(feature = "container")]
            Self::Container(container) => container.address(),
        }
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::External(external) => external.url.clone(),
            Self::Process(process) => format!("nats://{}", process.address()),
            #[cfg(feature = "container")]
            Self::Container(container) => format!("nats://{}", container.address()),
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::External(_) => None,
            #[cfg(feature = "container")]
            Self::Container(_) => None,
            Self::Process(process) => process.pid(),
        }
    }

    pub(super) async fn log(&self) -> String {
        match self {
            Self::External(_) => String::new(),
            Self::Process(process) => process.log(),
            #[cfg(feature = "container")]
            Self::Container(container) => container.log().await,
        }
    }

    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("kill")),
            Self::Process(process) => process.kill().await,
            #[cfg(feature = "container")]
            Self::Container(container) => container.kill().await,
        }
    }

    pub(super) async fn stop(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("stop")),
            Self::Process(process) => process.stop().await,
            #[cfg(feature = "container")]
            Self::Container(container) => container.stop().await,
        }
    }

    pub(super) async fn restart(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("restart")),
            Self::Process(process) => process.restart().await,
            #[cfg(feature = "container")]
            Self::Container(container) => container.restart().await,
        }
    }

    pub(super) fn pause(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("pause")),
            Self::Process(process) => process.pause(),
            #[cfg(feature = "container")]
            Self::Container(container) => container.pause(),
        }
    }

    pub(super) fn resume(&self) -> Result<(), ServerError> {
        match self {
            Self::External(external) => Err(external.refuse("resume")),
            Self::Process(process) => process.resume(),
            #[cfg(feature = "container")]
            Self::Container(container) => container.resume(),
        }
    }
}

/// What every server offers: how to reach it and how to disturb it. The server has a field `unit`.
macro_rules! delegate_to_unit {
    () => {
        /// `nats://127.0.0.1:PORT`; stays the same over restarts.
        pub fn url(&self) -> String {
            self.unit.url()
        }

        /// Where clients connect.
        pub fn addr(&self) -> SocketAddr {
            self.unit.address()
        }

        /// The id of the process on this machine, if it runs here and now.
        pub fn pid(&self) -> Option<u32> {
            self.unit.pid()
        }

        /// What the server has logged since its first start.
        pub async fn log(&self) -> String {
            self.unit.log().await
        }

        /// SIGKILL; done when the process is gone. Data stay for [`restart`](Self::restart).
        ///
        /// # Errors
        ///
        /// It does not run, or it is not ours.
        ///
        /// # Cancel safety
        ///
        /// This and the other calls that disturb the server: the signal may have been sent.
        pub async fn kill(&self) -> Result<(), ServerError> {
            self.unit.kill().await
        }

        /// SIGTERM; done when the process is gone, at once if it already was.
        ///
        /// # Errors
        ///
        /// It does not end within 15 s, or it is not ours.
        pub async fn stop(&self) -> Result<(), ServerError> {
            self.unit.stop().await
        }

        /// Starts the server again with its port and its data; stops it first if it runs. Done when it is ready.
        ///
        /// # Errors
        ///
        /// It does not start, or it is not ours.
        pub async fn restart(&self) -> Result<(), ServerError> {
            self.unit.restart().await
        }

        /// SIGSTOP; done when it stands still. Connections stay open and nothing is answered.
        ///
        /// # Errors
        ///
        /// It does not run, or it is not ours.
        pub fn pause(&self) -> Result<(), ServerError> {
            self.unit.pause()
        }

        /// SIGCONT: the opposite of [`pause`](Self::pause).
        ///
        /// # Errors
        ///
        /// It does not run, or it is not ours.
        pub fn resume(&self) -> Result<(), ServerError> {
            self.unit.resume()
        }
    };
}
pub(super) use delegate_to_unit;
