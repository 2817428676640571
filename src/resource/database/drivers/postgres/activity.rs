//! Who works on the database.
use super::{
    super::servers::{self, short},
    Postgres,
    connection::{PREFIX, Use},
    error::told,
};
use crate::resource::{CallCtx, Failure, database::Session};
use tokio_postgres::Client;

/// Somebody other than Backout.
pub struct Other {
    /// 0: a prepared transaction, which no process holds
    pub pid: i32,
    /// No limit on connections keeps it out.
    pub superuser: bool,
    pub role: String,
    pub session: Session,
}

/// Whose name nobody may see is counted all the same. Workers of the server itself are no sessions, those that apply what a
/// subscription brings are.
const SESSIONS: &str = "SELECT a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), \
        coalesce(host(a.client_addr), ''), coalesce(a.state, ''), \
        greatest(0, extract(epoch FROM clock_timestamp() - a.backend_start))::bigint, coalesce(r.rolsuper, false), \
        a.backend_type IS NULL OR a.query = '<insufficient privilege>' \
     FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid \
     WHERE a.datname = $1 AND a.pid <> pg_backend_pid() \
       AND (a.backend_type IS NULL OR a.backend_type NOT IN ('autovacuum worker', 'parallel worker')) \
       AND NOT (a.usename = current_user AND coalesce(a.application_name, '') LIKE $2) \
     ORDER BY a.backend_start, a.pid";
/// They hold their locks, and nobody is connected.
const PREPARED: &str = "SELECT gid, owner::text, greatest(0, extract(epoch FROM clock_timestamp() - prepared))::bigint \
     FROM pg_prepared_xacts WHERE database = $1 ORDER BY prepared, gid";

pub async fn activity(postgres: &Postgres, call: &CallCtx) -> Result<Vec<Session>, Failure> {
    // From the database itself, so that one that is not there is no database that nobody uses.
    let session = postgres.connect(Use::Looking, call).await?;
    Ok(others(&session, &postgres.server.database).await?.into_iter().map(|other| other.session).collect())
}

/// All but our own.
pub async fn others(session: &Client, database: &str) -> Result<Vec<Other>, Failure> {
    let ours = format!("{PREFIX}%");
    let mut others = Vec::new();
    for row in session.query(SESSIONS, &[&database, &ours]).await.map_err(told)? {
        let (pid, role, application): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        let (address, state, age): (String, String, i64) = (row.get(3), row.get(4), row.get(5));
        let application =
            if application.is_empty() { "a program without a name".to_owned() } else { short(&application) };
        let from = if address.is_empty() { "this host".to_owned() } else { address };
        let hidden: bool = row.get(7);
        let state = match state.as_str() {
            _ if hidden => "not shown to Backout's user (GRANT pg_read_all_stats)".to_owned(),
            "" => "working".to_owned(),
            state => state.to_owned(),
        };
        let who = format!("{application} as {} from {from} (session {pid})", short(&role));
        let session = Session { who, state, age_seconds: seconds(age) };
        others.push(Other { pid, superuser: row.get(6), role, session });
    }
    for row in session.query(PREPARED, &[&database]).await.map_err(told)? {
        let (gid, role, age): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        let who = format!("prepared transaction {} of {}", short(&gid), short(&role));
        let session = Session { who, state: "prepared".to_owned(), age_seconds: seconds(age) };
        others.push(Other { pid: 0, superuser: false, role, session });
    }
    Ok(others)
}

fn seconds(age: i64) -> u32 {
    u32::try_from(age).unwrap_or(u32::MAX)
}

/// For people: the first ones by name.
pub fn named(others: &[Other]) -> String {
    servers::named(others.iter().map(|other| &other.session))
}
