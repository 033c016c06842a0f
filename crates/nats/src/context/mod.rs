mod file;
mod near;
mod store;

pub use file::Context;
pub use store::ContextStore;
