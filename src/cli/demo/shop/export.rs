use super::store;
use anyhow::Context;
use rusqlite::OpenFlags;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

/// Reads within one transaction, so that what comes out is of one moment. A pause after each order keeps the shop fast.
pub fn export(database: &Path, to: &Path) -> anyhow::Result<()> {
    let db = store::open(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut out = BufWriter::new(File::create(to).with_context(|| format!("cannot write {}", to.display()))?);
    let mut statement = db.prepare("SELECT id, customer, placed, total FROM orders ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, customer, total): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let placed: String = row.get(2)?;
        writeln!(out, "{id},{customer},{placed},{total}")?;
        std::thread::sleep(Duration::from_millis(50));
    }
    out.flush()?;
    Ok(())
}
