#![doc = include_str!("../README.md")]

mod backend;
mod builder;
mod client;
mod config;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod event;
mod message;
mod names;
mod publish;
mod subscribe;

pub use backend::Backend;
pub use backend::jetstream::{JetStreamConfig, Storage, StreamMap};
pub use backend::memory::{MemoryBroker, MemoryBrokerBuilder, MemoryStats, Retention};
pub use builder::ClientBuilder;
pub use client::Client;
pub use config::{AckMode, Capabilities, ClientState, OnUnknown, PublishConfig, Start, WhileDown};
pub use error::{ErrorKind, Outcome, PublishError, StreamError};
pub use event::StreamEvent;
pub use message::Message;
pub use names::{Channel, ClientId, Cluster, DurableName, Guid, Queue};
pub use publish::{OutgoingMessage, PubAck, PubReceipt, PublishCounts};
pub use sluicegate_nats::async_nats::HeaderMap;
pub use subscribe::{
    DrainReport, Failure, Subscription, SubscriptionBuilder, SubscriptionHandle, SubscriptionStats,
};
