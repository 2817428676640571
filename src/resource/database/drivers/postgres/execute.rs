//! What scripts may change in SQL, and how it is known afterwards whether it has taken effect.
//!
//! The server numbers its transactions and keeps, for a long time, how each one ended. So the number is written down before the
//! commit, with what says of which server it is. A server that somebody has set back counts the same numbers again, on another
//! timeline; one that crashes gives a number again of which nothing had come to its disk. So something of the transaction does,
//! before its number is written down.
use super::{
    super::servers::limit_length,
    Postgres,
    connection::{POLL, Session, Use},
    error::told,
    statements::split,
};
use crate::resource::{CallCtx, Failure, FailureKind, database::Executed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Instant;
use tokio_postgres::Client;

const MAX_SCRIPT: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Evidence {
    Statements(Mark),
    /// Written when they have taken effect, so that nobody has to ask a server that may not know any more.
    Committed {
        rows: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Mark {
    server: Identity,
    /// of the database: another one may bear its name later
    oid: u32,
    transaction: String,
    rows: u64,
}

/// Which server it is, and on which timeline it writes.
#[derive(PartialEq, Serialize, Deserialize)]
struct Identity {
    system: String,
    timeline: String,
}

/// Rows that changed, as the server counts them for each statement: without those that triggers and foreign keys changed.
pub async fn execute(postgres: &Postgres, sql: &str, call: &CallCtx) -> Result<u64, Failure> {
    limit_length(sql, MAX_SCRIPT)?;
    let statements = split(sql);
    if statements.is_empty() {
        return Err(Failure::invalid("there is no statement"));
    }
    // Without this they would take effect before anything is written down.
    if statements.iter().any(|statement| statement.is_of_transactions()) {
        return Err(Failure::invalid("a script begins and ends no transaction: its statements are one"));
    }
    let mut session = postgres.connect(Use::Obeying, call).await?;
    session.batch_execute("BEGIN READ WRITE").await.map_err(told)?;
    let mut mark = mark(&session).await?;
    for statement in statements {
        // In the protocol for one statement: what was cut wrongly is refused here.
        let count = session.execute_typed(statement.text, &[]).await.map_err(told)?;
        if statement.changes_rows() {
            mark.rows = mark.rows.saturating_add(count);
        }
    }
    if transaction(&session).await? != mark.transaction {
        return Err(Failure::failed("the statements have ended their own transaction; look what of them took effect"));
    }
    let rows = mark.rows;
    // A commit that is reported is never undone by a power failure, whatever the script has set.
    const DURABLE: &str = "SELECT pg_catalog.set_config('synchronous_commit', 'on', true) \
         WHERE pg_catalog.current_setting('synchronous_commit') = 'off'";
    session.batch_execute(DURABLE).await.map_err(told)?;
    keep_number(postgres, &session, call).await?;
    call.evidence(written(&Evidence::Statements(mark))?).await?;
    if Instant::now() >= call.deadline {
        return Err(Failure::timed_out("the time was over; nothing was changed"));
    }
    session.batch_execute("COMMIT").await.map_err(told)?;
    session.finished();
    // It has happened. A journal that cannot take this cannot take the outcome either, and says so then.
    if let Ok(evidence) = written(&Evidence::Committed { rows }) {
        let _ = call.evidence(evidence).await;
    }
    Ok(rows)
}

fn written(evidence: &Evidence) -> Result<Value, Failure> {
    serde_json::to_value(evidence).map_err(|e| Failure::failed(e.to_string()))
}

/// At the beginning of a transaction, to which it gives its number.
async fn mark(session: &Session) -> Result<Mark, Failure> {
    let transaction = transaction(session).await?;
    let row = session
        .query_one("SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()", &[])
        .await
        .map_err(told)?;
    Ok(Mark { server: identity(session).await?, oid: row.get(0), transaction, rows: 0 })
}

async fn transaction(session: &Session) -> Result<String, Failure> {
    let row = session.query_one("SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text", &[]).await.map_err(told)?;
    Ok(row.get(0))
}

/// A record of the transaction goes into the log of the server, and the log to its disk: by the commit of another transaction,
/// after which none before it is lost. The record says nothing and changes nothing.
async fn keep_number(postgres: &Postgres, session: &Client, call: &CallCtx) -> Result<(), Failure> {
    const RECORD: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'backout', '')";
    session.batch_execute(RECORD).await.map_err(told)?;
    let other = postgres.connect(Use::Writing, call).await?;
    other.batch_execute("SET synchronous_commit = local").await.map_err(told)?;
    other.batch_execute(RECORD).await.map_err(told)
}

async fn identity(session: &Client) -> Result<Identity, Failure> {
    // What the control file says of the timeline may be of before the server was promoted.
    let row = session
        .query_one(
            "SELECT system_identifier::pg_catalog.text, \
                 pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) \
             FROM pg_catalog.pg_control_system()",
            &[],
        )
        .await
        .map_err(told)?;
    Ok(Identity { system: row.get(0), timeline: row.get(1) })
}

pub async fn executed(postgres: &Postgres, evidence: &[Value], call: &CallCtx) -> Result<Executed, Failure> {
    // What has no evidence yet is not committed, and is ended all the same: it holds locks.
    let session = postgres.maintenance(Use::Looking, call).await?;
    postgres.end_others(&session, call).await?;
    // The last attempt is the one that can have happened: each one before was looked at before the next began.
    let Some(last) = evidence.last() else { return Ok(Executed::NotDone) };
    let mark = match Evidence::deserialize(last) {
        Ok(Evidence::Statements(mark)) => mark,
        Ok(Evidence::Committed { rows }) => return Ok(Executed::Done { rows }),
        Err(e) => return Ok(Executed::Unclear(format!("what was written down before cannot be read: {e}"))),
    };
    let unclear = |why: &str| {
        let (number, rows) = (&mark.transaction, mark.rows);
        Executed::Unclear(format!(
            "{why}; look in the database whether the statements have taken effect (transaction {number}, {rows} rows)"
        ))
    };
    if identity(&session).await? != mark.server {
        return Ok(unclear("another server, or one that was set back, has taken the place of the server since"));
    }
    let name = &postgres.server.database;
    let row = session.query_opt("SELECT oid FROM pg_database WHERE datname = $1", &[name]).await.map_err(told)?;
    match row.map(|row| row.get::<_, u32>(0)) {
        None => return Ok(unclear("the database is not there any more")),
        Some(oid) if oid != mark.oid => {
            return Ok(unclear("another database has taken the place of the database since"));
        }
        Some(_) => {}
    }
    loop {
        let row = session.query_one("SELECT pg_xact_status($1::text::xid8)", &[&mark.transaction]).await;
        let status: Option<String> = match row {
            Ok(row) => row.get(0),
            // A number that the server has not come to yet.
            Err(e) if e.code().is_some_and(|code| code.code() == "22023") => {
                return Ok(unclear("the server does not know the transaction"));
            }
            Err(e) => return Err(told(e)),
        };
        match status.as_deref() {
            Some("committed") => return Ok(Executed::Done { rows: mark.rows }),
            Some("aborted") => return Ok(Executed::NotDone),
            Some("in progress") => {
                end_transaction(&session, &mark.transaction).await?;
                if call.remaining() < POLL * 4 {
                    return Ok(unclear("the server is still at it"));
                }
                tokio::time::sleep(POLL).await;
            }
            // So long ago that the server has forgotten it.
            _ => return Ok(unclear("the server has forgotten the transaction")),
        }
    }
}

/// Ends the session that has this transaction, whatever it calls itself.
async fn end_transaction(session: &Client, number: &str) -> Result<(), Failure> {
    const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE backend_xid IS NOT NULL AND backend_xid::text::bigint = $1::text::bigint & 4294967295";
    match session.query_one(END, &[&number]).await.map_err(told) {
        Ok(_) => Ok(()),
        // Its own user's it is not, so somebody who may has to end it.
        Err(e) if e.kind == FailureKind::Denied => Ok(()),
        Err(e) => Err(e),
    }
}
