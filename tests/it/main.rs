//! The one integration binary: each binary links wasmtime, so there is one. A file per subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unreachable, clippy::disallowed_methods, reason = "a test is a user, and may fail by a panic")]
mod architecture;
mod attacks;
mod cli;
mod condition;
mod damage;
mod database;
mod demo;
mod docs;
mod first;
mod full;
mod fuzz;
mod grants;
mod guests;
mod half_way;
mod interrupted;
mod journal;
mod lend;
mod life_cycle;
mod logs;
mod metrics;
mod package;
mod past;
mod people;
mod probe;
mod progress;
mod references;
mod report;
mod restore_point;
mod service;
mod site;
mod story;
mod support;
mod tool;
mod tree;
mod wit;
