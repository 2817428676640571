//! What several subjects need.
pub mod guests;
pub mod packages;
