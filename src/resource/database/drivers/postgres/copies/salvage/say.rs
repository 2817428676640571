//! Statements on one table. Each changes nothing when it is said a second time.
use super::super::mark::quoted;
use super::stream::{Cell, plain};
use super::tables::{Column, Compare, Reference, Subject, Table};
use crate::{
    plain::hidden,
    resource::database::salvage::{
        words,
        work::{Name, Says, name},
    },
};
use std::fmt::Write as _;

/// The server's own client stops by itself when a statement of a transaction failed: the rest of it is refused.
pub const APPLY: &str = "psql -X -q -d DATABASE -f FILE";
pub const END: &str = "\nCOMMIT;\n";

/// What has to be set so that values are read as they were written out, and no more: triggers of the product see it as well.
pub fn begin<'c>(coding: &str, columns: impl Iterator<Item = &'c Column>) -> String {
    let mut begin = format!(
        "BEGIN;\nSET LOCAL client_encoding = '{coding}';\nSET LOCAL standard_conforming_strings = on;\n\
         SET LOCAL DateStyle = 'ISO, YMD';\nSET LOCAL IntervalStyle = postgres;\nSET LOCAL extra_float_digits = 1;\n"
    );
    let (mut zones, mut money, mut xml) = (false, false, false);
    for column in columns.filter(|column| column.compare == Compare::Text) {
        zones |= column.kind.contains("with time zone") || column.kind.contains("tstz");
        money |= column.kind.contains("money");
        xml |= column.kind.contains("xml");
    }
    for (needed, setting) in [(zones, "TimeZone = 'UTC'"), (money, "lc_monetary = 'C'"), (xml, "xmloption = content")] {
        if needed {
            let _ = writeln!(begin, "SET LOCAL {setting};");
        }
    }
    begin + "SET CONSTRAINTS ALL DEFERRED;\n\n"
}

pub fn literal(cell: &Cell, compare: Compare) -> String {
    let Some(cell) = cell else { return "NULL".to_owned() };
    let bytes = plain(cell);
    match std::str::from_utf8(&bytes) {
        // The new schema may have made a text of it, and a text may be anything.
        Ok(text) if compare == Compare::Number && is_number(text) => text.to_owned(),
        Ok(text) if !text.contains(hidden) => format!("'{}'", text.replace('\'', "''")),
        Ok(text) => escaped(text.chars().map(Ok)),
        Err(_) => escaped(
            bytes
                .utf8_chunks()
                .flat_map(|chunk| chunk.valid().chars().map(Ok).chain(chunk.invalid().iter().copied().map(Err))),
        ),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// One line, without anything that a terminal would act on.
fn escaped(text: impl Iterator<Item = Result<char, u8>>) -> String {
    let mut literal = "E'".to_owned();
    for c in text {
        // Writing into a string cannot fail.
        let _ = match c {
            Ok('\n') => write!(literal, "\\n"),
            Ok('\r') => write!(literal, "\\r"),
            Ok('\t') => write!(literal, "\\t"),
            Ok('\'') => write!(literal, "''"),
            Ok('\\') => write!(literal, "\\\\"),
            Ok(c) if !hidden(c) => write!(literal, "{c}"),
            Ok(c) if u32::from(c) < 0x80 => write!(literal, "\\x{:02x}", u32::from(c)),
            Ok(c) if u32::from(c) < 0x1_0000 => write!(literal, "\\u{:04x}", u32::from(c)),
            Ok(c) => write!(literal, "\\U{:08x}", u32::from(c)),
            Err(byte) => write!(literal, "\\x{byte:02x}"),
        };
    }
    literal + "'"
}

pub struct Say<'s> {
    pub subject: &'s Subject,
    /// Foreign keys that refer to this table, and whose they are.
    pub incoming: Vec<(&'s Reference, &'s Table)>,
}

impl Say<'_> {
    fn column(&self, place: usize) -> &Column {
        &self.subject.columns[place]
    }
    pub fn literals(&self, row: &[Cell]) -> Vec<String> {
        row.iter().zip(&self.subject.columns).map(|(cell, column)| literal(cell, column.compare)).collect()
    }

    /// By what the server itself takes for the same key.
    fn is_key(&self, row: &[Cell]) -> Vec<String> {
        let term = |&place: &usize| {
            let column = self.column(place);
            format!("{} = {}", quoted(&column.name), literal(&row[place], column.compare))
        };
        self.subject.key.iter().map(term).collect()
    }

    /// To the letter, whatever the column would take for the same.
    fn is(&self, place: usize, cell: &Cell) -> String {
        let (name, literal) = (quoted(&self.column(place).name), literal(cell, self.column(place).compare));
        match (cell, self.column(place).compare) {
            (None, _) => format!("{name} IS NULL"),
            (Some(_), Compare::Number | Compare::Plain) => format!("{name} = {literal}"),
            (Some(_), Compare::Loose) => format!("{name} COLLATE \"C\" = {literal}"),
            (Some(_), Compare::Text) => format!("{name}::text = {literal}"),
        }
    }

    fn into(&self) -> String {
        let overriding = self.subject.columns.iter().any(|column| column.always);
        let overriding = if overriding { " OVERRIDING SYSTEM VALUE" } else { "" };
        format!("INSERT INTO {} ({}){overriding}", self.subject.live.quoted(), self.subject.names())
    }

    /// In one statement, so that they may refer to each other in any order.
    pub fn insert_all(&self, rows: &[&[Cell]]) -> String {
        let key: Vec<String> = self.subject.key.iter().map(|&place| quoted(&self.column(place).name)).collect();
        let rows: Vec<String> = rows.iter().map(|row| format!("({})", self.literals(row).join(", "))).collect();
        format!("{} VALUES {} ON CONFLICT ({}) DO NOTHING;", self.into(), rows.join(",\n    "), key.join(", "))
    }
}

impl Says for Say<'_> {
    fn insert(&self, row: &[Cell]) -> String {
        if self.subject.live.late_key {
            let (values, key) = (self.literals(row).join(", "), self.is_key(row).join(" AND "));
            let table = self.subject.live.quoted();
            return format!("{} SELECT {values} WHERE NOT EXISTS (SELECT FROM {table} WHERE {key});", self.into());
        }
        self.insert_all(&[row])
    }

    fn insert_counted(&self, row: &[Cell], count: u64) -> String {
        let same: Vec<String> = row.iter().enumerate().map(|(place, cell)| self.is(place, cell)).collect();
        format!(
            "{} SELECT {} WHERE (SELECT count(*) FROM {} WHERE {}) < {count};",
            self.into(),
            self.literals(row).join(", "),
            self.subject.live.rows(),
            same.join(" AND ")
        )
    }

    fn update(&self, was: &[Cell], will_be: &[Cell]) -> String {
        let changed: Vec<usize> = (0..was.len()).filter(|&place| was[place] != will_be[place]).collect();
        let set = |&place: &usize| {
            let column = self.column(place);
            format!("{} = {}", quoted(&column.name), literal(&will_be[place], column.compare))
        };
        let set: Vec<String> = changed.iter().map(set).collect();
        let mut terms = self.is_key(was);
        terms.extend(changed.iter().map(|&place| self.is(place, &was[place])));
        format!("UPDATE {} SET {} WHERE {};", self.subject.live.rows(), set.join(", "), terms.join(" AND "))
    }

    fn delete(&self, was: &[Cell]) -> String {
        let mut terms = self.is_key(was);
        let others = (0..was.len()).filter(|place| !self.subject.key.contains(place));
        terms.extend(others.map(|place| self.is(place, &was[place])));
        for (reference, child) in &self.incoming {
            let named = reference.columns.iter().zip(&reference.parent_columns);
            let refers: Option<Vec<String>> = named
                .map(|(column, parent)| {
                    let place = self.subject.place(parent)?;
                    Some(format!("child.{} = {}", quoted(column), literal(&was[place], self.column(place).compare)))
                })
                .collect();
            if let Some(refers) = refers {
                let (child, refers) = (child.quoted(), refers.join(" AND "));
                terms.push(format!("NOT EXISTS (SELECT FROM {child} AS child WHERE {refers})"));
            }
        }
        format!("DELETE FROM {} WHERE {};", self.subject.live.rows(), terms.join(" AND "))
    }

    fn conflict(&self, why: &str, [before, new, live]: [Option<&[Cell]>; 3], statement: &str) -> String {
        let columns: Vec<String> = self.subject.columns.iter().map(|column| quoted(&column.name)).collect();
        let said = |row: Option<&[Cell]>| row.map(|row| self.literals(row));
        let sides = words::Sides { before: said(before), new: said(new), live: said(live) };
        let live = &self.subject.live;
        let table = if live.schema == "public" { quoted(&live.name) } else { live.quoted() };
        words::conflict(&table, why, (&columns, &self.subject.key), &sides, statement)
    }

    fn names(&self, row: &[Cell]) -> Vec<Name> {
        let name = |(reference, _): &(&Reference, &Table)| {
            let places = self.subject.places(&reference.parent_columns)?;
            let named: Vec<&Cell> = places.iter().map(|&place| &row[place]).collect();
            Some(name(&reference.parent.to_string(), &reference.parent_columns, &named))
        };
        self.incoming.iter().filter_map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_one_line_that_no_terminal_acts_on() {
        let of = |cell: &'static [u8]| literal(&Some(bytes::Bytes::from_static(cell)), Compare::Plain);
        assert_eq!(of(b"it's a \\\\ plain"), "'it''s a \\ plain'");
        assert_eq!(of(b"a\\nb'\\\\\x1b"), "E'a\\nb''\\\\\\x1b'");
        assert_eq!(of("\u{202e}é\u{e0001}".as_bytes()), "E'\\u202eé\\U000e0001'");
        assert_eq!(of(b"\xff\xc3\xa9'"), "E'\\xffé'''");
        assert_eq!(literal(&None, Compare::Number), "NULL");
        let number = |cell: &'static [u8]| literal(&Some(bytes::Bytes::from_static(cell)), Compare::Number);
        assert_eq!(number(b"-7"), "-7");
        assert_eq!(number(b"7); DROP TABLE t; --"), "'7); DROP TABLE t; --'");
    }
}
