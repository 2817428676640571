//! How the product and its host are, how they were before, and whether they stay well.
mod facts;
mod host;
pub mod ops;
mod watching;
pub use host::{link, wit};
