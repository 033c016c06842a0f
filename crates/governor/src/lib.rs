#![doc = include_str!("../README.md")]

mod adaptive;
mod admin;
mod attempt;
mod backoff;
mod batch;
mod board;
mod campaign;
mod capacity;
mod config;
mod error;
mod event;
mod forecast;
mod governor;
mod handle;
mod lifecycle;
mod listener;
mod make;
mod name;
mod native;
mod pool;
mod protocol;
mod reaper;
mod refusals;
mod stream;
#[cfg(feature = "tower")]
mod tower;
mod wire;

pub use adaptive::{
    AdaptiveConfig, AdaptiveEvent, AdaptiveLimit, AdaptiveLimitBuilder, Aimd, Outcome, Reason, Recorder,
    Window,
};
pub use admin::{Change, Filter, GovernorAdmin, GovernorSummary, GovernorView, GovernorWatch, Warning};
pub use campaign::CampaignPool;
pub use capacity::{
    CapacityAdmin, CapacityConfig, CapacityEdit, CapacityPool, CapacityShare, GovernorKind, Units, UnitsError,
};
pub use config::{Force, GovernorConfig, PoolOptions, Wire};
pub use event::{GovernorEvent, HintSource, HintState};
pub use governor::{
    CloseReport, Cohort, Fence, Governor, GovernorBuilder, GovernorError, GovernorErrorKind, Grant, Permit,
    ReleaseError, Released, RunError,
};
pub use lifecycle::{LifecycleError, LifecycleEvent, LifecycleKind};
pub use name::{GovernorName, NameError};
pub use native::NativePool;
#[cfg(feature = "tower")]
pub use tower::{GovernorLayer, GovernorService, LayerError};
