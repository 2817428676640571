//! `backout demo`: a real small product, a bad upgrade, and the way back, in a folder of its own.
pub mod client;
pub mod folder;
pub mod proof;
pub mod releases;
pub mod shop;
pub mod stock;
