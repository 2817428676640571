//! What an exchange has set aside is counted once the product runs again: it takes as long as there is data, and the product is
//! down until the exchange has returned. What was live does not change any more. What became live does, so the moment right
//! after the exchange is kept open until then.
use super::super::{
    Postgres,
    connection::{Session, Use, in_time},
    error::told,
};
use super::{
    content::{self, Moment, Table},
    loss,
    mark::Names,
    salvage::base,
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Lost, Snapshot},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_postgres::Client;

/// Of one snapshot.
#[derive(Default)]
pub struct Left(Mutex<Option<Kept>>);

struct Kept {
    id: String,
    /// Of the exchange, when this is the moment right after it.
    transaction: Option<String>,
    session: Session,
    tables: Vec<Table>,
    files: Files,
}

/// Tables by the files that they are in: whatever empties or rewrites one gives it another file, and keeps to no moment.
type Files = BTreeMap<String, Option<u32>>;

/// It is only looked up, and the product waits.
const WITHIN: Duration = Duration::from_secs(10);

/// Before another exchange, which nobody may be connected for.
pub fn forget(postgres: &Postgres) {
    *postgres.left.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Opens the moment. Tables are not locked: nothing that the product does when it starts waits for this.
pub async fn leave(postgres: &Postgres, names: &Names, transaction: Option<String>, call: &CallCtx) -> Vec<Lost> {
    // Under another name than the exchange has: whoever looks how that has ended ends its sessions.
    let deadline = call.deadline.min(Instant::now() + WITHIN);
    let call = CallCtx { deadline, key: format!("{} count", call.key), ..call.clone() };
    let opened = in_time(&call, open(postgres, names, transaction, &call)).await;
    match opened {
        Ok(kept) => {
            *postgres.left.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
            vec![Lost::later()]
        }
        Err(failure) => vec![Lost::uncounted(&failure.message)],
    }
}

async fn open(
    postgres: &Postgres,
    names: &Names,
    transaction: Option<String>,
    call: &CallCtx,
) -> Result<Kept, Failure> {
    let session = content::comparing(postgres, &names.live, Use::Looking, call).await?;
    // Its time is that of whoever counts; it ends with the connection.
    session
        .batch_execute(
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )
        .await
        .map_err(told)?;
    let tables = content::tables(&session).await?;
    let files = files(&session).await?;
    Ok(Kept { id: names.id.clone(), transaction, session, tables, files })
}

async fn files(session: &Client) -> Result<Files, Failure> {
    const FILES: &str = "SELECT n.nspname::text, c.relname::text, pg_relation_filenode(c.oid) FROM pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence <> 't'";
    let rows = session.query(FILES, &[]).await.map_err(told)?;
    Ok(rows.iter().map(|row| (content::shown(row.get(0), row.get(1)), row.get(2))).collect())
}

pub async fn counted(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let kept = postgres.left.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Kept { transaction, session, tables, files: before, .. }) = kept.filter(|kept| kept.id == snapshot.id)
    else {
        return Err(Failure::unavailable("the product has gone on since"));
    };
    let names = Names::of(postgres, &snapshot.id);
    let goes = loss::aside(postgres, &names, call).await?;
    let comes = Moment { sessions: vec![session], snapshot: String::new(), tables };
    // Right after the exchange it was what had been proven.
    let known = transaction.as_ref().map(|_| &snapshot.fingerprint);
    let (mut lost, goes, comes) = loss::between(goes, comes, known, call).await?;
    if let Some(transaction) = &transaction {
        let since = (transaction.as_str(), &snapshot.fingerprint);
        let kept = base::gather(postgres, &names, (&goes, &comes), (&lost, since), call);
        if let Err(error) = in_time(call, Box::pin(kept)).await {
            tracing::info!(%error, "what came back is not kept, so salvaging will know less");
        }
    }
    let after = files(comes.first()?).await?;
    for lost in &mut lost {
        // One that was read is locked since, so this is what was read.
        if before.get(&lost.part) != after.get(&lost.part) {
            *lost = Lost::uncounted(&format!("{} was emptied or rewritten since", lost.part));
        }
    }
    Ok(lost)
}
