mod api;
mod connect;
mod publish;
mod request;

use std::error::Error;

pub(crate) use api::ServerErrorBody;
pub use api::{ApiError, ApiErrorKind};
pub use connect::{ConnectError, ConnectErrorKind};
pub use publish::{Outcome, PublishError, PublishErrorKind};
pub use request::{RequestError, RequestErrorKind};

pub(crate) type Source = Box<dyn Error + Send + Sync + 'static>;
