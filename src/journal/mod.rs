//! The durable record of every run: intents, evidence, outcomes. Knows no capability.
//!
//! One SQLite file for all runs of a site. A writer thread owns the connection and puts what waits for it into one
//! transaction (group commit); readers have connections of their own.
pub mod chain;
mod entry;
mod error;
mod file;
mod legal;
mod reader;
mod writer;

pub use entry::{
    Ending, Entry, FORMAT, Header, Level, Limits, Place, Recorded, Request, Resumption, Risk, RunId, Step,
};
pub use error::Error;
pub use reader::{Entries, Reader, RunSummary};
pub use writer::{Journal, Listener};
