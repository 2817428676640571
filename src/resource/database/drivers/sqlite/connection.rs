//! Connections, each with as little power as its use needs, and what SQLite's errors mean.
use crate::resource::{CallCtx, Failure, room};
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Row, config::DbConfig};
use std::{
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

/// How long a connection waits for a lock of the application.
const PATIENCE: Duration = Duration::from_secs(30);

/// To read with, as a part of what changes something and therefore goes on when the operator wants to stop. Opening creates no
/// database, and nothing that is said on it changes one.
pub fn reading(path: &Path, call: &CallCtx) -> rusqlite::Result<Connection> {
    reading_until(path, call.deadline)
}

/// The same, for those that are no operation.
pub fn reading_until(path: &Path, deadline: Instant) -> rusqlite::Result<Connection> {
    let connection = open(path, "mode=ro", OpenFlags::SQLITE_OPEN_READ_ONLY, deadline)?;
    connection.pragma_update(None, "query_only", true)?;
    limit(&connection, deadline, || false)?;
    Ok(connection)
}

/// To look with: what only observes ends when the operator wants to stop.
pub fn looking(path: &Path, call: &CallCtx) -> rusqlite::Result<Connection> {
    let connection = reading(path, call)?;
    let cancel = call.cancel.clone();
    limit(&connection, call.deadline, move || cancel.is_cancelled())?;
    Ok(connection)
}

/// For a file that nobody writes: it is neither locked, nor does anything appear beside it.
pub fn still(path: &Path, call: &CallCtx) -> rusqlite::Result<Connection> {
    let connection = open(path, STILL, OpenFlags::SQLITE_OPEN_READ_ONLY, call.deadline)?;
    limit(&connection, call.deadline, || false)?;
    Ok(connection)
}
pub const STILL: &str = "mode=ro&immutable=1";

/// Read and write, a file that exists.
pub fn writing(path: &Path, call: &CallCtx) -> rusqlite::Result<Connection> {
    let connection = open(path, "mode=rw", OpenFlags::SQLITE_OPEN_READ_WRITE, call.deadline)?;
    // Also the folder is made durable when a journal is deleted: a commit that we report is never undone by a power failure.
    connection.pragma_update(None, "synchronous", "extra")?;
    limit(&connection, call.deadline, || false)?;
    Ok(connection)
}

fn open(path: &Path, parameters: &str, access: OpenFlags, deadline: Instant) -> rusqlite::Result<Connection> {
    let flags = access
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(uri(path, parameters), flags)?;
    connection.busy_timeout(deadline.saturating_duration_since(Instant::now()).min(PATIENCE))?;
    // The schema is the product's. It may not call what only a trusted one should, nor reach into SQLite's own tables.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(connection)
}

/// Statements end by themselves; nobody waits for one that was forgotten.
pub fn limit(
    connection: &Connection,
    deadline: Instant,
    stop: impl Fn() -> bool + Send + 'static,
) -> rusqlite::Result<()> {
    const STEPS: i32 = 10_000;
    connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline || stop()))
}

pub fn uri(path: &Path, parameters: &str) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    uri + "?" + parameters
}

/// A count or size. SQLite's integers have a sign, these have not.
pub fn number(row: &Row<'_>) -> rusqlite::Result<u64> {
    let number: i64 = row.get(0)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(0, number))
}

/// An identifier, whatever it is made of.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn damaged(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

pub fn busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

pub fn full(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn extended(error: &Error) -> Option<i32> {
    match error {
        Error::SqliteFailure(error, _) => Some(error.extended_code),
        _ => None,
    }
}

/// In words that name no path.
pub fn told(error: Error) -> Failure {
    let words = match &error {
        Error::SqliteFailure(error, None) => error.to_string(),
        Error::SqliteFailure(_, Some(words)) | Error::SqlInputError { msg: words, .. } => words.clone(),
        other => return Failure::failed(other.to_string()),
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Failure::unavailable("the database is locked by somebody else")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Failure::failed(format!("the database is damaged: {words}"))
        }
        Some(ErrorCode::OperationInterrupted) => Failure::timed_out("its time is over, or the run was stopped"),
        // What looks may not play back a journal, and leaves it as it is.
        Some(ErrorCode::ReadOnly) if extended(&error) == Some(rusqlite::ffi::SQLITE_READONLY_ROLLBACK) => {
            Failure::unavailable(
                "somebody was cut off in the middle of a write: the product has to open the database once",
            )
        }
        // Where a file has no room for what SQLite keeps beside it, this is all that it says.
        Some(ErrorCode::SystemIoFailure) => room::perhaps_none(words),
        Some(ErrorCode::DiskFull) => room::none("there is no room left on the disk"),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Failure::unavailable("the database file cannot be opened")
        }
        Some(ErrorCode::TooBig) => Failure::invalid("a statement or value is too big"),
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            Failure::invalid(format!("a script may not say this here: {words}"))
        }
        _ if words.starts_with("no such table") => Failure::not_found(words),
        // What is wrong with a statement has no code of its own.
        Some(ErrorCode::Unknown) | None => Failure::invalid(words),
        _ => Failure::failed(words),
    }
}

/// What keeps a copy from being proven.
pub fn unproven(error: Error) -> Failure {
    if damaged(&error) {
        let Failure { message, .. } = told(error);
        return Failure::unproven(message);
    }
    told(error)
}
