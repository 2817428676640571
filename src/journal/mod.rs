//! The durable record of every run: intents, evidence, outcomes. Knows no capability.
//!
//! One SQLite file for all runs of a site. A writer thread owns the connection and puts what waits for it into one
//! transaction (group commit), in a log that has room for it already; readers have connections of their own.
mod audit;
pub mod chain;
mod entry;
mod error;
pub mod export;
mod file;
mod glance;
mod head;
mod legal;
mod lines;
mod memory;
mod reader;
mod room;
mod skim;
mod tail;
mod writer;

pub use audit::{Audit, Finding, audit};
pub use entry::{
    Approved, ApprovedBy, ApprovedOperation, ApprovedStep, Ending, Entry, FORMAT, Header, Level, Limits, Place,
    Recorded, Rehearsal, RehearsedStep, Request, Resumption, Risk, RunId, Step,
};
pub use error::Error;
pub use head::Head;
pub use lines::{Line, Lines, Look};
pub use reader::{Entries, Reader, RunSummary};
pub use writer::{Journal, Listener};
