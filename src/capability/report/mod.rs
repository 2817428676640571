//! What people read afterwards.
mod host;
pub mod ops;
pub use host::link;
