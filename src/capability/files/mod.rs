//! Files inside a tree: configuration, new versions, the link that says which one is current.
mod host;
pub mod ops;
pub use host::link;
