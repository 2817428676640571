//! Requests to the product: is it there, is it right, is it fast enough.
mod answer;
mod host;
pub mod ops;
pub use host::{link, wit};
