//! A database file that nobody else can read or write for a while, and beside which nothing is left that belongs to it.
use super::{
    connection::{self, busy, damaged, full, number, told},
    files,
    places::{SIDES, beside},
};
use crate::resource::{CallCtx, Failure, holders, room};
use rusqlite::{Connection, Error};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

/// SQLite's own exclusive lock. It is on the file, not on its name: who opened the file a moment before it is moved cannot
/// do anything with it until the lock is given back.
///
/// Closing any descriptor of a file drops the locks that this process has on it, so nobody may open the file by other means
/// while this lives, or must drop both together.
pub struct Held {
    pub connection: Connection,
    path: PathBuf,
}

pub enum Hold {
    Held(Held),
    /// Somebody reads or writes it; in WAL mode already who has it open.
    Busy,
    /// Nobody else can use it, but its WAL could not be taken in for want of room, and belongs to it still.
    Full(Held, Failure),
    /// SQLite cannot read it, so neither can it be recovered or checkpointed.
    Damaged(String),
}

/// Recovers what a crash left, brings the whole content into the file itself, and keeps everybody else out.
pub fn hold(path: &Path, call: &CallCtx) -> Result<Hold, Failure> {
    let hold = || -> rusqlite::Result<(Connection, Option<Error>)> {
        let connection = connection::writing(path, call)?;
        connection.busy_timeout(call.remaining().min(Duration::from_millis(500)))?;
        // Set before the first look: in WAL mode the index is then in our memory, and no second connection is possible.
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode == "wal" {
            // Beginning what cannot be ended would only take the last room from the product.
            let pages = connection.pragma_query_value(None, "page_count", number)?;
            let size = pages * connection.pragma_query_value(None, "page_size", number)?;
            let now = path.metadata().map_or(0, |file| file.len());
            if size > now && size - now > room::left(path) {
                let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
                return Ok((connection, Some(Error::SqliteFailure(full, None))));
            }
            match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)) {
                Ok(0) => {}
                Ok(_) => {
                    let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                    return Err(Error::SqliteFailure(busy, None));
                }
                Err(e) if full(&e) => return Ok((connection, Some(e))),
                Err(e) => return Err(e),
            }
        }
        Ok((connection, None))
    };
    let held = |connection| Held { connection, path: path.to_owned() };
    match hold() {
        Ok((connection, None)) => Ok(Hold::Held(held(connection))),
        Ok((connection, Some(e))) => Ok(Hold::Full(held(connection), told(e))),
        Err(e) if busy(&e) => Ok(Hold::Busy),
        Err(e) if damaged(&e) => Ok(Hold::Damaged(told(e).message)),
        Err(e) => Err(told(e)),
    }
}

impl Held {
    /// Removes, durably, the side files, which hold nothing any more: whatever file has the name next must not adopt them.
    pub fn clear_sides(&self) -> Result<(), Failure> {
        let mut any = false;
        for side in SIDES {
            let path = beside(&self.path, side);
            let idle = match side {
                "-wal" => path.metadata().map_or(true, |file| file.len() == 0),
                "-journal" => journal_is_idle(&path),
                _ => true,
            };
            if !idle {
                return Err(Failure::conflict(format!(
                    "the database left a `{side}` file that SQLite could not take in"
                )));
            }
            any |= files::remove(&path)?;
        }
        if any {
            files::sync_parents(&[&self.path])?;
        }
        Ok(())
    }
}

/// A journal that could be played back begins with a magic number; in the modes `truncate` and `persist` an empty or zeroed
/// one stays behind.
fn journal_is_idle(path: &Path) -> bool {
    let Ok(mut journal) = File::open(path) else { return true };
    let mut first = [0; 8];
    journal.read(&mut first).is_ok_and(|read| first[..read].iter().all(|&byte| byte == 0))
}

/// Moves the side files of a database along with it that could not be taken into it, so that nothing is lost.
pub fn move_sides(from: &Path, to: &Path) -> Result<(), Failure> {
    for side in SIDES {
        let (old, new) = (beside(from, side), beside(to, side));
        if old.symlink_metadata().is_ok() {
            std::fs::rename(&old, &new).map_err(|e| files::told("move what belongs to the database", e))?;
        }
    }
    files::sync_parents(&[from, to])
}

/// Who has the file, or what belongs to it, open.
pub fn held_by(path: &Path) -> Result<Vec<holders::Holder>, Failure> {
    let sides = SIDES.map(|side| beside(path, side));
    let paths: Vec<&Path> = std::iter::once(path).chain(sides.iter().map(PathBuf::as_path)).collect();
    holders::of_file(&paths).map_err(|e| files::told("look who has the database open", e))
}
