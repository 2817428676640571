//! What an exchange would set aside, counted row by row.
use super::{
    connection::{number, quoted, uri},
    fingerprint::{Column, Table, tables},
};
use crate::resource::{CallCtx, copies::Lost};
use rusqlite::Connection;
use std::path::Path;

/// `live` has the database that goes as `main`; `copy` is the one that comes, opened with `parameters` of an URI.
pub fn between(live: &Connection, copy: &Path, parameters: &str, call: &CallCtx) -> rusqlite::Result<Vec<Lost>> {
    live.execute("ATTACH ?1 AS proven", [uri(copy, parameters)])?;
    let lost = count(live, call);
    live.execute_batch("DETACH proven")?;
    lost
}

fn count(connection: &Connection, call: &CallCtx) -> rusqlite::Result<Vec<Lost>> {
    let transaction = connection.unchecked_transaction()?;
    let (ours, theirs) = (tables(connection, "main")?, tables(connection, "proven")?);
    let rows_of = |schema: &str, table: &Table| {
        one(connection, &format!("SELECT count(*) FROM {schema}.{}", quoted(&table.name)))
    };
    let mut lost = Vec::new();
    for table in &ours {
        call.progress(&format!("comparing {}", table.name), 0, 0);
        let part = table.name.clone();
        lost.push(match theirs.iter().find(|t| t.name.eq_ignore_ascii_case(&part)) {
            Some(then) => compared(connection, table, then)?,
            None => Lost { part, rows: rows_of("main", table)?, changed: 0, missing: 0 },
        });
    }
    for table in &theirs {
        if !ours.iter().any(|t| t.name.eq_ignore_ascii_case(&table.name)) {
            lost.push(Lost { part: table.name.clone(), rows: 0, changed: 0, missing: rows_of("proven", table)? });
        }
    }
    transaction.commit()?;
    lost.retain(|l| (l.rows, l.changed, l.missing) != (0, 0, 0));
    Ok(lost)
}

fn one(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.query_row(sql, [], number)
}

/// The table as it is live, and as it was.
fn compared(connection: &Connection, live: &Table, then: &Table) -> rusqlite::Result<Lost> {
    let common = common(live, then);
    let by_key = key(live, then).map(|key| keyed(connection, live, then, &key, &common));
    match by_key {
        // Sorted by a collation that only the product has.
        Some(Err(e)) if e.to_string().contains("no such collation") => whole(connection, live, then, &common),
        Some(lost) => lost,
        None => whole(connection, live, then, &common),
    }
}

/// What says that row `b` is row `a`: the primary key when it is the same in both tables, else the row number.
fn key(live: &Table, then: &Table) -> Option<String> {
    let key = declared_key(live, then);
    let free = |name: &&str| !live.columns.iter().chain(&then.columns).any(|c| c.name.eq_ignore_ascii_case(name));
    let number = ["rowid", "_rowid_", "oid"].into_iter().find(free);
    let number =
        number.filter(|_| !live.without_rowid && !then.without_rowid).map(|name| format!("b.{name} = a.{name}"));
    let Some(key) = key else { return number };
    let columns: Vec<String> = key.iter().map(|c| quoted(&c.name)).collect();
    let mut terms: Vec<String> = columns.iter().map(|c| format!("b.{c} IS a.{c}")).collect();
    // SQLite lets rows of most tables have NULLs in their key, and then as many rows the same key as there are.
    if let Some(number) = number
        && key.iter().any(|c| !c.not_null)
    {
        let whole = columns.iter().map(|c| format!("a.{c} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
        terms.push(format!("({whole} OR {number})"));
    }
    Some(terms.join(" AND "))
}

/// The columns of the primary key, when it is the same in both tables.
pub fn declared_key<'t>(one: &'t Table, other: &Table) -> Option<Vec<&'t Column>> {
    let (ours, theirs) = (one.key(), other.key());
    let same =
        |(a, b): (&&Column, &&Column)| a.name.eq_ignore_ascii_case(&b.name) && a.kind.eq_ignore_ascii_case(&b.kind);
    (!ours.is_empty() && ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same)).then_some(ours)
}

/// The columns that both tables have.
pub fn common<'t>(one: &'t Table, other: &Table) -> Vec<&'t Column> {
    one.columns.iter().filter(|c| other.column(&c.name).is_some()).collect()
}

/// Whether rows `a` and `b` differ in these: a term of SQL.
pub fn differ(columns: &[&Column]) -> String {
    let terms = columns.iter().map(|c| quoted(&c.name));
    // Without the affinity and the collation that a comparison would borrow from the columns.
    let terms = terms.map(|c| format!("+a.{c} COLLATE BINARY IS NOT +b.{c} OR typeof(a.{c}) <> typeof(b.{c})"));
    any(&terms.collect::<Vec<_>>())
}

/// One pass: each live row looks up the one it was. Both keys are unique, so what found no partner is the rest.
fn keyed(
    connection: &Connection,
    live: &Table,
    then: &Table,
    same: &str,
    common: &[&Column],
) -> rusqlite::Result<Lost> {
    let (ours, theirs) = (format!("main.{}", quoted(&live.name)), format!("proven.{}", quoted(&then.name)));
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE {}) FROM {ours} a CROSS JOIN {theirs} b ON {same}",
        differ(common)
    );
    let (met, changed): (i64, i64) = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (met, changed) = (met.unsigned_abs(), changed.unsigned_abs());
    let all = |table: &str| one(connection, &format!("SELECT count(*) FROM {table}"));
    Ok(Lost {
        part: live.name.clone(),
        rows: all(&ours)?.saturating_sub(met),
        changed,
        missing: all(&theirs)?.saturating_sub(met),
    })
}

/// Rows that cannot be told to be the same: what is on one side only, by all that both can have.
fn whole(connection: &Connection, live: &Table, then: &Table, common: &[&Column]) -> rusqlite::Result<Lost> {
    let columns: Vec<String> =
        common.iter().map(|c| format!("{0} COLLATE BINARY, typeof({0})", quoted(&c.name))).collect();
    let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
    let (ours, theirs) = (format!("main.{}", quoted(&live.name)), format!("proven.{}", quoted(&then.name)));
    let only = |a: &str, b: &str| {
        one(connection, &format!("SELECT count(*) FROM (SELECT {columns} FROM {a} EXCEPT SELECT {columns} FROM {b})"))
    };
    Ok(Lost { part: live.name.clone(), rows: only(&ours, &theirs)?, changed: 0, missing: only(&theirs, &ours)? })
}

/// `(a OR b) OR (c OR d)`, because SQLite bounds how deep an expression may be, and tables can have many columns.
fn any(terms: &[String]) -> String {
    match terms {
        [] => "0".to_owned(),
        [one] => format!("({one})"),
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            format!("({} OR {})", any(left), any(right))
        }
    }
}
