//! What Backout keeps on the server, in a database of its own: marks of statements, fences, and where copies stand. InnoDB makes
//! it durable together with what it speaks of, and it is there for whoever comes later, from whatever host.
use super::connection::{Session, literal};
use crate::resource::Failure;
use serde::{Deserialize, Serialize};

pub const SCHEMA: &str = "backout";

/// In no transaction: making a table ends it.
pub async fn ready(session: &mut Session) -> Result<(), Failure> {
    if there(session).await? {
        return Ok(());
    }
    for sql in [
        "CREATE DATABASE IF NOT EXISTS backout CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "CREATE TABLE IF NOT EXISTS backout.marks (mark VARCHAR(64) NOT NULL PRIMARY KEY, \
             made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS backout.fences (of VARCHAR(64) NOT NULL, account_user VARCHAR(128) NOT NULL, \
             account_host VARCHAR(255) NOT NULL, was_locked BOOLEAN NOT NULL, \
             PRIMARY KEY (of, account_user, account_host)) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS backout.events (of VARCHAR(64) NOT NULL, name VARCHAR(64) NOT NULL, \
             PRIMARY KEY (of, name)) ENGINE=InnoDB",
        "CREATE TABLE IF NOT EXISTS backout.generations (of VARCHAR(64) NOT NULL PRIMARY KEY, \
             number BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB",
        // The last one, so that whoever finds it finds all.
        "CREATE TABLE IF NOT EXISTS backout.copies (of VARCHAR(64) NOT NULL, id VARCHAR(255) NOT NULL, \
             standby VARCHAR(64) NOT NULL UNIQUE, state LONGTEXT NOT NULL, PRIMARY KEY (of, id)) ENGINE=InnoDB",
    ] {
        session.run(sql).await?;
    }
    Ok(())
}

/// Whether anything was ever kept.
pub async fn there(session: &mut Session) -> Result<bool, Failure> {
    let sql = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'backout' AND TABLE_NAME = 'copies'";
    Ok(session.number(sql).await? == 1)
}

/// When this has returned, what was committed before is on the server's disk, however little of that the server does by itself
/// (`innodb_flush_log_at_trx_commit`). In no transaction.
pub async fn durable(session: &mut Session) -> Result<(), Failure> {
    let by_itself = session.one("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit").await?;
    if matches!(by_itself.as_deref(), Some("1" | "3")) || !there(session).await? {
        return Ok(());
    }
    // With a declaration it writes all of its log, and waits for the disk. FLUSH ENGINE LOGS does neither.
    session.run("CREATE OR REPLACE TABLE backout.flushed (nothing INT) ENGINE=InnoDB").await.map(|_| ())
}

/// Part of the transaction that the session is in.
pub async fn mark(session: &mut Session, mark: &str) -> Result<(), Failure> {
    session.run(format!("INSERT INTO backout.marks (mark) VALUES ({})", literal(mark))).await.map(|_| ())
}

pub async fn generation(session: &mut Session, of: &str) -> Result<u64, Failure> {
    session.number(format!("SELECT number FROM backout.generations WHERE of = {}", literal(of))).await
}

/// Who is kept out, and whether they were before.
pub struct Shut {
    pub user: String,
    pub host: String,
    pub was_locked: bool,
}

pub async fn fence(session: &mut Session, of: &str) -> Result<Vec<Shut>, Failure> {
    if !there(session).await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT account_user, account_host, was_locked FROM backout.fences WHERE of = {} ORDER BY 1, 2",
        literal(of)
    );
    let mut found = Vec::new();
    for row in session.rows(sql).await? {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let (user, host) = (row.next().unwrap_or_default(), row.next().unwrap_or_default());
        found.push(Shut { user, host, was_locked: row.next().as_deref() == Some("1") });
    }
    Ok(found)
}

/// Events that act again when the fence is lifted.
pub async fn events(session: &mut Session, of: &str) -> Result<Vec<String>, Failure> {
    if !there(session).await? {
        return Ok(Vec::new());
    }
    session.list(format!("SELECT name FROM backout.events WHERE of = {} ORDER BY 1", literal(of))).await
}

pub async fn hold_event(session: &mut Session, of: &str, name: &str) -> Result<(), Failure> {
    let values = [of, name].map(literal).join(", ");
    session.run(format!("INSERT IGNORE INTO backout.events (of, name) VALUES ({values})")).await.map(|_| ())
}

pub async fn release_event(session: &mut Session, of: &str, name: &str) -> Result<(), Failure> {
    let sql = format!("DELETE FROM backout.events WHERE of = {} AND name = {}", literal(of), literal(name));
    session.run(sql).await.map(|_| ())
}

/// Where a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Making,
    StandBy,
    /// What is declared around the tables is taken away and made anew; the tables change places in between.
    Exchanging,
    Exchanged,
}

/// One copy, as it is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copy {
    pub standby: String,
    pub aside: String,
    pub phase: Phase,
    /// What is declared around the tables at the restore point. It is in the stand-by as text only, so nothing there acts.
    pub declared: super::copies::Declared,
    /// The same, of what is set aside: from the moment when an exchange begins.
    pub left: Option<super::copies::Declared>,
    /// Which tables were which before it.
    pub sides: Option<super::copies::Sides>,
    /// What is kept of how rows were at the restore point; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<super::copies::Kept>,
    /// From where on it is told what has changed.
    #[serde(default)]
    pub since: Option<super::copies::Since>,
}

pub async fn copy(session: &mut Session, of: &str, id: &str) -> Result<Option<Copy>, Failure> {
    if !there(session).await? {
        return Ok(None);
    }
    let sql = format!("SELECT state FROM backout.copies WHERE of = {} AND id = {}", literal(of), literal(id));
    let Some(text) = session.one(sql).await? else { return Ok(None) };
    let copy = serde_json::from_str(&text);
    copy.map(Some).map_err(|_| Failure::failed("what Backout keeps on the server about the copy cannot be read"))
}

pub async fn put(session: &mut Session, of: &str, id: &str, copy: &Copy) -> Result<(), Failure> {
    let text = serde_json::to_string(copy).map_err(|e| Failure::failed(e.to_string()))?;
    let values = [of, id, &copy.standby, &text].map(literal).join(", ");
    let sql = format!(
        "INSERT INTO backout.copies (of, id, standby, state) VALUES ({values}) ON DUPLICATE KEY UPDATE state = VALUES(state)"
    );
    session.run(sql).await.map(|_| ())
}

pub async fn forget(session: &mut Session, of: &str, id: &str) -> Result<(), Failure> {
    let sql = format!("DELETE FROM backout.copies WHERE of = {} AND id = {}", literal(of), literal(id));
    session.run(sql).await.map(|_| ())
}
