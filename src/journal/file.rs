//! The file itself: whose it is, and of which format.
use super::{entry::FORMAT, error::Error};
use rusqlite::{Connection, ErrorCode};
use std::{io::ErrorKind, path::Path};

/// Marks the file as a Backout journal ("bkot").
pub const APPLICATION_ID: i64 = 0x626b_6f74;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing was ever written to it.
    Nothing,
    Journal,
}

/// Whether there is something at the path; nothing that is no regular file is ever opened.
pub fn is_there(path: &Path) -> Result<bool, Error> {
    let at = || path.display().to_string();
    match path.metadata() {
        Ok(about) if about.is_file() => Ok(true),
        Ok(_) => Err(Error::Foreign { path: at() }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::Unreadable { path: at(), reason: e.to_string() }),
    }
}

/// Says what a file holds without changing it; whatever is not a journal of this format is an error.
pub fn examine(db: &Connection, path: &Path) -> Result<Content, Error> {
    let at = || path.display().to_string();
    let number = |sql: &str| {
        db.query_row(sql, [], |r| r.get::<_, i64>(0)).map_err(|e| match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Error::Foreign { path: at() },
            _ => Error::Sqlite { path: at(), cause: e },
        })
    };
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    match (number("PRAGMA application_id")?, number("PRAGMA user_version")?) {
        (0, 0) if tables == 0 => Ok(Content::Nothing),
        (APPLICATION_ID, FORMAT) => Ok(Content::Journal),
        (APPLICATION_ID, found) if found > FORMAT => Err(Error::TooNew { path: at(), found }),
        (APPLICATION_ID, found) => Err(Error::TooOld { path: at(), found }),
        _ => Err(Error::Foreign { path: at() }),
    }
}
