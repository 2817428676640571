//! What several subjects need.
pub mod bench;
pub mod call;
pub mod command;
pub mod disk;
pub mod faulty;
pub mod guests;
pub mod packages;
pub mod postgres;
pub mod product;
pub mod prometheus;
pub mod run;
pub mod script;
pub mod shop;
pub mod terminal;
