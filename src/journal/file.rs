//! The file itself: whose it is, of which format, and that nothing is in it but what Backout puts there.
use super::{entry::FORMAT, error::Error, tail};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig, limits::Limit};
use std::{
    io::ErrorKind,
    path::Path,
    time::{Duration, Instant},
};

/// Marks the file as a Backout journal ("bkot").
pub const APPLICATION_ID: i64 = 0x626b_6f74;

/// What stands in `sqlite_schema`, word for word. Numbers of entries are given in one row, from 1, and hashes are those of
/// `chain`.
const SCHEMA: [(&str, &str); 2] = [
    (
        "entry",
        "CREATE TABLE entry (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at INTEGER NOT NULL, phase TEXT NOT NULL, \
         rolled_back INTEGER NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, seq INTEGER NOT NULL, \
         kind TEXT NOT NULL, body TEXT NOT NULL, hash BLOB NOT NULL) STRICT",
    ),
    (
        "entry_mark",
        "CREATE INDEX entry_mark ON entry(kind, run) WHERE kind IN ('run-started', 'run-ended', 'run-resumed', 'step-ended')",
    ),
];

/// The kinds of entries that are in the index.
pub const MARKS: [&[u8]; 4] = [b"run-started", b"run-ended", b"run-resumed", b"step-ended"];

/// A query that says this goes through the index, and reads only where runs begin and end.
pub const MARKED: &str = "kind IN ('run-started', 'run-ended', 'run-resumed', 'step-ended')";

/// Bytes of an entry: twice what a step may write in all.
const LONGEST: i32 = 128 << 20;

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

/// How long another process may be at it.
const BUSY: Duration = Duration::from_secs(10);

/// For writing; makes what is not there yet.
pub fn open(path: &Path) -> Result<Connection, Error> {
    let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
    is_there(path)?;
    let mut db = connect(path, OpenFlags::default())?;
    // Looked at before anything is set: what is not ours stays as it is.
    examine(&db, path)?;
    with_write_ahead_log(&db).map_err(sqlite)?;
    // FULL: the write-ahead log reaches the disk at every commit.
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;").map_err(sqlite)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    // Nobody else writes now: what no commit covers is of a process that is no more.
    let log = path.with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().display()));
    let left_out = tail::uncommitted(&log).unwrap_or(0);
    if examine(&tx, path)? == Content::Nothing {
        let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};");
        SCHEMA.iter().try_for_each(|(_, sql)| tx.execute_batch(sql)).map_err(sqlite)?;
        tx.execute_batch(&stamp).map_err(sqlite)?;
    }
    tx.commit().map_err(sqlite)?;
    if left_out > 0 {
        tracing::warn!(path = %path.display(), "the last {left_out} bytes of the journal were never committed, and are left out");
        // So that they are gone, and not told again; where somebody reads at this moment, the next one does it.
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    Ok(db)
}

/// Two that make a journal at the same time stand in each other's way, and SQLite does not wait here.
fn with_write_ahead_log(db: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY;
    loop {
        match db.execute_batch("PRAGMA journal_mode = WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// For reading. Reading a write-ahead log takes a file of shared memory beside it, hence not read-only.
pub fn open_to_read(path: &Path) -> Result<Option<Connection>, Error> {
    if !is_there(path)? {
        return Ok(None);
    }
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
    // Whoever only looks leaves the files as they are.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sqlite)?;
    db.execute_batch("PRAGMA query_only = ON").map_err(sqlite)?;
    Ok(match examine(&db, path)? {
        Content::Nothing => None,
        Content::Journal => Some(db),
    })
}

/// What somebody planted in a file may be read, and never run.
fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let connect = || {
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        db.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
        db.execute_batch("PRAGMA cell_size_check = ON")?;
        Ok(db)
    };
    connect().map_err(|cause| error(path, cause))
}

fn error(path: &Path, cause: rusqlite::Error) -> Error {
    let path = path.display().to_string();
    match cause.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::Foreign { path },
        _ => Error::Sqlite { path, cause },
    }
}

/// Says what a file holds without changing it; whatever is not a journal of this format is an error.
pub fn examine(db: &Connection, path: &Path) -> Result<Content, Error> {
    let at = || path.display().to_string();
    let number = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).map_err(|e| error(path, e));
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    match (number("PRAGMA application_id")?, number("PRAGMA user_version")?) {
        (0, 0) if tables == 0 => return Ok(Content::Nothing),
        (APPLICATION_ID, FORMAT) => {}
        (APPLICATION_ID, found) if found > FORMAT => return Err(Error::TooNew { path: at(), found }),
        (APPLICATION_ID, found) => return Err(Error::TooOld { path: at(), found }),
        _ => return Err(Error::Foreign { path: at() }),
    }
    match strange(db).map_err(|e| error(path, e))? {
        None => Ok(Content::Journal),
        Some(name) => Err(Error::Altered { path: at(), name }),
    }
}

/// The name of a table, an index, a trigger or a view that is not as Backout makes it, or is missing.
fn strange(db: &Connection) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let mut rows = statement.query([])?;
    let mut missing = SCHEMA.to_vec();
    while let Some(row) = rows.next()? {
        let text = |column| row.get_ref(column).map(|value| value.as_str().unwrap_or_default().to_owned());
        let (kind, name, table, sql) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let kind_there = if name == "entry" { "table" } else { "index" };
        let known = missing.iter().position(|there| *there == (name.as_str(), sql.as_str()));
        match known {
            Some(known) if kind == kind_there && table == "entry" => drop(missing.swap_remove(known)),
            _ => return Ok(Some(name)),
        }
    }
    Ok(missing.first().map(|(name, _)| (*name).to_owned()))
}
