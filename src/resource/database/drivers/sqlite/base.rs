//! What an exchange has brought back, where what it set aside differs from it. Right after an exchange the live file *is* the
//! restore point; as soon as the product writes, nobody could say any more which side has changed a row. So the rows that differ
//! are kept beside what was set aside, for `salvage`:
//!
//! ```text
//! part (name, number)                        tables of which something is kept, and the number of theirs
//! unknown (name)                             tables of which nothing could be kept
//! rowsN (kind, k0 …, c0 …)                   the key; the row that came back, its columns as in `columnsN`
//!     changed                                both have it, and it differs
//!     missing                                only what came back has it
//!     new                                    only what was set aside has it: nothing but the key
//! columnsN (position, name)
//! ```
//!
//! It is best effort, and bounded in time and room. Without it `salvage` says that the base is not known.
use super::{
    connection::{self, STILL, quoted, uri},
    files,
    fingerprint::{Column, Table, tables},
    loss::{common, declared_key, differ},
    places::Copy,
};
use crate::resource::{CallCtx, Failure, copies::Lost, room};
use rusqlite::Connection;
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Of a whole file, and never more than a quarter of the room that is left.
const MOST: u64 = 256 << 20;

/// `aside` has what was set aside as `main`; `lost` is what was counted of it. Whether the file is worth anything is to be asked
/// after it, and then `settle` or `forget`.
pub fn gather(aside: &Connection, live: &Path, copy: &Copy, lost: &[Lost], call: &CallCtx) -> Result<(), Failure> {
    let path = copy.new_base();
    files::remove(&path)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.map_err(|e| files::told("make a file beside what was set aside", e))?;
    call.progress("keeping what came back where it differs", 0, 0);
    let most = MOST.min(room::left(&path) / 4);
    write(aside, live, &path, lost, most).map_err(connection::told)
}

/// Makes it durable under its name.
pub fn settle(copy: &Copy) -> Result<(), Failure> {
    let told = |e| files::told("keep what came back", e);
    let path = copy.new_base();
    File::open(&path).and_then(|file| file.sync_all()).map_err(told)?;
    std::fs::rename(&path, copy.base()).map_err(told)?;
    files::sync_folder(&copy.folder)
}

pub fn forget(copy: &Copy) {
    for path in [copy.new_base(), copy.base()] {
        if let Err(error) = files::remove(&path) {
            tracing::warn!(%error, "what came back is not known, and what was kept of it stays");
        }
    }
}

fn write(aside: &Connection, live: &Path, path: &Path, lost: &[Lost], most: u64) -> rusqlite::Result<()> {
    aside.execute("ATTACH ?1 AS proven", [uri(live, STILL)])?;
    let written = aside.execute("ATTACH ?1 AS kept", [uri(path, "mode=rw")]).and_then(|_| {
        let rows = rows(aside, lost, most);
        // A statement that was ended by a bound has ended its transaction, or not.
        if rows.is_err() && !aside.is_autocommit() {
            aside.execute_batch("ROLLBACK")?;
        }
        aside.execute_batch("DETACH kept")?;
        rows
    });
    aside.execute_batch("DETACH proven")?;
    written
}

fn rows(aside: &Connection, lost: &[Lost], most: u64) -> rusqlite::Result<()> {
    const PAGE: u64 = 4096;
    // What breaks off here is thrown away as a whole, and the file is made durable at the end.
    aside.execute_batch(&format!(
        "PRAGMA kept.page_size = {PAGE}; PRAGMA kept.journal_mode = memory; PRAGMA kept.synchronous = off;
         PRAGMA kept.max_page_count = {}; BEGIN;
         CREATE TABLE kept.part (name TEXT, number INTEGER); CREATE TABLE kept.unknown (name TEXT)",
        (most / PAGE).max(1)
    ))?;
    let (ours, theirs) = (tables(aside, "main")?, tables(aside, "proven")?);
    for (number, lost) in (0_i64..).zip(lost) {
        let of = |tables: &[Table]| tables.iter().position(|table| table.name.eq_ignore_ascii_case(&lost.part));
        let (Some(table), Some(then)) = (of(&ours), of(&theirs)) else { continue };
        let (table, then) = (&ours[table], &theirs[then]);
        let kept = match declared_key(then, table) {
            Some(key) => part(aside, number, table, then, &key, lost),
            None => Err(rusqlite::Error::InvalidQuery),
        };
        match kept {
            Ok(()) => {
                aside.execute("INSERT INTO kept.part VALUES (?1, ?2)", (&then.name, number))?;
            }
            // Without a key, or sorted by a collation that only the product has.
            Err(e) if matches!(e, rusqlite::Error::InvalidQuery) || e.to_string().contains("no such collation") => {
                aside.execute("INSERT INTO kept.unknown VALUES (?1)", [&then.name])?;
            }
            Err(e) => return Err(e),
        }
    }
    aside.execute_batch("COMMIT")
}

fn part(
    aside: &Connection,
    number: i64,
    table: &Table,
    then: &Table,
    key: &[&Column],
    lost: &Lost,
) -> rusqlite::Result<()> {
    let list = |each: &dyn Fn(usize) -> String, count: usize| (0..count).map(each).collect::<Vec<_>>().join(", ");
    let (keys, columns) = (key.len(), then.columns.len());
    let k = list(&|i| format!("k{i}"), keys);
    // None of them has a type, so each value stays what it is.
    aside.execute_batch(&format!(
        "CREATE TABLE kept.columns{number} (position INTEGER, name TEXT);
         CREATE TABLE kept.rows{number} (kind TEXT, {k}, {})",
        list(&|i| format!("c{i}"), columns)
    ))?;
    for (position, column) in (0_i64..).zip(&then.columns) {
        let sql = format!("INSERT INTO kept.columns{number} VALUES (?1, ?2)");
        aside.execute(&sql, (position, &column.name))?;
    }
    let key_of = |row: &str| list(&|i| format!("{row}.{}", quoted(&key[i].name)), keys);
    let all_of = |row: &str| list(&|i| format!("{row}.{}", quoted(&then.columns[i].name)), columns);
    let (ours, theirs) = (format!("main.{}", quoted(&table.name)), format!("proven.{}", quoted(&then.name)));
    let same = |looked_up: &str, row: &str| -> String {
        let terms = key.iter().map(|c| quoted(&c.name)).map(|c| format!("{looked_up}.{c} = {row}.{c}"));
        terms.collect::<Vec<_>>().join(" AND ")
    };
    let first = quoted(&key[0].name);
    if lost.rows > 0 || lost.changed > 0 {
        let common = common(then, table);
        aside.execute_batch(&format!(
            "INSERT INTO kept.rows{number}
                 SELECT iif(b.{first} IS NULL, 'new', 'changed'), {}, {} FROM {ours} a LEFT JOIN {theirs} b ON {}
                 WHERE a.{first} IS NOT NULL AND (b.{first} IS NULL OR {})",
            key_of("a"),
            all_of("b"),
            same("b", "a"),
            differ(&common),
        ))?;
    }
    if lost.missing > 0 {
        aside.execute_batch(&format!(
            "INSERT INTO kept.rows{number}
                 SELECT 'missing', {}, {} FROM {theirs} b
                 WHERE b.{first} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {ours} a WHERE {})",
            key_of("b"),
            all_of("b"),
            same("a", "b"),
        ))?;
    }
    aside.execute_batch(&format!("CREATE INDEX kept.key{number} ON rows{number} ({k})"))
}
