//! What goes over the wire: requests as they must be (servers refuse unknown fields), answers as they may be
//! (spacing, order and further fields differ between versions).

mod ack;
mod consumer;
mod listing;
mod message;
mod stream_config;
mod stream_info;

pub(crate) use ack::{Answer, read_answer};
pub(crate) use consumer::{MadeConsumer, NewConsumer};
pub(crate) use listing::{Page, PageRequest};
pub(crate) use message::{
    CountSubjects, DeleteMessage, Done, Found, GetMessage, PurgeSubject, Purged, StoredMessage,
};
pub(crate) use stream_config::tickets_config;
pub(crate) use stream_config::{
    Differences, FACTOR, INCARNATION, KIND, StoredConfig, TOTAL, TTL, campaign_config, native_config,
};
pub(crate) use stream_info::StreamInfo;

/// The header by which a renewed native lease says which lease it is: the sequence of its first message.
pub(crate) const LEASE_HEADER: &str = "Sluicegate-Lease";
