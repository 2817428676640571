use super::{Release, store};
use anyhow::{Context, bail};
use rusqlite::{OpenFlags, TransactionBehavior};
use std::path::Path;

/// All steps from the schema of the database to the one of the release, in one transaction.
pub fn migrate(release: &Release, database: &Path) -> anyhow::Result<String> {
    let mut db = store::open(database, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    // A migration rebuilds tables that others refer to; what it leaves is checked below.
    db.pragma_update(None, "foreign_keys", false)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let from = store::schema(&transaction)?;
    if from > release.schema {
        bail!("the database has schema {from}, and {} knows no way back to {}", release.version, release.schema);
    }
    for to in from + 1..=release.schema {
        let sql = release.migrations.get(&to).with_context(|| format!("no migration to schema {to}"))?;
        transaction.execute_batch(sql).with_context(|| format!("cannot migrate to schema {to}"))?;
    }
    let broken = transaction.prepare("PRAGMA foreign_key_check")?.exists([])?;
    if broken {
        bail!("the migration would leave rows that refer to nothing");
    }
    transaction.pragma_update(None, "user_version", release.schema)?;
    transaction.commit()?;
    Ok(format!("schema {from} -> {}", release.schema))
}
