//! Data between the steps of a run.
mod host;
pub mod ops;
pub use host::link;
