#![doc = include_str!("../README.md")]

mod ack;
mod api;
pub mod code;
mod connection;
mod error;
mod event;
mod publish;
mod request;
mod settings;

pub use ack::PubAck;
pub use async_nats;
pub use connection::{Connection, connect};
pub use error::{
    ApiError, ApiErrorKind, ConnectError, ConnectErrorKind, Outcome, PublishError, PublishErrorKind,
    RequestError, RequestErrorKind,
};
pub use event::{NatsEvent, Operation};
pub use publish::Publish;
pub use settings::Settings;
