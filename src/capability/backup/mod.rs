//! Copies of databases and trees, and the way back to them.
mod host;
pub mod ops;
mod restore_point;
pub use host::{link, wit};
