//! A file, or a folder, per database system.
pub mod simulated;
mod sqlite;

use super::{Database, Driver, Section};
use crate::resource::Access;
use std::sync::Arc;

/// Both halves of the driver that the section names. Nothing is opened yet: a database that is away is an answer, later.
pub fn open(name: &str, section: &Section) -> Access<Database> {
    match &section.driver {
        Driver::Sqlite { path } => {
            let driver = Arc::new(sqlite::Sqlite::new(name, path, section.exclusive));
            Access { observer: driver.clone(), mutator: driver }
        }
    }
}
