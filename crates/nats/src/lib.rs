#![doc = include_str!("../README.md")]

mod ack;
mod api;
mod args;
pub mod code;
mod config;
mod connect;
mod connection;
mod context;
mod credentials;
mod env;
mod error;
mod event;
mod expand;
mod hub;
mod link;
mod permission;
mod plain;
mod publish;
mod redact;
mod request;
mod secret;
mod settings;
mod supervise;

pub use ack::PubAck;
pub use args::ConnectArgs;
pub use async_nats;
pub use config::Supervision;
pub use connect::{connect, connect_context, connect_observed};
pub use connection::Connection;
pub use context::{Context, ContextStore};
pub use env::{Env, NoEnv};
pub use error::{
    ApiError, ApiErrorKind, ConnectError, ConnectErrorKind, Outcome, PublishError, PublishErrorKind,
    RequestError, RequestErrorKind,
};
pub use event::{NatsEvent, Operation};
pub use publish::Publish;
pub use secret::{Nsc, OnePassword, ResolveError, SecretBytes, SecretResolver};
pub use settings::{Explanation, Origin, Setting, Settings, SettingsBuilder};
