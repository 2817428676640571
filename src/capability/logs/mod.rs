//! What a service says in its own log.
mod host;
pub mod ops;
pub use host::link;
