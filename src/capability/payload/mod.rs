//! Small files of the package.
mod host;
pub mod ops;
pub use host::link;
