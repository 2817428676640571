//! Runs that touch nothing: the script's own life cycle, led by the same code, over simulated drivers.
mod explore;
mod invent;
mod plan;
mod rules;
mod stage;

pub use explore::{Bounds, Explored, explore, path};
pub use plan::{Plan, Step, plan};
pub use rules::{Finding, Rule};
pub use stage::{Call, Deviation, Path, Stage, Told};
