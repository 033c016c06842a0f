use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// The first line: `limit` and `ttl` as they are at the beginning, and in `text` what else should be known.
    Meta,
    /// Waiting for a lease, or one attempt; `done` without a lease: full.
    Acquire,
    /// Extending `lease`.
    Renew,
    /// Giving `lease` back; `done` says by `freed` whether it was still held.
    Release,
    /// The holder of `lease` was told that it is lost, or that its time is over.
    Lost,
    /// Ending the `lease` of whomever.
    Evict,
    /// Ending all leases.
    Reset,
    /// Setting the `limit`.
    Resize,
    /// Setting the `ttl`.
    SetTtl,
    /// The resource let client `c` of process `p` in, with `lease` and `token`.
    Enter,
    /// The resource served one that is in.
    Touch,
    /// One that was in has gone, by itself or with its process.
    Leave,
    /// The resource refused a token that is too small; whoever showed it is out.
    Refuse,
    /// Something was broken (`kind`, `target`): `call` when it was begun, `done` when it was seen to have happened,
    /// `event` when it was over.
    Fault,
    /// What `target` has `stored` after everything has come to rest.
    Final,
    /// One look at the pool by an onlooker; `unknown`: it was not answered.
    Poll,
    /// The process has come to rest: what it had abandoned is resolved.
    Exit,
    /// The last line: nothing is missing.
    End,
}

/// Where in its life an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before it was handed over.
    Call,
    /// After it was answered.
    Done,
    /// It certainly did not happen.
    NotDone,
    /// It may have happened.
    Unknown,
    /// It has no beginning and no end.
    Event,
}

/// One line of a history. What an operation does not have is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of the clock that all processes share: taken before a call is handed over, and after its answer.
    pub t: u64,
    /// The number of the line.
    #[serde(default)]
    pub n: u64,
    /// The process.
    pub p: Box<str>,
    /// The client in it.
    #[serde(default)]
    pub c: u32,
    /// What.
    pub op: Op,
    /// Where in its life.
    pub ph: Phase,
    /// Which call of this process: answers repeat it.
    #[serde(default)]
    pub id: u64,
    /// Who wrote the line, if not the process: `resource`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Box<str>>,
    /// The lease's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// The fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// Until when the lease may be counted on, by the same clock as `t`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// A number of slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// A time to live, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// How many tries an answer took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u64>,
    /// Whether a release freed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<bool>,
    /// The kind of a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<str>>,
    /// What a fault hit, or whose state this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Box<str>>,
    /// The leases that are stored, each by its newest token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Box<[u64]>>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Box<str>>,
}

impl Event {
    /// A line with nothing but what every line has.
    pub fn new(t: u64, p: &str, op: Op, ph: Phase) -> Self {
        Self {
            t,
            n: 0,
            p: p.into(),
            c: 0,
            op,
            ph,
            id: 0,
            by: None,
            lease: None,
            token: None,
            deadline: None,
            limit: None,
            ttl: None,
            tries: None,
            freed: None,
            kind: None,
            target: None,
            stored: None,
            text: None,
        }
    }

    /// Client `c`, call `id`.
    #[must_use]
    pub fn call(mut self, c: u32, id: u64) -> Self {
        (self.c, self.id) = (c, id);
        self
    }

    /// About that lease.
    #[must_use]
    pub fn lease(mut self, lease: u64, token: u64) -> Self {
        (self.lease, self.token) = (Some(lease), Some(token));
        self
    }

    /// A fault of that kind.
    #[must_use]
    pub fn fault(mut self, kind: &str, target: &str) -> Self {
        (self.kind, self.target) = (Some(kind.into()), Some(target.into()));
        self
    }

    /// Who wrote the line.
    pub fn writer(&self) -> &str {
        self.by.as_deref().unwrap_or(&self.p)
    }
}
