//! Which tables may have changed since a copy, from the server's own log of all changes (the binlog).
//!
//! The server tells at which place in the log the moment of a copy is: what the moment shows stands before it, and what it does
//! not show stands behind it. Only the names of tables are read from there. They may be more than have changed, never less:
//! what cannot be told from the log (rows that a foreign key takes with them) is added, and where the log is not whole, or
//! has something in it that is not understood, nothing is concluded from it, and all is compared.
mod log;

use super::super::connection::{Session, literal};
use super::content::Table;
use crate::resource::{Failure, FailureKind, copies::Part};
use log::Written;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    file: String,
    position: u64,
    /// As what replicas know it, if there is such a thing.
    gtid: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position, gtid } = self;
        let gtid = gtid.as_ref().map(|gtid| format!("GTID {gtid}, ")).unwrap_or_default();
        write!(f, "{gtid}{file}:{position}")
    }
}

/// Where the session's moment is in the log, if the server keeps one.
pub async fn place(reader: &mut Session) -> Result<Option<Place>, Failure> {
    let mut at = Vec::new();
    for row in reader.rows("SHOW STATUS LIKE 'Binlog\\_snapshot\\_%'").await? {
        at.extend(row.into_iter().nth(1).flatten());
    }
    let [file, position] = at.as_slice() else { return Ok(None) };
    let Ok(position) = position.parse() else { return Ok(None) };
    if file.is_empty() {
        return Ok(None);
    }
    let gtid = gtid(reader, file, position).await?;
    Ok(Some(Place { file: file.clone(), position, gtid }))
}

async fn gtid(session: &mut Session, file: &str, position: u64) -> Result<Option<String>, Failure> {
    let gtid = session.one(format!("SELECT BINLOG_GTID_POS({}, {position})", literal(file))).await?;
    Ok(gtid.filter(|gtid| !gtid.is_empty()))
}

/// What a copy remembers, so that a refresh finds what has changed since.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    Known(Known),
    /// Why it is not known.
    Unknown(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Known {
    /// From where on the log is read.
    place: Place,
    log: Log,
    /// When each table was written to last, by what the server has in its memory.
    updated: BTreeMap<String, Option<String>>,
    /// What was written to before `place`, and after the moment.
    written: Written,
    /// What the copy holds; a journal may know of an older one.
    parts: Vec<Part>,
}

/// Which log it is. After a crash it may lack what the tables have, so one that was started again is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    started: String,
    /// How often the log was thrown away, or the server told to follow another one.
    reset: String,
}

/// Why a detector cannot be had.
type Without<T> = Result<T, String>;

fn why(failure: Failure) -> String {
    failure.message
}

/// What the server offers, or why it offers nothing.
pub async fn means(session: &mut Session) -> Without<Log> {
    let row = "SELECT @@GLOBAL.log_bin, @@GLOBAL.binlog_format";
    let row: Vec<String> = session.rows(row).await.map_err(why)?.into_iter().flatten().flatten().collect();
    let [on, format] = row.as_slice() else { return Err("the server does not say how it logs changes".to_owned()) };
    if on != "1" {
        return Err("the server keeps no log of changes (`log_bin`)".to_owned());
    }
    if format != "ROW" {
        return Err(format!("`binlog_format` is {format}, and only ROW says which tables are written to"));
    }
    let lacks = |failure: Failure, right: &str| match failure.kind {
        FailureKind::Denied => format!("Backout's user lacks the right {right}"),
        _ => why(failure),
    };
    let filters = session.rows("SHOW BINLOG STATUS").await.map_err(|e| lacks(e, "BINLOG MONITOR"))?.into_iter().next();
    let Some(filters) = filters else { return Err("the server has stopped logging changes".to_owned()) };
    if filters.into_iter().skip(2).flatten().any(|list| !list.is_empty()) {
        return Err("the server's log leaves out databases (`binlog_do_db`, `binlog_ignore_db`)".to_owned());
    }
    // What comes from elsewhere is logged there.
    let follows = session.rows("SHOW ALL SLAVES STATUS").await.map_err(|e| lacks(e, "SLAVE MONITOR"))?;
    if !follows.is_empty() {
        return Err("the server is a replica, whose log may lack what it takes over".to_owned());
    }
    let galera = session.rows("SHOW GLOBAL VARIABLES LIKE 'wsrep\\_on'").await.map_err(why)?;
    if galera.into_iter().flatten().flatten().any(|value| value == "ON") {
        return Err("the server is a node of a cluster, whose log may lack what it takes over".to_owned());
    }
    // One that is prepared is logged before it is seen.
    let counts = "SELECT SUM(IF(VARIABLE_NAME LIKE 'COM\\_XA\\_%', VARIABLE_VALUE, 0)), \
            GROUP_CONCAT(IF(VARIABLE_NAME IN ('COM_RESET', 'COM_CHANGE_MASTER'), VARIABLE_VALUE, NULL) ORDER BY VARIABLE_NAME), \
            UNIX_TIMESTAMP() - MAX(IF(VARIABLE_NAME = 'UPTIME', VARIABLE_VALUE, 0)) \
        FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN ('COM_XA_PREPARE', 'COM_XA_COMMIT', 'COM_RESET', \
            'COM_CHANGE_MASTER', 'UPTIME')";
    let row: Vec<String> = session.rows(counts).await.map_err(why)?.into_iter().flatten().flatten().collect();
    let [distributed, reset, started] = row.as_slice() else {
        return Err("the server does not say when it was started".to_owned());
    };
    if distributed.parse() != Ok(0.0) || !session.rows("XA RECOVER").await.map_err(why)?.is_empty() {
        return Err("the server has had prepared transactions (XA) since it was started".to_owned());
    }
    Ok(Log { started: started.clone(), reset: reset.clone() })
}

/// At the moment that is copied: `tables` were looked at before it, and `place` is where it is in the log.
pub async fn mark(session: &mut Session, place: Option<&Place>, tables: &[Table]) -> Since {
    let found = means(session).await.and_then(|log| {
        let place = place.cloned().ok_or("the server does not say where its log stands")?;
        let updated = tables.iter().map(|table| (table.name.clone(), table.updated.clone())).collect();
        Ok(Known { place, log, updated, written: Written::default(), parts: Vec::new() })
    });
    found.map_or_else(Since::Unknown, Since::Known)
}

/// When the copy is proven: what was logged meanwhile is read now, for most of it is of the copy itself.
pub async fn shortened(session: &mut Session, since: Since, live: &str, tables: &[Table], parts: &[Part]) -> Since {
    let Since::Known(known) = since else { return since };
    match log::written(session, &known.place, &[live], tables).await {
        Ok((written, place)) => Since::Known(Known { written, place, parts: parts.to_vec(), ..known }),
        Err(because) => Since::Unknown(because),
    }
}

pub struct Changed {
    pub detector: String,
    /// For each table of the moment what the copy holds of it, unless either may have changed.
    pub tables: Vec<Option<Part>>,
}

/// What may have changed until now, here or in the copy; the moment is there already.
pub async fn changed(
    session: &mut Session,
    since: Option<&Since>,
    (live, standby): (&str, &str),
    now: &[Table],
) -> Changed {
    match found(session, since, (live, standby), now).await {
        Ok(changed) => changed,
        Err(because) => {
            Changed { detector: format!("full compare ({because})"), tables: now.iter().map(|_| None).collect() }
        }
    }
}

async fn found(
    session: &mut Session,
    since: Option<&Since>,
    (live, standby): (&str, &str),
    now: &[Table],
) -> Without<Changed> {
    let known = match since {
        Some(Since::Known(known)) => known,
        Some(Since::Unknown(because)) => return Err(because.clone()),
        None => return Err("the copy does not say where the log stood".to_owned()),
    };
    let log = means(session).await?;
    if log.started != known.log.started {
        return Err("the server was started again since".to_owned());
    }
    let gtid = gtid(session, &known.place.file, known.place.position).await.map_err(why)?;
    if log.reset != known.log.reset || gtid.is_some() && gtid != known.place.gtid {
        return Err("the server has begun another log since".to_owned());
    }
    let (mut written, _) = log::written(session, &known.place, &[live, standby], now).await?;
    written.add(known.written.clone());
    if let Some(because) = written.anything() {
        return Err(because.to_owned());
    }
    taken_along(session, live, &mut written).await?;
    // The log says nothing of who has turned it off for himself.
    let touched = |table: &Table| {
        written.has(&table.name) || known.updated.get(&table.name).is_none_or(|then| *then != table.updated)
    };
    let part = |table: &Table| known.parts.iter().find(|part| part.name == table.name).cloned();
    let tables: Vec<Option<Part>> = now.iter().map(|table| if touched(table) { None } else { part(table) }).collect();
    let looked = tables.iter().filter(|kept| kept.is_none()).count();
    Ok(Changed { detector: format!("binlog: {looked} of {} tables", tables.len()), tables })
}

/// Rows that go or change with others by a foreign key are in no log.
async fn taken_along(session: &mut Session, live: &str, written: &mut Written) -> Without<()> {
    let keys = format!(
        "SELECT TABLE_NAME, REFERENCED_TABLE_NAME, BINARY UNIQUE_CONSTRAINT_SCHEMA = BINARY CONSTRAINT_SCHEMA \
         FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {}",
        literal(live)
    );
    let mut keys_of = Vec::new();
    for row in session.rows(keys).await.map_err(why)? {
        let row: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let [table, of, within] = row.as_slice() else { continue };
        if within != "1" {
            return Err(format!("{table} has a foreign key to another database"));
        }
        keys_of.push((table.clone(), of.clone()));
    }
    loop {
        let next = keys_of.iter().find(|(table, of)| written.has(of) && !written.has(table));
        let Some((table, _)) = next else { return Ok(()) };
        written.table(table);
    }
}
