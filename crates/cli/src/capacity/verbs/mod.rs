//! The verbs that look at capacities and change them.

mod add;
mod edit;
mod ls;
mod remove;
mod view;

pub(super) use self::add::add;
pub(super) use self::edit::edit;
pub(super) use self::ls::ls;
pub(super) use self::remove::remove;
pub(super) use self::view::view;
