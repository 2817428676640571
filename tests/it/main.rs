//! The one integration binary: each binary links wasmtime, so there is one. A file per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
mod attacks;
mod cli;
mod condition;
mod database;
mod demo;
mod first;
mod grants;
mod guests;
mod journal;
mod lend;
mod life_cycle;
mod logs;
mod metrics;
mod package;
mod past;
mod probe;
mod progress;
mod references;
mod report;
mod service;
mod site;
mod story;
mod support;
mod tool;
mod tree;
mod wit;
