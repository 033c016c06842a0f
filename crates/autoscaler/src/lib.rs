#![doc = include_str!("../README.md")]

mod builder;
mod config;
mod decision;
mod error;
mod event;
mod lead;
mod load;
mod policy;
mod provision;
mod scaler;
mod snapshot;

pub use builder::AutoscalerBuilder;
pub use config::Config;
pub use decision::{Advice, Clip, Decision, Reason, Terms};
pub use error::{ScalerError, ScalerErrorKind};
pub use event::{Events, ScalerEvent};
#[cfg(feature = "nats")]
pub use load::ConsumerLoad;
pub use load::{Load, LoadSource, Rates, Service, ServiceSource};
pub use policy::{Plan, Policy, Seed, SeedRate};
pub use provision::{
    Exit, Fleet, Instance, InstanceContext, InstanceId, InstanceSpec, Launched, Launcher, Order, Provisioner,
    TaskLauncher, Tasks,
};
pub use scaler::{Autoscaler, Phase, Report, Running, Status};
pub use snapshot::{FleetView, Limits, Snapshot};
