//! How the product and its host are, how they were before, and whether they stay well.
mod comparing;
mod facts;
mod host;
pub mod ops;
mod promql;
mod sampling;
mod shift;
mod watching;
pub use host::{link, wit};
