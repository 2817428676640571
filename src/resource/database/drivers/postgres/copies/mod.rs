//! Copies of a database on its own server: a stand-by is another database, and an exchange gives both other names.
//!
//! Only superusers can make them: no other user can see all of a database, keep everybody out of the copy, and give the
//! copy all that the database has.
pub mod archive;
mod around;
mod auto;
mod beside;
mod blocks;
mod clone;
mod closed;
mod content;
mod detector;
mod exchange;
mod later;
mod loss;
mod mark;
mod merge;
mod rehearsal;
mod rows;
mod salvage;
mod standby;
mod structure;
mod tools;
mod whose;

pub use exchange::{exchange, exchanged};
pub use later::{Left, counted};
pub use loss::loss;
pub use rehearsal::{clear, duplicate, name as rehearsal_name, need};
pub use salvage::salvage;
pub use standby::{discard, fingerprint, refresh, take};

use super::{
    Postgres,
    connection::{POLL, Session, Use},
    error::told,
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Snapshot, Way},
    database::Method,
    room,
};
use sha2::{Digest, Sha256};

/// A digest of what is declared, whatever it holds and whoever owns it.
pub async fn schema(postgres: &Postgres, call: &CallCtx) -> Result<String, Failure> {
    let session = content::comparing(postgres, &postgres.server.database, Use::Looking, call).await?;
    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(told)?;
    Ok(structure::read(&session).await?.digest(false))
}

/// How the next copy would be made.
pub async fn way(postgres: &Postgres, call: &CallCtx) -> Result<Option<Way>, Failure> {
    if !matches!(postgres.method, Method::Clone | Method::Auto { .. }) {
        return Ok(None);
    }
    let admin = postgres.maintenance(Use::Looking, call).await?;
    let (choice, looked) = clone::choose(postgres, &admin, call).await?;
    let words = choice.why.unwrap_or_else(|| looked.words());
    Ok(Some(Way { later: choice.clone, words }))
}

pub async fn inspect(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
    if snapshot.comes_later() {
        return Err(clone::not_made());
    }
    let admin = turn(postgres, call).await?;
    let names = mark::Names::of(postgres, &snapshot.id);
    standby::check(postgres, &admin, &names, snapshot, call).await.map(|_| ())
}

/// What a refresh would be told of changes, and would read.
pub async fn detector(postgres: &Postgres, call: &CallCtx) -> Result<String, Failure> {
    let session = postgres.maintenance(Use::Looking, call).await?;
    let size = "SELECT coalesce((SELECT pg_database_size(oid) FROM pg_database WHERE datname = $1), 0)";
    let bytes: i64 = session.query_one(size, &[&postgres.server.database]).await.map_err(told)?.get(0);
    let size = room::size(bytes.unsigned_abs());
    Ok(match detector::means(&session).await {
        Ok(by) => format!("changes are found by {}, so of {size} only what was written to is read", by.name()),
        Err(why) => format!("all {size} is compared, because {why}"),
    })
}

pub async fn quiet(postgres: &Postgres, call: &CallCtx) -> Result<(), Failure> {
    turn(postgres, call).await.map(|_| ())
}

/// One works on the copies of a database at a time, whichever process it is in: the server keeps the turn for as long as the
/// connection stands. It writes, also for what only looks at the database: a copy has to be opened before one can look at it.
async fn turn(postgres: &Postgres, call: &CallCtx) -> Result<Session, Failure> {
    let admin = postgres.maintenance(Use::Writing, call).await?;
    admin.batch_execute("SET client_min_messages = error").await.map_err(told)?;
    let name = format!("backout copies of {}", postgres.server.database);
    let digest = Sha256::digest(name);
    let number = digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    loop {
        let got = admin.query_one("SELECT pg_try_advisory_lock($1)", &[&number]).await.map_err(told)?;
        if got.get(0) {
            return Ok(admin);
        }
        tokio::time::sleep(POLL).await;
    }
}
