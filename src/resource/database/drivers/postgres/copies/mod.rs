//! Copies of a database on its own server: a stand-by is another database, and an exchange gives both other names.
//!
//! Only superusers can make them: no other user can see all of a database, keep everybody out of the copy, and give the
//! copy all that the database has.
mod beside;
mod closed;
mod content;
mod exchange;
mod loss;
mod mark;
mod merge;
mod rows;
mod standby;
mod structure;
mod tools;
mod whose;

pub use exchange::{exchange, exchanged};
pub use loss::loss;
pub use standby::{discard, fingerprint, refresh, take};

use super::{
    Postgres,
    connection::{POLL, Session, Use},
    error::told,
};
use crate::resource::{CallCtx, Failure, copies::Snapshot};
use sha2::{Digest, Sha256};

/// A digest of what is declared, whatever it holds and whoever owns it.
pub async fn schema(postgres: &Postgres, call: &CallCtx) -> Result<String, Failure> {
    let session = content::comparing(postgres, &postgres.server.database, Use::Looking, call).await?;
    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(told)?;
    Ok(structure::read(&session).await?.digest(false))
}

pub async fn inspect(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
    let admin = turn(postgres, call).await?;
    let names = mark::Names::of(postgres, &snapshot.id);
    standby::check(postgres, &admin, &names, snapshot, call).await.map(|_| ())
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
