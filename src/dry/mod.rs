//! Runs that touch nothing: the script's own life cycle, led by the same code, over simulated drivers.
pub mod approval;
mod check;
mod course;
mod explore;
mod given;
pub mod golden;
mod invent;
mod otherwise;
mod plan;
mod rules;
pub mod saved;
mod scenario;
mod stage;

pub use check::{Difference, Test, Tested, check};
pub use course::{Call, Condition, Deviation, Failing, How, Path};
pub use explore::{Bounds, Explored, Walk, explore, path};
pub use given::{Given, Later};
pub use plan::{Plan, Step, plan, plan_to_keep};
pub use rules::{Finding, Rule};
pub use scenario::{Expect, Rules, Scenario, Tests};
pub use stage::{Agreeing, Stage, Told};
