//! Keeping applications out of a database, and letting them in again.
//!
//! A superuser sets the limit of connections to 0: the server then lets in none but superusers. `ALLOW_CONNECTIONS` would shut
//! Backout out too. Any other user takes the right to connect from everybody and from the roles that the site lists.
//!
//! What was set before stands in the database's own settings, written in the same transaction: it survives a crash at any moment,
//! the loss of a journal, and is found by whoever lifts the fence.
use super::{
    Postgres,
    activity::{self, Other},
    connection::{POLL, Session, Use},
    error::told,
};
use crate::resource::{CallCtx, Failure, FailureKind};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// The name of the setting. It is one of nobody's, so the server asks nobody what it means.
pub const SETTING: &str = "backout.fence";

/// What a fence has changed, as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Earlier {
    /// -1: none
    Limit(i32),
    /// Who had the right to connect; empty: everybody.
    Connect(Vec<String>),
}

/// How the database stands.
pub struct Standing {
    pub limit: i32,
    pub earlier: Option<Earlier>,
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Reads how a database stands; its settings are read by every session that looks.
pub async fn standing(session: &Client, database: &str) -> Result<Standing, Failure> {
    const READ: &str = "SELECT d.datconnlimit, s.setconfig FROM pg_database d \
         LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0 WHERE d.datname = $1";
    let row = session.query_opt(READ, &[&database]).await.map_err(told)?;
    let row = row.ok_or_else(|| Failure::not_found("the server has no such database"))?;
    let settings: Vec<String> = row.get::<_, Option<_>>(1).unwrap_or_default();
    let note = settings.iter().find_map(|setting| setting.strip_prefix(SETTING)?.strip_prefix('='));
    let earlier = note.map(serde_json::from_str).transpose().map_err(|_| {
        Failure::failed("what a fence has written into the settings of the database cannot be read")
            .hint(format!("look at `{SETTING}` in pg_db_role_setting, set back what it says, and reset it"))
    })?;
    Ok(Standing { limit: row.get(0), earlier })
}

/// The statement that writes down what was before, or that takes it away.
pub fn note(database: &str, earlier: Option<&Earlier>) -> Result<String, Failure> {
    let database = quoted(database);
    Ok(match earlier {
        None => format!("ALTER DATABASE {database} RESET {SETTING}"),
        Some(earlier) => {
            let text = serde_json::to_string(earlier).map_err(|e| Failure::failed(e.to_string()))?;
            format!("ALTER DATABASE {database} SET {SETTING} = {}", literal(&text))
        }
    })
}

pub fn limit(database: &str, connections: i32) -> String {
    format!("ALTER DATABASE {} CONNECTION LIMIT {connections}", quoted(database))
}

/// The statements, for the transaction of an exchange, that let a fence stay where applications look for the database: what goes
/// loses it, what comes gets it.
#[allow(dead_code, reason = "the exchange comes with the copies")]
pub fn carry(standing: &Standing, goes: &str, comes: &str) -> Result<Vec<String>, Failure> {
    let Some(earlier) = &standing.earlier else { return Ok(Vec::new()) };
    let mut statements = vec![note(comes, Some(earlier))?, note(goes, None)?];
    match earlier {
        Earlier::Limit(_) => statements.push(limit(comes, 0)),
        Earlier::Connect(roles) => {
            statements.extend(roles.iter().map(|role| revoke(comes, role)));
        }
    }
    Ok(statements)
}

fn revoke(database: &str, role: &str) -> String {
    format!("REVOKE CONNECT ON DATABASE {} FROM {}", quoted(database), grantee(role))
}

async fn closed(session: &Client, postgres: &Postgres, standing: &Standing) -> Result<bool, Failure> {
    match &standing.earlier {
        None => Ok(false),
        Some(Earlier::Limit(_)) => Ok(standing.limit == 0),
        Some(Earlier::Connect(_)) => Ok(may_connect(session, postgres).await?.is_empty()),
    }
}

/// Of the roles that the site lists, and of everybody.
async fn may_connect(session: &Client, postgres: &Postgres) -> Result<Vec<String>, Failure> {
    const MAY: &str = "SELECT rolname::text FROM pg_roles \
         WHERE rolname = ANY($2::text[]) AND has_database_privilege(oid, $1::text, 'CONNECT') \
         UNION ALL SELECT '' FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
         WHERE d.datname = $1 AND a.grantee = 0 AND a.privilege_type = 'CONNECT'";
    let server = &postgres.server;
    let rows = session.query(MAY, &[&server.database, &server.fence_roles]).await.map_err(told)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub async fn fenced(postgres: &Postgres, call: &CallCtx) -> Result<bool, Failure> {
    let session = postgres.maintenance(Use::Looking, call).await?;
    let standing = standing(&session, &postgres.server.database).await?;
    closed(&session, postgres, &standing).await
}

pub async fn hidden(postgres: &Postgres, call: &CallCtx) -> Result<bool, Failure> {
    let session = postgres.maintenance(Use::Looking, call).await?;
    Ok(standing(&session, &postgres.server.database).await?.earlier.is_some())
}

/// Whoever raised it may have been killed before it could end those who were in.
pub async fn shut(postgres: &Postgres, call: &CallCtx) -> Result<bool, Failure> {
    let session = postgres.maintenance(Use::Looking, call).await?;
    let database = &postgres.server.database;
    match standing(&session, database).await {
        Ok(standing) => {
            Ok(closed(&session, postgres, &standing).await? && activity::others(&session, database).await?.is_empty())
        }
        Err(e) if e.kind == FailureKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

pub async fn open(postgres: &Postgres, call: &CallCtx) -> Result<bool, Failure> {
    match hidden(postgres, call).await {
        // Nothing is fenced where nothing is.
        Err(e) if e.kind == FailureKind::NotFound => Ok(true),
        result => result.map(|hidden| !hidden),
    }
}

/// Shuts the database, gives those who are in it their time to leave, and ends them then.
pub async fn raise(postgres: &Postgres, within: Duration, call: &CallCtx) -> Result<(), Failure> {
    let until = (Instant::now() + within).min(call.deadline);
    let mut session = postgres.maintenance(Use::Writing, call).await?;
    let before = standing(&session, &postgres.server.database).await?;
    shut_out(&mut session, postgres, &before).await?;
    let result = empty(&session, postgres, until, call).await;
    // A fence that did not come about leaves nothing; one that stood before stays.
    if result.is_err() && before.earlier.is_none() {
        let _ = take_down(&mut session, postgres).await;
    }
    result
}

async fn shut_out(session: &mut Session, postgres: &Postgres, before: &Standing) -> Result<(), Failure> {
    let database = &postgres.server.database;
    let superuser = is_superuser(session).await?;
    let transaction = session.transaction().await.map_err(told)?;
    let mut statements = Vec::new();
    match &before.earlier {
        // Again: somebody may have torn it open.
        Some(Earlier::Limit(_)) => statements.push(limit(database, 0)),
        None if superuser => {
            refuse_superusers(transaction.client(), postgres).await?;
            statements.push(note(database, Some(&Earlier::Limit(before.limit)))?);
            statements.push(limit(database, 0));
        }
        earlier => {
            let had = refuse_unfit(transaction.client(), postgres).await?;
            if earlier.is_none() {
                statements.push(note(database, Some(&Earlier::Connect(had.clone())))?);
            }
            statements.extend(had.iter().map(|role| revoke(database, role)));
        }
    }
    for statement in statements {
        transaction.batch_execute(&statement).await.map_err(|e| not_allowed(e, postgres))?;
    }
    if !superuser {
        let open = may_connect(transaction.client(), postgres).await?;
        if let Some(role) = open.first() {
            return Err(Failure::denied(format!(
                "role {role} may connect by a right that somebody else than the owner has granted, or through another role"
            ))
            .hint("revoke that right, or let Backout work as a superuser"));
        }
        let row = transaction.query_one("SELECT has_database_privilege($1::text, 'CONNECT')", &[database]).await;
        if !row.map_err(told)?.get::<_, bool>(0) {
            return Err(Failure::denied("the fence would keep out Backout too")
                .hint("make Backout's user the owner of the database, or grant it CONNECT by name"));
        }
    }
    transaction.commit().await.map_err(told)
}

/// Everybody has no name.
fn grantee(role: &str) -> String {
    if role.is_empty() { "PUBLIC".to_owned() } else { quoted(role) }
}

/// Of a setting that no statement may set, the server says only that.
fn not_allowed(error: tokio_postgres::Error, postgres: &Postgres) -> Failure {
    let failure = told(error);
    if failure.kind != FailureKind::Denied {
        return failure;
    }
    let user = quoted(&postgres.server.user);
    failure.hint(format!(
        "a user who is no superuser has to own the database, and needs `GRANT SET ON PARAMETER {SETTING} TO {user}` \
         (PostgreSQL 15 or newer)"
    ))
}

async fn is_superuser(session: &Client) -> Result<bool, Failure> {
    let row = session.query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[]).await;
    Ok(row.map_err(told)?.get(0))
}

/// No limit binds a superuser, so an application that is one would come back.
async fn refuse_superusers(session: &Client, postgres: &Postgres) -> Result<(), Failure> {
    match listed_superuser(session, postgres).await? {
        Some(role) => Err(superuser(&role)),
        None => Ok(()),
    }
}

/// Of the roles that the site lists.
pub async fn listed_superuser(session: &Client, postgres: &Postgres) -> Result<Option<String>, Failure> {
    const WHICH: &str = "SELECT rolname::text FROM pg_roles WHERE rolsuper AND rolname = ANY($1::text[])";
    let rows = session.query(WHICH, &[&postgres.server.fence_roles]).await.map_err(told)?;
    Ok(rows.first().map(|row| row.get(0)))
}

fn superuser(role: &str) -> Failure {
    Failure::conflict(format!("role {role} is a superuser, whom the server always lets in"))
        .hint("let the application work as a role of its own, which is no superuser")
}

/// Those who have the right to connect and have to lose it.
async fn refuse_unfit(session: &Client, postgres: &Postgres) -> Result<Vec<String>, Failure> {
    let server = &postgres.server;
    if server.fence_roles.is_empty() {
        return Err(Failure::denied("Backout's user is no superuser, and the site does not say whom to keep out")
            .hint("list the application's roles: `fence-roles = [\"…\"]` in the section of the database"));
    }
    refuse_superusers(session, postgres).await?;
    const OWNER: &str = "SELECT r.rolname::text FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba \
         WHERE d.datname = $1 AND r.rolname = ANY($2::text[])";
    let rows = session.query(OWNER, &[&server.database, &server.fence_roles]).await.map_err(told)?;
    if let Some(row) = rows.first() {
        let role: String = row.get(0);
        return Err(Failure::conflict(format!(
            "role {role} owns the database: it may give itself what is taken from it"
        ))
        .hint("let another role own the database, or let Backout work as a superuser"));
    }
    const MISSING: &str =
        "SELECT name FROM unnest($1::text[]) AS name WHERE name NOT IN (SELECT rolname::text FROM pg_roles)";
    let rows = session.query(MISSING, &[&server.fence_roles]).await.map_err(told)?;
    if let Some(row) = rows.first() {
        let role: String = row.get(0);
        return Err(Failure::not_found(format!("the server has no role {role}, which `fence-roles` lists")));
    }
    const HAVE: &str = "SELECT coalesce(r.rolname::text, '') \
         FROM pg_database d CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
         LEFT JOIN pg_roles r ON r.oid = a.grantee \
         WHERE d.datname = $1 AND a.privilege_type = 'CONNECT' AND (a.grantee = 0 OR r.rolname = ANY($2::text[]))";
    let rows = session.query(HAVE, &[&server.database, &server.fence_roles]).await.map_err(told)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Waits until nobody is in it; when their time is over, ends those who are.
async fn empty(session: &Session, postgres: &Postgres, until: Instant, call: &CallCtx) -> Result<(), Failure> {
    const ROUNDS: u32 = 100;
    let database = &postgres.server.database;
    let mut ended = 0;
    loop {
        // In this order: who is on the way in is seen in the one place or in the other.
        let starting = starting(session, database).await?;
        let others = activity::others(session, database).await?;
        if others.is_empty() && starting == 0 {
            return Ok(());
        }
        let late = Instant::now() >= until;
        if late && let Some(other) = others.iter().find(|other| other.pid == 0) {
            return Err(Failure::timed_out(format!("{} holds on to the database", other.session.who))
                .hint("whoever prepared it has to say `COMMIT PREPARED` or `ROLLBACK PREPARED`"));
        }
        // One that was ended and is back came in where nobody should.
        if ended > 0
            && let Some(other) = others.iter().find(|other| other.superuser)
        {
            return Err(superuser(&other.role));
        }
        if late && ended >= ROUNDS {
            let who = if others.is_empty() { "somebody who connects".to_owned() } else { activity::named(&others) };
            return Err(Failure::timed_out(format!("the database is still in use by {who}")));
        }
        if late {
            end(session, &others, postgres).await?;
            ended += 1;
        }
        if !others.is_empty() {
            call.progress(&format!("waiting for {}", activity::named(&others)), 0, 0);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Those who were let in before the limit was set, and are no sessions yet: until then each holds a lock on the database.
async fn starting(session: &Client, database: &str) -> Result<i64, Failure> {
    const STARTING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.objid \
         WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.granted \
           AND l.mode = 'RowExclusiveLock' AND d.datname = $1 AND l.pid <> pg_backend_pid()";
    Ok(session.query_one(STARTING, &[&database]).await.map_err(told)?.get(0))
}

async fn end(session: &Client, others: &[Other], postgres: &Postgres) -> Result<(), Failure> {
    // By number and database, so that none is ended who has got the number since.
    const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = $1 AND datname = $2";
    for other in others.iter().filter(|other| other.pid != 0) {
        session.query_one(END, &[&other.pid, &postgres.server.database]).await.map_err(|e| {
            let failure = told(e);
            if failure.kind != FailureKind::Denied {
                return failure;
            }
            let user = quoted(&postgres.server.user);
            Failure::denied(format!("Backout may not end {}", other.session.who))
                .hint(format!("GRANT pg_signal_backend TO {user}; sessions of superusers only a superuser ends"))
        })?;
    }
    Ok(())
}

pub async fn lift(postgres: &Postgres, call: &CallCtx) -> Result<(), Failure> {
    let mut session = postgres.maintenance(Use::Writing, call).await?;
    match take_down(&mut session, postgres).await {
        // Nothing is fenced where nothing is.
        Err(e) if e.kind == FailureKind::NotFound => Ok(()),
        result => result,
    }
}

async fn take_down(session: &mut Session, postgres: &Postgres) -> Result<(), Failure> {
    let database = &postgres.server.database;
    let transaction = session.transaction().await.map_err(told)?;
    let standing = standing(transaction.client(), database).await?;
    let Some(earlier) = standing.earlier else { return Ok(()) };
    let mut statements = Vec::new();
    match earlier {
        // Another limit is somebody's own, and newer.
        Earlier::Limit(earlier) if standing.limit == 0 => statements.push(limit(database, earlier)),
        Earlier::Limit(_) => {}
        Earlier::Connect(roles) => {
            for role in roles {
                statements.push(format!("GRANT CONNECT ON DATABASE {} TO {}", quoted(database), grantee(&role)));
            }
        }
    }
    statements.push(note(database, None)?);
    for statement in statements {
        transaction.batch_execute(&statement).await.map_err(|e| not_allowed(e, postgres))?;
    }
    transaction.commit().await.map_err(told)
}
