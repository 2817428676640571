//! Those who are at work in a database.
use super::super::super::{super::servers::short, connection::POLL, error::told};
use super::{Without, why};
use crate::resource::CallCtx;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Who works longer than this on one transaction is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Transactions that were given a number before this one. Those of other databases change nothing in this one. One that is
/// being prepared is in the second list before it leaves the first, so they are asked for in this order.
const WORKING: &str = "SELECT pid, coalesce(application_name, '') FROM pg_stat_activity \
    WHERE datid = $1 AND backend_xid IS NOT NULL AND age(backend_xid) > age($2::text::xid8::xid) ORDER BY pid LIMIT 1";
const PREPARED: &str = "SELECT 0, gid FROM pg_prepared_xacts p JOIN pg_database d ON d.datname = p.database \
    WHERE d.oid = $1 AND age(p.transaction) > age($2::text::xid8::xid) ORDER BY gid LIMIT 1";

/// Waits until all have ended that were under way.
pub async fn ended(admin: &Client, database: u32, call: &CallCtx) -> Without<()> {
    let number = admin.query_one("SELECT pg_current_xact_id()::text", &[]).await.map_err(|e| why(told(e)))?;
    let number: String = number.get(0);
    let until = Instant::now() + PATIENCE.min(call.remaining() / 10);
    let mut said = false;
    loop {
        let mut who = None;
        for query in [WORKING, PREPARED] {
            let row = admin.query_opt(query, &[&database, &number]).await.map_err(|e| why(told(e)))?;
            who = who.or(row.map(|row| (row.get::<_, i32>(0), row.get::<_, String>(1))));
        }
        let Some((session, name)) = who else { return Ok(()) };
        let who = if session == 0 {
            format!("prepared transaction {}", short(&name))
        } else {
            format!("session {session} ({})", short(&name))
        };
        if Instant::now() >= until {
            return Err(format!("{who} was at work before the copy, and did not end"));
        }
        if !said {
            call.progress(&format!("waiting for {who} to end its transaction"), 0, 0);
            said = true;
        }
        tokio::time::sleep(POLL).await;
    }
}
