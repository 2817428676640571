//! What stands around a database and does not follow an exchange by itself: a pooler before it, replicas behind it.
use super::super::{
    Postgres,
    connection::{POLL, Use},
    error::told,
};
use super::mark::{self, Found, Mark};
use crate::resource::{
    CallCtx, Failure,
    process::{Attended, Redaction},
};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio_postgres::Client;

/// For each replica to come to where the exchange is.
const REPLAYED_WITHIN: Duration = Duration::from_secs(60);

/// Whether anything is left to do once the names are exchanged.
pub fn anything(postgres: &Postgres) -> bool {
    let around = &postgres.server.around;
    around.pooler.is_some() || !around.replicas.is_empty()
}

/// The replicas can be reached, and are replicas of this server. One that is away would go on showing the old database when it is
/// back.
pub async fn reachable(postgres: &Postgres, admin: &Client, call: &CallCtx) -> Result<(), Failure> {
    const SYSTEM: &str = "SELECT pg_is_in_recovery(), system_identifier::text FROM pg_control_system()";
    if postgres.server.around.replicas.is_empty() {
        return Ok(());
    }
    let system: String = admin.query_one(SYSTEM, &[]).await.map_err(told)?.get(1);
    for (number, replica) in (1..).zip(&postgres.server.around.replicas) {
        let replica = Postgres::new(replica, false);
        let reached = replica.maintenance(Use::Looking, call).await;
        let away = |failure: Failure| {
            Failure::unavailable(format!("replica {number} of the site cannot be reached: {}", failure.message))
                .hint("its sessions would go on reading the old database; take it out of `replicas` if it is gone")
        };
        let session = reached.map_err(away)?;
        let row = session.query_one(SYSTEM, &[]).await.map_err(told)?;
        if !row.get::<_, bool>(0) || row.get::<_, String>(1) != system {
            return Err(Failure::conflict(format!("replica {number} of the site is no replica of this server")));
        }
    }
    Ok(())
}

/// Has the pooler hold back its clients. Whether it does when the command failed nobody knows, so it is told to go on then.
pub async fn pause(postgres: &Postgres) -> Result<(), Failure> {
    let Some(pooler) = &postgres.server.around.pooler else { return Ok(()) };
    let Err(why) = run(&pooler.pause, pooler.timeout).await else { return Ok(()) };
    let after = match resume(postgres).await {
        Ok(()) => "nothing was exchanged".to_owned(),
        Err(failure) => format!("nothing was exchanged, and {}", failure.message),
    };
    Err(Failure::conflict(format!("the pooler cannot be paused: {why}; {after}")))
}

pub async fn resume(postgres: &Postgres) -> Result<(), Failure> {
    let Some(pooler) = &postgres.server.around.pooler else { return Ok(()) };
    let resumed = run(&pooler.resume, pooler.timeout).await;
    resumed.map_err(|why| {
        Failure::failed(format!("the pooler may hold back its clients: it cannot be resumed: {why}"))
            .hint("see to it that the command of the site works, or do by hand what it does; then `backout resume`")
    })
}

/// A command line of the site's own.
async fn run(line: &[String], within: Duration) -> Result<(), String> {
    let Some((program, arguments)) = line.split_first() else { return Ok(()) };
    let path = ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    let env: BTreeMap<String, String> = [path, ("LC_ALL".to_owned(), "C.UTF-8".to_owned())].into();
    let attended = Attended::start(Path::new(program), arguments, &env);
    let attended = attended.map_err(|e| format!("the command cannot be run: {e}"))?;
    let (well, said) = attended.ended(Instant::now() + within).await.map_err(|e| e.to_string())?;
    match well {
        Some(true) => Ok(()),
        None => Err(format!("the command did not end within {within:?}")),
        Some(false) => {
            let text = said.text(&Redaction::default());
            let line = crate::plain::shown(text.lines().find(|line| !line.trim().is_empty()).unwrap_or("says nothing"));
            Err(format!("the command failed ({line})"))
        }
    }
}

/// After an exchange, and again until it has worked: nobody reads what was set aside any more, and clients get in.
pub async fn settle(postgres: &Postgres, admin: &Client, aside: &Found, call: &CallCtx) -> Result<(), Failure> {
    let Some(mark) = aside.mark.as_ref().filter(|mark| mark.pending) else { return Ok(()) };
    let moved = move_readers(postgres, admin, aside.oid, call).await;
    // Clients wait, whatever became of the replicas.
    resume(postgres).await?;
    moved?;
    mark::write(admin, &aside.name, &Mark { pending: false, ..mark.clone() }).await
}

async fn move_readers(postgres: &Postgres, admin: &Client, oid: u32, call: &CallCtx) -> Result<(), Failure> {
    if postgres.server.around.replicas.is_empty() {
        return Ok(());
    }
    let position = "SELECT pg_current_wal_flush_lsn()::text";
    let position: String = admin.query_one(position, &[]).await.map_err(told)?.get(0);
    for (number, replica) in (1..).zip(&postgres.server.around.replicas) {
        let ended = end_readers(&Postgres::new(replica, false), oid, &position, call).await;
        ended.map_err(|failure| {
            let what = "exchanged, but sessions may go on reading the old database";
            Failure::failed(format!("{what} on replica {number} of the site: {}", failure.message))
                .hint("have it catch up, or end its sessions; then `backout resume`")
        })?;
    }
    Ok(())
}

/// A session keeps the database that it was let into, whatever that is called later.
async fn end_readers(replica: &Postgres, oid: u32, position: &str, call: &CallCtx) -> Result<(), Failure> {
    const THERE: &str = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
    const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datid = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let call = CallCtx { deadline: Instant::now() + REPLAYED_WITHIN, ..call.clone() };
    let session = replica.maintenance(Use::Looking, &call).await?;
    // Until then others would be let into the old one still.
    while !session.query_one(THERE, &[&position]).await.map_err(told)?.get::<_, bool>(0) {
        if Instant::now() >= call.deadline {
            return Err(Failure::timed_out("it does not come to where the exchange is"));
        }
        tokio::time::sleep(POLL).await;
    }
    while session.query_one(END, &[&oid]).await.map_err(told)?.get::<_, i64>(0) > 0 {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
