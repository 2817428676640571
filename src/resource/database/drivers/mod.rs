//! A file, or a folder, per database system.
mod postgres;
pub mod simulated;
mod sqlite;

pub use postgres::Lacking;

use super::{Database, Driver, Section};
use crate::resource::{Access, CallCtx, Failure, Pace, Rights, copies::Fingerprint, room::Need};
use std::{path::Path, sync::Arc};

/// Both halves of the driver that the section names. Nothing is opened yet: a database that is away is an answer, later.
pub fn open(name: &str, section: &Section) -> Access<Database> {
    match &section.driver {
        Driver::Sqlite { path } => {
            let driver = Arc::new(sqlite::Sqlite::new(name, path, section.exclusive));
            Access { observer: driver.clone(), mutator: driver }
        }
        Driver::Postgres(server) => {
            let driver = Arc::new(postgres::Postgres::new(server, section.exclusive));
            Access { observer: driver.clone(), mutator: driver }
        }
    }
}

/// What a copy of it elsewhere would take.
pub async fn need(name: &str, section: &Section, call: &CallCtx) -> Result<Need, Failure> {
    match &section.driver {
        Driver::Sqlite { path } => sqlite::Sqlite::new(name, path, section.exclusive).need(call).await,
        Driver::Postgres(_) => Err(not_rehearsed()),
    }
}

/// Makes a copy of it where nothing is yet, in a folder of its own; what is live is only read. What the copy holds.
pub async fn duplicate(
    name: &str,
    section: &Section,
    (to, pace): (&Path, Arc<Pace>),
    call: &CallCtx,
) -> Result<Fingerprint, Failure> {
    match &section.driver {
        Driver::Sqlite { path } => sqlite::Sqlite::new(name, path, section.exclusive).duplicate(to, pace, call).await,
        Driver::Postgres(_) => Err(not_rehearsed()),
    }
}

/// What the system behind it would have to allow Backout, so that it can do what it is granted here.
pub async fn lacking(section: &Section, rights: &Rights, call: &CallCtx) -> Result<Vec<Lacking>, Failure> {
    match &section.driver {
        Driver::Sqlite { .. } => Ok(Vec::new()),
        Driver::Postgres(server) => {
            postgres::lacking(&postgres::Postgres::new(server, section.exclusive), rights, call).await
        }
    }
}

fn not_rehearsed() -> Failure {
    Failure::invalid("a database of a server has no copy that a rehearsal could work on")
        .hint("rehearse on a host of its own, with a site file of its own")
}
