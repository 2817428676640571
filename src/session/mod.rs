//! A script's life: bytes → a compiled component, cached → one instance for each call, inside limits.
mod cache;
mod compile;
mod console;
mod engine;
mod limits;
mod processor;
mod wasi;

pub use compile::{CPU as COMPILE_CPU, MEMORY as COMPILE_MEMORY, run as compile};
pub use engine::{Engine, Risk, Script, Severity, Step, Work};
pub use limits::Limits;
pub use processor::Processor;

/// Why a guest call came to no answer of its own.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Ended {
    /// The guest broke down: its own message where it left one, and where in its code it was.
    #[error("the script broke down: {message}{}", at(.frames))]
    Trapped { message: String, frames: Vec<String> },
    /// It used more than it may. Depends on the machine for processor time and stack.
    #[error("the script went beyond a limit: {0}")]
    Limit(String),
    /// It does not do what it did before.
    #[error("the script does not do what it did before: {divergence}{}", at(.frames))]
    Diverged { divergence: Box<crate::gate::Divergence>, frames: Vec<String> },
    /// It asked for what it may not do; that was not done.
    #[error("{0}")]
    Deviated(String),
    #[error(transparent)]
    Stopped(#[from] crate::gate::Stop),
}

fn at(frames: &[String]) -> String {
    if frames.is_empty() { String::new() } else { format!(", at {}", frames.join(" ← ")) }
}

/// Why a script cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the script cannot be compiled: {0}")]
    Compile(String),
    #[error("the script cannot be linked: {0}")]
    Link(String),
    #[error("the cache of compiled scripts at {path}: {reason}")]
    Cache { path: String, reason: String },
    #[error("the engine cannot be set up: {0}")]
    Engine(String),
}
