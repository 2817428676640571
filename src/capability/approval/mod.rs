//! People.
mod host;
pub mod ops;
pub use host::link;
