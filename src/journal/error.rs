use super::entry::FORMAT;
use crate::plain::hidden;
use rusqlite::ErrorCode;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("journal {path}: {}", told(cause))]
    Sqlite { path: String, cause: rusqlite::Error },
    #[error("journal {path}: {reason}")]
    Unreadable { path: String, reason: String },
    #[error(
        "journal {path} was written by a newer Backout (format {found}, this one reads {FORMAT}): install that version"
    )]
    TooNew { path: String, found: i64 },
    #[error(
        "journal {path} was written by an older Backout (format {found}, this one reads {FORMAT}): use that version"
    )]
    TooOld { path: String, found: i64 },
    #[error("{path} is not a Backout journal")]
    Foreign { path: String },
    #[error("journal {path} was changed: `{}` in it is not as Backout made it", plain(name))]
    Altered { path: String, name: String },
    #[error("journal {path} is not what was signed: entry {entry} is gone or another one; `backout audit` says more")]
    Rewritten { path: String, entry: i64 },
    #[error("{path}: {reason}")]
    Export { path: String, reason: String },
    #[error("journal entry {id} cannot be read: {}", plain(reason))]
    Damaged { id: i64, reason: String },
    #[error("{0} must not follow here")]
    Illegal(String),
    #[error("there is no run {0}")]
    NoRun(u64),
    /// Nothing of what was to be written is in the journal.
    #[error("journal {path}: {reason}")]
    Unwritten { path: String, reason: String },
    #[error("the journal's writer has ended")]
    Closed,
}

impl Error {
    /// What, where, and what to do, for whoever needs what the journal at this path says and cannot have it.
    pub fn unreadable(&self, path: &Path) -> String {
        let path = path.display();
        let why = match self {
            Self::Damaged { id, reason } => format!("entry {id} of journal {path} cannot be read: {}", plain(reason)),
            Self::Sqlite { cause, .. } => format!("journal {path} cannot be read: {}", told(cause)),
            other => return other.to_string(),
        };
        format!("{why}; `backout audit` tells all that is wrong with it")
    }

    pub fn no_room(&self) -> bool {
        let Self::Sqlite { cause, .. } = self else { return false };
        cause.sqlite_error_code() == Some(ErrorCode::DiskFull)
    }
}

/// Errors quote what a damaged file holds: of that, a short line that no terminal acts on.
pub fn plain(text: &str) -> String {
    text.chars().take(300).map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// SQLite says little about a disk, and a full one shows in many ways.
pub fn told(cause: &rusqlite::Error) -> String {
    let told = plain(&cause.to_string());
    match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "there is no room left on its disk".to_owned(),
        Some(ErrorCode::SystemIoFailure) => format!("{told}; is the disk full?"),
        _ => told,
    }
}
