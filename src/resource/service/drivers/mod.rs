//! What a service can be on this machine.
pub mod command;
pub mod docker;
mod file_log;
mod folder;
mod lines;
pub mod process;
pub mod simulated;
pub mod systemd;

use super::{Driver, Section};
use crate::resource::{Access, Service, process::own_executable};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// `state` is where Backout keeps its own things: the supervisor's record and the log.
pub fn open(name: &str, section: &Section, state: &Path) -> Access<Service> {
    open_with(name, section, state, own_executable())
}

/// For a program that is not Backout itself: `executable` is what the supervisor is started from.
pub fn open_with(name: &str, section: &Section, state: &Path, executable: PathBuf) -> Access<Service> {
    match &section.driver {
        Driver::Process(process) => {
            let driver = Arc::new(process::Supervised::new(name, process, state, executable));
            Access { observer: driver.clone(), mutator: driver }
        }
        Driver::Command(command) => {
            let driver = Arc::new(command::Commanded::new(name, command, state, executable));
            Access { observer: driver.clone(), mutator: driver }
        }
        Driver::Systemd(unit) => {
            let driver = Arc::new(systemd::Managed::new(name, unit, state));
            Access { observer: driver.clone(), mutator: driver }
        }
        Driver::Docker(container) => {
            let driver = Arc::new(docker::Contained::new(name, container, state));
            Access { observer: driver.clone(), mutator: driver }
        }
    }
}
