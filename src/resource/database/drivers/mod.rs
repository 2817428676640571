//! A file, or a folder, per database system.
mod archives;
mod mariadb;
mod postgres;
mod servers;
pub mod simulated;
mod sqlite;
mod sum;

pub use servers::Lacking;

use super::{Database, Driver, Section, Server};
use crate::resource::{Access, CallCtx, Failure, Pace, Rights, copies::Fingerprint, room::Need};
use std::{path::Path, sync::Arc};

/// Both halves of the driver that the section names. Nothing is opened yet: a database that is away is an answer, later.
pub fn open(name: &str, section: &Section) -> Access<Database> {
    match &section.driver {
        Driver::Sqlite { path } => {
            let driver = Arc::new(sqlite::Sqlite::new(name, path, section));
            Access { observer: driver.clone(), mutator: driver }
        }
        Driver::Postgres(server) => {
            let driver = postgres::Postgres::new(server, section.exclusive).archived(section.method.repository());
            let driver = Arc::new(driver.by(&section.method));
            Access { observer: driver.clone(), mutator: driver }
        }
        Driver::MariaDb(server) => {
            let driver = mariadb::MariaDb::new(server, section.exclusive).archived(section.method.repository());
            let driver = Arc::new(driver);
            Access { observer: driver.clone(), mutator: driver }
        }
    }
}

/// What a copy of it elsewhere would take.
pub async fn need(name: &str, section: &Section, call: &CallCtx) -> Result<Need, Failure> {
    match &section.driver {
        Driver::Sqlite { path } => sqlite::Sqlite::new(name, path, section).need(call).await,
        Driver::Postgres(server) => postgres::Postgres::new(server, section.exclusive).need(call).await,
        Driver::MariaDb(_) => Err(not_rehearsed()),
    }
}

/// Makes a copy of it where nothing is yet, in a folder of its own, or beside it on its server; what is live is only read. What the
/// copy holds.
pub async fn duplicate(
    name: &str,
    section: &Section,
    (to, pace): (Option<&Path>, Arc<Pace>),
    call: &CallCtx,
) -> Result<Fingerprint, Failure> {
    match &section.driver {
        Driver::Sqlite { path } => {
            let to = to.ok_or_else(|| Failure::not_found("the site does not name it"))?;
            sqlite::Sqlite::new(name, path, section).duplicate(to, pace, call).await
        }
        // A server copies by its own means.
        Driver::Postgres(server) => postgres::Postgres::new(server, section.exclusive).duplicate(call).await,
        Driver::MariaDb(_) => Err(not_rehearsed()),
    }
}

/// The section of what a rehearsal takes for it, where that lies in no file.
pub fn rehearsed(section: &Section) -> Option<Section> {
    let Driver::Postgres(server) = &section.driver else { return None };
    let server = Server { database: postgres::rehearsal_name(&server.database), ..server.clone() };
    Some(Section { driver: Driver::Postgres(server), ..section.clone() })
}

/// Drops what a rehearsal has left on a server.
pub async fn clear_rehearsal(section: &Section, call: &CallCtx) -> Result<(), Failure> {
    match &section.driver {
        Driver::Sqlite { .. } | Driver::MariaDb(_) => Ok(()),
        Driver::Postgres(server) => postgres::Postgres::new(server, section.exclusive).clear_rehearsal(call).await,
    }
}

/// What the system behind it would have to allow Backout, so that it can do what it is granted here.
pub async fn lacking(section: &Section, rights: &Rights, call: &CallCtx) -> Result<Vec<Lacking>, Failure> {
    match &section.driver {
        Driver::Sqlite { .. } => Ok(Vec::new()),
        Driver::Postgres(server) => {
            let postgres = postgres::Postgres::new(server, section.exclusive).by(&section.method);
            postgres::lacking(&postgres, rights, call).await
        }
        Driver::MariaDb(server) => {
            mariadb::lacking(&mariadb::MariaDb::new(server, section.exclusive), rights, call).await
        }
    }
}

fn not_rehearsed() -> Failure {
    Failure::invalid("a database of MariaDB has no copy that a rehearsal could work on")
        .hint("rehearse on a host of its own, with a site file of its own")
}
