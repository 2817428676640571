//! Running what the site fixed.
mod host;
pub mod ops;
pub use host::link;
