//! Lines for the run's log.
mod host;
pub mod ops;
pub use host::link;
