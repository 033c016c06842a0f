//! The verbs that look at governors and change them.

mod add;
mod api;
mod edit;
mod evict;
mod ls;
mod remove;
mod view;
mod wait;
mod watch;

pub(super) use self::add::add;
pub(super) use self::api::api;
pub(super) use self::edit::edit;
pub(super) use self::evict::evict;
pub(super) use self::ls::ls;
pub(super) use self::remove::remove;
pub(super) use self::view::view;
pub(super) use self::wait::wait;
