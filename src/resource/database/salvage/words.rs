//! What is told of a salvage, in the same words for every database.
use crate::plain::shown;

pub fn removed(table: &str) -> String {
    format!("table {}: the new version has removed it, so nothing of it was set aside", shown(table))
}

pub fn fresh(table: &str, rows: u64) -> String {
    format!("table {}: only the new schema has it, rows: {rows}", shown(table))
}

pub fn fresh_column(column: &str, table: &str, values: u64) -> String {
    format!("column {} of {}: only the new schema has it, values: {values}", shown(column), shown(table))
}

pub fn removed_column(column: &str, table: &str) -> String {
    format!(
        "column {} of {}: the new schema does not have it, so rows that are inserted get its default",
        shown(column),
        shown(table)
    )
}

pub fn too_different(table: &str, common: usize) -> String {
    format!("table {}: both schemas have {common} columns in common, so it was not compared", shown(table))
}

pub fn other_key(table: &str, rows: u64) -> String {
    format!(
        "table {}: its primary key is another one in the new schema, so it was not compared, rows: {rows}",
        shown(table)
    )
}

pub fn no_key(table: &str) -> String {
    format!(
        "table {}: it has no primary key; rows that only the new version has are inserted, also those that the old one has deleted \
         since; what was changed or deleted cannot be told",
        shown(table)
    )
}

pub fn too_many(table: &str) -> String {
    format!("table {}: it has too many rows to compare them without a primary key", shown(table))
}

pub fn triggers(tables: &[String]) -> String {
    let tables: Vec<String> = tables.iter().map(|name| shown(name)).collect();
    format!(
        "These tables have triggers, which do their work for each of these statements as well: {}.",
        tables.join(", ")
    )
}

pub const BASE_UNKNOWN: &str = "It is not known how rows were at the restore point, because that could not be kept when it was \
    restored. Rows that only the new version has are inserted, also those that the old one has deleted since; everything else that \
    differs is a conflict.";

/// Of one table.
pub fn base_unknown_of(table: &str) -> String {
    format!(
        "Of table {} it is not known how rows were at the restore point: somebody wrote to it before that could be kept. Rows that only \
         the new version has are inserted, also those that the old one has deleted since; everything else that differs is a conflict.",
        shown(table)
    )
}

/// A column that the new version has changed in most rows: it may mean something else there.
pub fn migrated(column: &str, table: &str, changed: u64, rows: u64) -> String {
    format!(
        "The new version has changed column {} of {} in {changed} of {rows} rows, as a migration does. Make sure that it means the \
         same in the old one, also in the rows that are inserted.",
        shown(column),
        shown(table)
    )
}

pub fn refused(only: &str, why: &str) -> String {
    format!("{only}, and the table would not take it: {why}")
}
pub const ONLY_MADE: &str = "only the new version has it";
pub const ONLY_CHANGED: &str = "only the new version changed it";

pub fn taken(columns: &str) -> String {
    format!("another live row has the same {columns}")
}

pub fn no_parent(parent: &str) -> String {
    format!("it refers to a row of {parent} that is not there")
}

pub fn circle(parent: &str) -> String {
    format!("it refers to a row of {parent} by which others refer to it: one of them would have to be there first")
}

pub fn parent_in_conflict(parent: &str) -> String {
    format!("it refers to a row of {parent} that is a conflict itself")
}

/// Of one that is made without its reference.
pub fn half_made(parent: &str) -> String {
    format!("only the new version has it, so it is made, but {}", parent_in_conflict(parent))
}

/// A row, as values are said in SQL, on the sides on which it is.
#[derive(Default)]
pub struct Sides {
    pub before: Option<Vec<String>>,
    pub new: Option<Vec<String>>,
    pub live: Option<Vec<String>>,
}

/// Comments alone: what it is about, how the row is on each side, and a statement that could be said. `columns`: as SQL says
/// them; `key`: places among them.
pub fn conflict(
    table: &str,
    why: &str,
    (columns, key): (&[String], &[usize]),
    sides: &Sides,
    statement: &str,
) -> String {
    let mut text = format!("-- {}: {}\n", shown(table), shown(why));
    let all = [("before", &sides.before), ("new", &sides.new), ("live", &sides.live)];
    let present: Vec<&Vec<String>> = all.iter().filter_map(|(_, row)| row.as_ref()).collect();
    let Some(first) = present.first().copied() else { return text };
    let differ = |place: usize| present.len() < 2 || present.iter().any(|row| row[place] != first[place]);
    let places: Vec<usize> = (0..first.len()).filter(|place| !key.contains(place) && differ(*place)).collect();
    text += &side("key", Some(first), columns, key);
    for (name, row) in all {
        text += &side(name, row.as_ref(), columns, &places);
    }
    text + &commented(statement)
}

fn side(name: &str, row: Option<&Vec<String>>, columns: &[String], places: &[usize]) -> String {
    if places.is_empty() {
        return String::new();
    }
    let Some(row) = row else { return format!("--   {name:<7} (not there)\n") };
    const LONGEST: usize = 200;
    let cells = places.iter().map(|&place| {
        let cut: String = row[place].chars().take(LONGEST).collect();
        let more = if cut.len() < row[place].len() { "…" } else { "" };
        format!("{} = {cut}{more}", shown(&columns[place]))
    });
    format!("--   {name:<7} {}\n", cells.collect::<Vec<_>>().join(", "))
}

/// No line of it is a statement, whatever names it holds.
fn commented(statement: &str) -> String {
    statement.split(['\n', '\r']).map(|line| format!("-- {line}\n")).collect()
}
