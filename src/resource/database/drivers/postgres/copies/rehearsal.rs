//! What a rehearsal works on: a copy of the database on the same server, that the rehearsal takes for the live one. It is marked,
//! and so is all that the rehearsal itself makes of it; whatever became of the rehearsal, the marks find it.
use super::super::{Postgres, connection::Use, error::told};
use super::{
    mark::{self, Is, Mark, Names, quoted},
    standby, turn,
};
use crate::resource::{CallCtx, Failure, copies::Fingerprint, database::Host, room};
use tokio_postgres::Client;

/// What the copy is called.
pub fn name(live: &str) -> String {
    mark::bounded(&format!("backout_rehearsal_{live}"))
}

/// Bytes on the server.
pub async fn need(postgres: &Postgres, call: &CallCtx) -> Result<u64, Failure> {
    let session = postgres.connect(Use::Looking, call).await?;
    let size = "SELECT pg_database_size(current_database())";
    let bytes = session.query_one(size, &[]).await.map_err(told)?.get::<_, i64>(0).unsigned_abs();
    // Whoever shares a socket with the server shares its disks, as a rule; of another host nobody can say.
    if matches!(postgres.server.host, Host::Socket(_))
        && let Ok(row) = session.query_one("SELECT current_setting('data_directory')", &[]).await
    {
        let free = room::left(row.get::<_, String>(0).as_ref());
        if free > 0 && bytes.saturating_mul(2) > free / 2 {
            return Err(Failure::failed(format!(
                "its rehearsal would take about {} on the server's disk, and may take half of what is free ({})",
                room::size(bytes.saturating_mul(2)),
                room::size(free)
            )));
        }
    }
    Ok(bytes)
}

/// Makes it, proven and open. What it holds.
pub async fn duplicate(postgres: &Postgres, call: &CallCtx) -> Result<Fingerprint, Failure> {
    let admin = turn(postgres, call).await?;
    let live = &postgres.server.database;
    drop_all(&admin, live).await?;
    let names = Names::for_rehearsal(live);
    let snapshot = standby::take_as(postgres, &admin, &names, false, call).await?;
    // It is not brought up to date.
    super::detector::forget(&admin, &names).await;
    let mark = Mark {
        is: Is::Rehearsal,
        id: names.id.clone(),
        of: live.clone(),
        proof: None,
        comment: None,
        pending: false,
        since: None,
    };
    let open = format!(
        "BEGIN; {}; ALTER DATABASE {} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1; COMMIT",
        mark::comment(&names.standby, Some(&mark.text()?)),
        quoted(&names.standby)
    );
    admin.batch_execute(&open).await.map_err(told)?;
    Ok(snapshot.fingerprint)
}

/// Drops what a rehearsal of it has left, with everybody who is in it.
pub async fn clear(postgres: &Postgres, call: &CallCtx) -> Result<(), Failure> {
    let admin = turn(postgres, call).await?;
    drop_all(&admin, &postgres.server.database).await
}

async fn drop_all(admin: &Client, live: &str) -> Result<(), Failure> {
    let names = "SELECT datname::text FROM pg_database WHERE datname LIKE 'backout\\_%' ORDER BY 1";
    let rehearsal = name(live);
    for row in admin.query(names, &[]).await.map_err(told)? {
        let Some(found) = mark::find(admin, row.get(0)).await? else { continue };
        let ours = found.mark.as_ref().is_some_and(|mark| {
            let it = found.name == rehearsal || mark.is == Is::Rehearsal;
            it && mark.of == live || mark.of == rehearsal
        });
        // One that was killed before it could be marked bears the name, and has never been opened.
        if ours || found.name == rehearsal && found.unborn {
            mark::drop(admin, &found).await?;
        }
    }
    Ok(())
}
