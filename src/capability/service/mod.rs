//! What services do, and making them start and stop.
mod host;
pub mod ops;
pub use host::link;
