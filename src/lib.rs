//! Backout runs rollback scripts that are WebAssembly components. The modules in reading order:
//!
//! ```text
//! package ─► site ─► session ─► capability ─► gate ─► journal ─► report
//! ```
//!
//! `resource` serves capability and gate; `run` leads a run along the line; `dry` does so in a simulated world, `rehearse` on
//! copies; `cli` composes.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::disallowed_methods,
        reason = "a test may fail by a panic, and is a user"
    )
)]

pub mod capability;
pub mod cli;
pub mod condition;
pub mod crash;
pub mod diagnostic;
pub mod dry;
pub mod failure;
pub mod gate;
pub mod journal;
pub mod key;
pub mod package;
pub mod plain;
pub mod rehearse;
pub mod report;
pub mod resource;
pub mod run;
pub mod session;
pub mod site;
