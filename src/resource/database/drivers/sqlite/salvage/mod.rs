//! What was set aside, what came back and what is live now, compared row by row, as statements in the schema that is live. Reads
//! only, in one moment of what is live, and holds one row of each side at a time.
mod literal;
mod rows;
mod say;
mod table;

use super::{
    connection::{self, STILL, number, quoted, told, uri},
    fingerprint::{Table, tables},
    places::{Places, beside},
    proof::{Stand, stand},
};
use crate::{
    plain::shown,
    resource::{
        CallCtx, Failure,
        copies::Snapshot,
        database::salvage::{Salvage, Salvaged, Sheets, parents_first, words},
    },
};
use literal::Literals;
use rows::{Base, Rows};
use rusqlite::{Connection, OptionalExtension};
use say::Say;
use std::{collections::BTreeMap, path::Path};
use table::{Reference, Subject, references};

const BEGIN: &str = "PRAGMA foreign_keys = ON;\nBEGIN IMMEDIATE;\nPRAGMA defer_foreign_keys = ON;\n\n";
const END: &str = "\nCOMMIT;\n";
const APPLY: &str = "sqlite3 -bail DATABASE < FILE";
/// SQLite bounds how many columns a result may have, and four sides are asked for at once.
const MOST_COLUMNS: usize = 600;

/// `main` is live, `aside` what was set aside, `base` what came back where it differs.
pub struct Sides3 {
    connection: Connection,
    /// Of its own, and gone with it: what has become of rows to which others refer.
    scratch: Connection,
}

pub fn salvage(places: &Places, snapshot: &Snapshot, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
    let (live, copy) = (places.live()?, places.copy_of(snapshot)?);
    let aside = match stand(&copy, Some(&live))? {
        Stand::Live { aside: Some(aside) } => aside,
        Stand::By(_) => return Err(Failure::conflict("nobody has gone back to its copy, so nothing is set aside")),
        Stand::Live { aside: None } | Stand::Gone => return Err(Failure::not_found("nothing is set aside any more")),
    };
    let connection = connection::looking(&live.path, call).map_err(told)?;
    // Nobody writes to it; only a WAL that no room was left to take in has to be read with it.
    let taken_in = beside(&aside, "-wal").metadata().map_or(true, |wal| wal.len() == 0);
    let attach = |path: &Path, parameters: &str, name: &str| {
        connection.execute(&format!("ATTACH ?1 AS {name}"), [uri(path, parameters)]).map_err(told)
    };
    attach(&aside, if taken_in { STILL } else { "mode=ro" }, "aside")?;
    let base_known = copy.base().exists();
    if base_known {
        attach(&copy.base(), STILL, "base")?;
    }
    connection.execute_batch("BEGIN").map_err(told)?;
    let scratch = Connection::open("").map_err(told)?;
    let made = "CREATE TABLE made (name TEXT, key TEXT, inserted INTEGER, PRIMARY KEY (name, key)) WITHOUT ROWID";
    scratch.execute_batch(made).map_err(told)?;
    compare(&Sides3 { connection, scratch }, base_known, folder, call)
}

fn compare(sides: &Sides3, base_known: bool, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
    let connection = &sides.connection;
    let literals = Literals::new(connection).map_err(told)?;
    let mut salvaged = Salvaged { base_known, apply: APPLY, ..Salvaged::default() };
    let (ours, theirs) = (tables(connection, "main").map_err(told)?, tables(connection, "aside").map_err(told)?);
    let references = references(connection, &ours).map_err(told)?;
    let left_out = beside_tables(connection, &mut salvaged)?;
    let mine = |table: &&Table| !table.name.starts_with("sqlite_") && !left_out(&table.name);
    let mut subjects = Vec::new();
    let pairs: Vec<(&str, &str)> = references.iter().map(|r| (r.child.as_str(), r.parent.as_str())).collect();
    let ordered = parents_first(ours.iter().filter(mine).collect(), |table: &&Table| table.name.as_str(), &pairs);
    for live in ordered {
        match theirs.iter().find(|table| table.name.eq_ignore_ascii_case(&live.name)) {
            Some(aside) => subjects.extend(subject(connection, live, aside, &mut salvaged)?),
            None => salvaged.unmapped.push(words::removed(&live.name)),
        }
    }
    for table in theirs.iter().filter(mine) {
        if !ours.iter().any(|live| live.name.eq_ignore_ascii_case(&table.name)) {
            let count = rows_of(connection, &table.name)?;
            salvaged.unmapped.push(words::fresh(&table.name, count));
        }
    }
    let mut sheets = Sheets::new(folder, BEGIN, END);
    let mut counts: BTreeMap<&str, Salvage> = BTreeMap::new();
    // Parents come first with what is made and changed, and last with what is deleted.
    let there_and_back = subjects.iter().map(|s| (s, false)).chain(subjects.iter().rev().map(|s| (s, true)));
    for (subject, deletes) in there_and_back {
        let name = subject.live.name.as_str();
        call.progress(&format!("salvaging {}", shown(name)), 0, 0);
        let to = |reference: &&Reference| reference.parent == name;
        let mut rows = Rows {
            sides,
            say: Say { subject, literals: &literals, incoming: references.iter().filter(to).collect() },
            base: base(connection, subject, base_known).map_err(told)?,
            outgoing: references.iter().filter(|reference| reference.child == name).collect(),
            sheets: &mut sheets,
            changed: vec![0; subject.columns.len()],
            count: counts.remove(name).unwrap_or_else(|| Salvage { table: shown(name), ..Salvage::default() }),
        };
        let done = match (subject.key.is_some(), deletes) {
            (true, true) => rows.live_rows(),
            (true, false) => {
                rows.aside_rows().and_then(|()| if subject.nullable { rows.keyless_rows() } else { Ok(()) })
            }
            (false, true) => Ok(()),
            (false, false) => rows.keyless_rows(),
        };
        let migrated = if deletes || done.is_err() { Vec::new() } else { rows.migrated()? };
        salvaged.notes.extend(migrated);
        let count = rows.count;
        counts.insert(name, count);
        if let Err(failure) = done {
            if !failure.message.contains("no such collation") {
                return Err(failure);
            }
            let what = "it is sorted in a way that only the product knows, so it was not compared";
            salvaged.unmapped.push(format!("table {}: {what}", shown(name)));
        }
    }
    sheets.finish()?;
    salvaged.tables = counts.into_values().filter(|table| !table.is_empty()).collect();
    notes(connection, &mut salvaged).map_err(told)?;
    Ok(salvaged)
}

/// Virtual tables and what they keep their content in: statements on them are for nobody but their module.
fn beside_tables(connection: &Connection, salvaged: &mut Salvaged) -> Result<impl Fn(&str) -> bool + use<>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for schema in ["main", "aside"] {
        let sql =
            format!("SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' AND rootpage = 0 ORDER BY name");
        let mut statement = connection.prepare(&sql).map_err(told)?;
        let found = statement.query_map([], |row| row.get(0)).map_err(told)?;
        names.extend(found.collect::<Result<Vec<String>, _>>().map_err(told)?);
    }
    names.sort();
    names.dedup();
    for name in &names {
        let name = shown(name);
        salvaged
            .unmapped
            .push(format!("table {name}: it is virtual, so neither it nor what lies behind it was compared"));
    }
    Ok(move |table: &str| {
        names.iter().any(|name| {
            let behind = table.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
            behind && table.get(name.len()..).is_some_and(|rest| rest.starts_with('_'))
        })
    })
}

fn rows_of(connection: &Connection, table: &str) -> Result<u64, Failure> {
    let sql = format!("SELECT count(*) FROM aside.{}", quoted(table));
    connection.query_row(&sql, [], number).map_err(told)
}

/// `None`: it cannot be compared, which is told.
fn subject<'t>(
    connection: &Connection,
    live: &'t Table,
    aside: &'t Table,
    salvaged: &mut Salvaged,
) -> Result<Option<Subject<'t>>, Failure> {
    let subject = Subject::new(connection, live, aside).map_err(told)?;
    let name = live.name.as_str();
    for column in aside.columns.iter().filter(|column| live.column(&column.name).is_none()) {
        let sql = format!("SELECT count({}) FROM aside.{}", quoted(&column.name), quoted(&aside.name));
        let values = connection.query_row(&sql, [], number).map_err(told)?;
        salvaged.unmapped.push(words::fresh_column(&column.name, name, values));
    }
    for column in live.columns.iter().filter(|column| aside.column(&column.name).is_none()) {
        salvaged.unmapped.push(words::removed_column(&column.name, name));
    }
    if subject.columns.is_empty() || subject.columns.len() > MOST_COLUMNS {
        salvaged.unmapped.push(words::too_different(name, subject.columns.len()));
        return Ok(None);
    }
    if subject.key.is_none() {
        if !live.key().is_empty() || !aside.key().is_empty() {
            salvaged.unmapped.push(words::other_key(name, rows_of(connection, &aside.name)?));
            return Ok(None);
        }
        salvaged.unmapped.push(words::no_key(name));
    }
    Ok(Some(subject))
}

fn base(connection: &Connection, subject: &Subject, known: bool) -> rusqlite::Result<Base> {
    if !known {
        return Ok(Base::Unknown);
    }
    let of = |sql: &str| connection.query_row(sql, [&subject.live.name], |row| row.get::<_, i64>(0)).optional();
    if of("SELECT 1 FROM base.unknown WHERE name = ?1 COLLATE NOCASE")?.is_some() {
        return Ok(Base::Unknown);
    }
    let Some(number) = of("SELECT number FROM base.part WHERE name = ?1 COLLATE NOCASE")? else {
        return Ok(Base::Same);
    };
    let sql = format!("SELECT 'c' || position FROM base.columns{number} WHERE name = ?1 COLLATE NOCASE");
    let place = |name: &String| connection.query_row(&sql, [name], |row| row.get(0)).optional();
    let columns = subject.columns.iter().map(|column| place(&column.name)).collect::<rusqlite::Result<_>>()?;
    Ok(Base::Kept { number, columns })
}

fn notes(connection: &Connection, salvaged: &mut Salvaged) -> rusqlite::Result<()> {
    let sql = "SELECT DISTINCT tbl_name FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY tbl_name";
    let mut statement = connection.prepare(sql)?;
    let triggered: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if !triggered.is_empty() {
        salvaged.notes.push(words::triggers(&triggered));
    }
    if !salvaged.base_known {
        salvaged.notes.push(words::BASE_UNKNOWN.to_owned());
    }
    Ok(())
}
