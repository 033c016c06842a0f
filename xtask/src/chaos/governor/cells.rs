//! What is run: one cell is one governor, its workers, and what is done to them.

use std::time::Duration;

/// What can be broken, or done at a bad time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// SIGKILL of the stream's leader, or of the only server.
    Kill,
    /// SIGSTOP of it.
    Pause,
    /// The leader is asked to step down.
    StepDown,
    /// The leader is cut off from the other nodes, and not from its clients.
    Partition,
    /// Two of three are killed.
    Quorum,
    /// All are killed.
    All,
    /// Nothing passes between a worker and the servers.
    LinkHold,
    /// A worker's connections are reset.
    LinkReset,
    /// What a worker asks for arrives, and the answers die with the connection.
    AnswersLost,
    /// SIGKILL of a worker; another one takes its place.
    WorkerKill,
    /// SIGSTOP of a worker, for longer than its leases last if that is short.
    WorkerStop,
    /// A worker drops a few hundred attempts.
    Storm,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "server-kill",
            Self::Pause => "server-stop",
            Self::StepDown => "stepdown",
            Self::Partition => "partition",
            Self::Quorum => "quorum-kill",
            Self::All => "all-kill",
            Self::LinkHold => "link-hold",
            Self::LinkReset => "link-reset",
            Self::AnswersLost => "answers-lost",
            // As the rules know them.
            Self::WorkerKill => "kill",
            Self::WorkerStop => "stop",
            Self::Storm => "storm",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) name: &'static str,
    pub(super) native: bool,
    pub(super) replicas: u8,
    pub(super) limit: u32,
    pub(super) ttl: Duration,
    pub(super) workers: u32,
    pub(super) clients: u32,
    pub(super) hold_ms: u64,
    /// Every so manieth lease is held for as long as possible; zero: none.
    pub(super) to_the_end: u64,
    /// An operator resizes, evicts, resets and changes the ttl.
    pub(super) admin: bool,
    /// The longest wait may be that many times the mean; only where all is calm.
    pub(super) fair: Option<f64>,
    /// Done to the servers, one after the other.
    pub(super) servers: &'static [Kind],
    /// Done to workers and their connections, at the same time.
    pub(super) workers_too: &'static [Kind],
    /// Its part of the time.
    pub(super) share: u32,
    /// It is in the short form.
    pub(super) short: bool,
}

impl Cell {
    /// Leases that nobody gives back are gone before the end.
    pub(super) fn expires(&self) -> bool {
        self.ttl < Duration::from_secs(20)
    }
}

use Kind::{
    All, AnswersLost, Kill, LinkHold, LinkReset, Partition, Pause, Quorum, StepDown, Storm, WorkerKill,
    WorkerStop,
};

const SERVERS: &[Kind] = &[
    StepDown, Kill, StepDown, Pause, StepDown, StepDown, Partition, StepDown, Quorum, StepDown, All, StepDown,
];
const LINKS: &[Kind] = &[LinkHold, Storm, LinkReset, AnswersLost, WorkerStop, LinkReset, AnswersLost];
const HOLDERS: &[Kind] = &[WorkerKill, Storm, WorkerStop];

const PLAIN: Cell = Cell {
    name: "",
    native: false,
    replicas: 3,
    limit: 3,
    ttl: Duration::from_secs(60),
    workers: 3,
    clients: 4,
    hold_ms: 15,
    to_the_end: 0,
    admin: false,
    fair: None,
    servers: &[],
    workers_too: &[],
    share: 2,
    short: false,
};

/// In the order in which they are run.
pub(super) const CELLS: &[Cell] = &[
    Cell {
        name: "servers",
        servers: &[StepDown, Kill, Partition, StepDown, Pause, StepDown, Kill, StepDown],
        workers_too: LINKS,
        short: true,
        share: 3,
        ..PLAIN
    },
    Cell {
        name: "holders",
        replicas: 1,
        limit: 1,
        ttl: Duration::from_secs(3),
        to_the_end: 25,
        workers_too: HOLDERS,
        short: true,
        share: 1,
        ..PLAIN
    },
    Cell { name: "servers, one slot", limit: 1, servers: SERVERS, workers_too: LINKS, share: 3, ..PLAIN },
    Cell {
        name: "operators",
        limit: 5,
        ttl: Duration::from_secs(30),
        clients: 5,
        hold_ms: 40,
        admin: true,
        servers: &[StepDown, StepDown, Kill],
        workers_too: &[LinkReset, Storm, AnswersLost],
        ..PLAIN
    },
    Cell {
        name: "holders",
        limit: 3,
        ttl: Duration::from_secs(4),
        to_the_end: 25,
        servers: &[StepDown],
        workers_too: HOLDERS,
        ..PLAIN
    },
    Cell { name: "servers", replicas: 1, limit: 5, servers: &[Kill, Pause], workers_too: LINKS, ..PLAIN },
    Cell {
        name: "servers, renewing",
        native: true,
        ttl: Duration::from_secs(30),
        hold_ms: 40,
        servers: SERVERS,
        workers_too: LINKS,
        ..PLAIN
    },
    Cell {
        name: "holders, renewing",
        native: true,
        replicas: 1,
        limit: 1,
        ttl: Duration::from_secs(3),
        to_the_end: 10,
        servers: &[Kill],
        workers_too: HOLDERS,
        share: 1,
        ..PLAIN
    },
    Cell {
        name: "calm, one process",
        replicas: 1,
        limit: 1,
        workers: 1,
        clients: 100,
        hold_ms: 2,
        fair: Some(3.0),
        share: 1,
        ..PLAIN
    },
    Cell {
        name: "calm",
        replicas: 1,
        limit: 1,
        workers: 4,
        clients: 25,
        hold_ms: 2,
        fair: Some(10.0),
        share: 1,
        ..PLAIN
    },
];
