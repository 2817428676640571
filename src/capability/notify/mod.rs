//! Telling people.
mod host;
pub mod ops;
pub use host::{link, wit};
