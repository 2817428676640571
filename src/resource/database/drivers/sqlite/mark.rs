//! How it is known afterwards whether statements have taken effect.
//!
//! SQLite keeps no list of its transactions, and what a statement has changed says nothing about who changed it. So each
//! transaction carries a mark that is part of it: the schema cookie, a number in the header of the file by which connections
//! notice that the schema has changed. Everybody else counts it up by one; we move it to a number far from any that it had. It is
//! part of no schema and no content, it stays when others write later, in a WAL as in the file itself, and it leaves nothing that
//! would have to be cleared away.
//!
//! An older number would keep a connection from seeing that its idea of the schema is out of date. A new one makes it look, as it
//! does after every change of the schema.
use super::{
    connection::{self, told},
    places::Places,
};
use crate::resource::{CallCtx, Failure, FailureKind, database::Executed, process::unique};
use rusqlite::{Connection, config::DbConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// More changes of the schema than come together while nobody looks.
const NEAR: i32 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Evidence {
    Statements(Mark),
    /// Written when they have taken effect: whoever moves the cookie next takes nothing away from whoever looks.
    Committed {
        rows: u64,
    },
}

#[derive(Serialize, Deserialize)]
pub struct Mark {
    /// of the file
    inode: u64,
    /// The cookie as it was, and as it is once they have taken effect.
    before: i32,
    after: i32,
    rows: u64,
    /// For people.
    path: String,
}

fn cookie(connection: &Connection) -> Result<i32, Failure> {
    connection.pragma_query_value(None, "schema_version", |row| row.get(0)).map_err(told)
}

impl Mark {
    /// At the beginning of a transaction that writes.
    pub fn new(connection: &Connection, inode: u64, path: String) -> Result<Self, Failure> {
        let before = cookie(connection)?;
        let mut after = before;
        while near(before, after) || near(after, before) {
            let word = unique().map_err(|e| Failure::failed(format!("no random number: {e}")))?;
            let number = word.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
            // Positive, and so far from the end that no count comes round.
            after = i32::try_from(number & 0x3fff_ffff).unwrap_or_default();
        }
        Ok(Self { inode, before, after, rows: 0, path })
    }

    /// At its end. What has to be durable before it is committed.
    pub fn put(mut self, connection: &Connection, rows: u64) -> Result<Value, Failure> {
        self.rows = rows;
        // Meant for people who repair files; a script has no word that leads here.
        let defensive = DbConfig::SQLITE_DBCONFIG_DEFENSIVE;
        connection.set_db_config(defensive, false).map_err(told)?;
        connection.pragma_update(None, "schema_version", self.after).map_err(told)?;
        connection.set_db_config(defensive, true).map_err(told)?;
        if cookie(connection)? != self.after {
            return Err(Failure::failed("SQLite does not keep the mark by which the statements are known again"));
        }
        written(&Evidence::Statements(self))
    }
}

pub fn committed(rows: u64) -> Result<Value, Failure> {
    written(&Evidence::Committed { rows })
}

fn written(evidence: &Evidence) -> Result<Value, Failure> {
    serde_json::to_value(evidence).map_err(|e| Failure::failed(e.to_string()))
}

/// Whether changes of the schema can have led from one number to the other.
fn near(first: i32, then: i32) -> bool {
    (0..NEAR).contains(&then.wrapping_sub(first))
}

pub fn executed(places: &Places, evidence: &[Value], call: &CallCtx) -> Result<Executed, Failure> {
    // The last attempt is the one that can have happened: each one before was looked at before the next began.
    let Some(last) = evidence.last() else { return Ok(Executed::NotDone) };
    let mark = match Evidence::deserialize(last) {
        Ok(Evidence::Statements(mark)) => mark,
        Ok(Evidence::Committed { rows }) => return Ok(Executed::Done { rows }),
        Err(e) => return Ok(Executed::Unclear(format!("what was written down before cannot be read: {e}"))),
    };
    let Mark { inode, before, after, rows, path } = mark;
    let unclear = |why: &str| {
        Executed::Unclear(format!("{why}; look in {path} whether the statements have taken effect ({rows} rows)"))
    };
    let live = match places.live() {
        Ok(live) => live,
        Err(e) if e.kind == FailureKind::NotFound => return Ok(unclear("the database is not there any more")),
        Err(e) => return Err(e),
    };
    if std::os::unix::fs::MetadataExt::ino(&live.file) != inode {
        return Ok(unclear("another file has taken the place of the database since"));
    }
    // Able to write, because whoever was killed in the middle of a write may have left a journal that has to be played back.
    let connection = connection::writing(&live.path, call).map_err(told)?;
    let now = cookie(&connection)?;
    Ok(if near(after, now) {
        Executed::Done { rows }
    } else if near(before, now) {
        Executed::NotDone
    } else {
        unclear("somebody has moved the schema version of the database since")
    })
}
