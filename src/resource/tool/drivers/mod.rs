//! How tools run.
pub mod command;
pub mod guard;
pub mod simulated;

use super::Section;
use crate::resource::{Access, Tool, process::own_executable};
use std::{path::PathBuf, sync::Arc};

pub fn open(name: &str, section: &Section) -> Access<Tool> {
    open_with(name, section, own_executable())
}

/// For a program that is not Backout itself: `executable` is what the guard is started from.
pub fn open_with(name: &str, section: &Section, executable: PathBuf) -> Access<Tool> {
    let driver = Arc::new(command::Command::new(name, section, executable));
    Access { observer: driver.clone(), mutator: driver }
}
