//! Who may use a database, and what is in it.
mod host;
pub mod ops;
pub use host::link;
