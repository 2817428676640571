//! Where one is in a run.
mod host;
pub mod ops;
pub use host::link;
