//! The log itself, held by a slot from the mark on and read by the server's own extension, which is made in a transaction that
//! is rolled back: nothing of it stays.
//!
//! A slot holds back log until it is dropped, so it is only made where the server itself sets a bound to that
//! (`max_slot_wal_keep_size`): a slot that is forgotten then does not fill the disk, it is lost.
use super::super::super::error::told;
use super::super::mark::{Names, hex, literal};
use super::{Known, Without, Written, add, position, why};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

/// Slots have names of small letters, digits and `_`.
fn slot(names: &Names) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let id: String = names.id.chars().map(plain).take(30).collect();
    let digest = hex(&Sha256::digest(format!("{}\0{}", names.live, names.id)));
    format!("backout_{id}_{}", digest.get(..16).unwrap_or_default())
}

/// From the last checkpoint on, which is before the mark. One that holds already goes on.
pub async fn hold(admin: &Client, names: &Names) -> Without<()> {
    let name = slot(names);
    if held(admin, &name).await?.is_some() {
        return Ok(());
    }
    forget(admin, names).await;
    let make = "SELECT pg_create_physical_replication_slot($1::text::name, true)";
    admin.query_one(make, &[&name]).await.map_err(|e| format!("no slot can be made: {}", why(told(e))))?;
    Ok(())
}

/// From where on; `None`: there is none, or the server has thrown away what it held.
async fn held(admin: &Client, name: &str) -> Without<Option<String>> {
    let held = "SELECT restart_lsn::text FROM pg_replication_slots \
        WHERE slot_name = $1::text::name AND wal_status IN ('reserved', 'extended')";
    let row = admin.query_opt(held, &[&name]).await.map_err(|e| why(told(e)))?;
    Ok(row.and_then(|row| row.get(0)))
}

/// That it cannot be dropped is no reason to do nothing else; the server bounds what it holds.
pub async fn forget(admin: &Client, names: &Names) {
    let name = slot(names);
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1::text::name";
    if let Err(error) = admin.query(drop, &[&name]).await {
        tracing::warn!(slot = name, code = ?error.code(), "a replication slot stays");
    }
}

/// Reads what was logged since the mark, and holds no more of it.
pub async fn shortened(admin: &Client, names: &Names, mut known: Known) -> Without<Known> {
    let until = position(admin).await?;
    let written = written(admin, names, &known, &until).await?;
    for (file, blocks) in written {
        // It stands in a comment, which is read often.
        const FEW: usize = 500;
        add(&mut known.written, file, blocks.filter(|blocks| blocks.len() <= FEW));
    }
    // Some files come and go.
    let files: Vec<u32> = known
        .tables
        .iter()
        .flat_map(|(_, file, long, _)| [*file, *long])
        .chain(known.objects.iter().copied())
        .collect();
    known.written.retain(|file, _| files.contains(file));
    let move_on = "SELECT pg_replication_slot_advance($1::text::name, $2::text::pg_lsn)";
    admin.query_one(move_on, &[&slot(names), &until]).await.map_err(|e| why(told(e)))?;
    known.position = until;
    Ok(known)
}

/// What changes no row that can be seen: who has looked (hints), what is cleared away, what all can see, who has a lock.
const NOTHING: &str = "(resource_manager = 'XLOG' AND record_type = 'FPI_FOR_HINT' \
    OR resource_manager = 'Heap2' AND record_type ~ '^(PRUNE|VACUUM|FREEZE_PAGE|VISIBLE|LOCK_UPDATED)' \
    OR resource_manager = 'Heap' AND record_type = 'LOCK')";

pub async fn written(admin: &Client, names: &Names, known: &Known, until: &str) -> Without<Written> {
    let held = held(admin, &slot(names)).await?.ok_or("the slot that held the server's log is gone")?;
    let before = "SELECT $1::text::pg_lsn <= $2::text::pg_lsn";
    let held = admin.query_one(before, &[&held, &known.position]).await.map_err(|e| why(told(e)))?;
    if !held.get::<_, bool>(0) {
        return Err("the server has not kept all of its log".to_owned());
    }
    let there = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_walinspect'";
    let there = admin.query_opt(there, &[]).await.map_err(|e| why(told(e)))?;
    let schema = there.as_ref().map(|row| row.get::<_, String>(0));
    const OWN: &str = "backout_reads_wal";
    admin.batch_execute("BEGIN").await.map_err(|e| why(told(e)))?;
    let read = async {
        if schema.is_none() {
            let make = format!("CREATE SCHEMA {OWN}; CREATE EXTENSION pg_walinspect SCHEMA {OWN}");
            admin.batch_execute(&make).await?;
        }
        admin.query(&query(schema.as_deref().unwrap_or(OWN), known, until), &[]).await
    };
    let read = read.await;
    admin.batch_execute("ROLLBACK").await.map_err(|e| why(told(e)))?;
    let mut written = Written::new();
    for row in read.map_err(|e| format!("the server's log cannot be read: {}", why(told(e))))? {
        let (file, blocks): (i64, Vec<i64>) = (row.get(0), row.get(1));
        if file == 0 {
            return Err("the files of the database were put in place since".to_owned());
        }
        let Ok(file) = u32::try_from(file) else { continue };
        add(&mut written, file, Some(blocks.into_iter().filter_map(|block| u32::try_from(block).ok()).collect()));
    }
    Ok(written)
}

/// Files with their blocks, from `blkref #0: rel 1663/16384/16385 fork main blk 0`; the file 0 where the folder of the database
/// was made or removed. That others are copied from it is nothing.
fn query(schema: &str, known: &Known, until: &str) -> String {
    let (database, from, until) = (known.database, literal(&known.position), literal(until));
    format!(
        "WITH records AS MATERIALIZED (SELECT resource_manager, description, block_ref \
             FROM {schema}.pg_get_wal_records_info({from}, {until}) \
             WHERE resource_manager = 'Database' OR block_ref ~ '/(0|{database})/' AND NOT {NOTHING}) \
         SELECT m[1]::bigint, array_agg(DISTINCT m[2]::bigint) FROM records, \
             regexp_matches(block_ref, 'rel \\d+/(?:0|{database})/(\\d+) fork main blk (\\d+)', 'g') m GROUP BY 1 \
         UNION ALL SELECT 0, '{{}}' FROM records WHERE resource_manager = 'Database' \
             AND description ~ '\\m{database}\\M' AND description !~ '^copy dir \\d+/{database} to '"
    )
}
