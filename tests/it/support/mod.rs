//! What several subjects need.
pub mod guests;
