//! A stand-by is closed to everybody, superusers included. Backout opens it for as long as it takes to connect.
use super::super::{
    Postgres,
    connection::{POLL, PREFIX, Session, Use},
    error::told,
};
use super::{
    content,
    mark::{self, Found, Proof, quoted},
};
use crate::resource::{CallCtx, Failure, copies::Fingerprint};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Connections into a copy that nobody else can get into.
pub struct Inside {
    pub sessions: Vec<Session>,
    /// The row that closed it.
    row: String,
}

pub async fn open(admin: &Client, name: &str, open: bool) -> Result<(), Failure> {
    let set = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {open}", quoted(name));
    admin.batch_execute(&set).await.map_err(told)
}

/// That it is opened at all makes it another row, and the earlier proof is none any more, whatever happens then.
pub async fn enter(
    postgres: &Postgres,
    admin: &Client,
    name: &str,
    (count, with): (usize, Use),
    call: &CallCtx,
) -> Result<Inside, Failure> {
    open(admin, name, true).await?;
    let connected = async {
        let mut sessions = Vec::new();
        for _ in 0..count {
            sessions.push(content::comparing(postgres, name, with, call).await?);
        }
        Ok(sessions)
    };
    let connected: Result<Vec<Session>, Failure> = connected.await;
    open(admin, name, false).await?;
    let sessions = connected?;
    let found = mark::find(admin, name).await?.ok_or_else(|| Failure::unproven("the copy is gone"))?;
    let mut ours: Vec<i32> = Vec::new();
    for session in &sessions {
        ours.push(session.query_one("SELECT pg_backend_pid()", &[]).await.map_err(told)?.get(0));
    }
    alone(admin, found.oid, &ours).await?;
    Ok(Inside { sessions, row: found.row })
}

/// Whoever else is in it has no business there. Workers of the server change nothing that can be read.
async fn alone(admin: &Client, oid: u32, ours: &[i32]) -> Result<(), Failure> {
    const OTHERS: &str = "SELECT pid, coalesce(application_name, '') LIKE $3 AND usename = current_user FROM pg_stat_activity \
        WHERE datid = $1 AND pid <> ALL($2) AND backend_type NOT IN ('autovacuum worker', 'parallel worker')";
    // Our own from before leave when they notice that they are not needed any more.
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let others = admin.query(OTHERS, &[&oid, &ours, &format!("{PREFIX}%")]).await.map_err(told)?;
        let Some(first) = others.iter().find(|row| !row.get::<_, bool>(1)).or(others.first()) else { return Ok(()) };
        if !first.get::<_, bool>(1) || Instant::now() >= patience {
            let pid: i32 = first.get(0);
            return Err(Failure::conflict(format!("session {pid} is in the copy, where nobody else has any business")));
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Inside {
    pub async fn proof(&self, admin: &Client, fingerprint: &Fingerprint) -> Result<Proof, Failure> {
        Ok(Proof { row: self.row.clone(), started: started(admin).await?, digest: mark::digest(fingerprint)? })
    }
}

async fn started(admin: &Client) -> Result<String, Failure> {
    let started = "SELECT extract(epoch FROM pg_postmaster_start_time())::text";
    Ok(admin.query_one(started, &[]).await.map_err(told)?.get(0))
}

/// Whether nobody can have been in it since it was found to hold this.
pub async fn proven(admin: &Client, found: &Found, fingerprint: &Fingerprint) -> Result<bool, Failure> {
    let Some(proof) = found.mark.as_ref().and_then(|mark| mark.proof.as_ref()) else { return Ok(false) };
    let same = !found.open && proof.row == found.row && proof.digest == mark::digest(fingerprint)?;
    Ok(same && proof.started == started(admin).await?)
}

/// Enters a copy without changing anything that is part of its proof; when it was proven, it is so again, by its new row.
pub async fn visit(
    postgres: &Postgres,
    admin: &Client,
    found: &Found,
    fingerprint: &Fingerprint,
    (count, with): (usize, Use),
    call: &CallCtx,
) -> Result<Vec<Session>, Failure> {
    let stood = proven(admin, found, fingerprint).await?;
    let inside = enter(postgres, admin, &found.name, (count, with), call).await?;
    if let (true, Some(mark)) = (stood, &found.mark) {
        let mark = mark::Mark { proof: Some(inside.proof(admin, fingerprint).await?), ..mark.clone() };
        mark::write(admin, &found.name, &mark).await?;
    }
    Ok(inside.sessions)
}
