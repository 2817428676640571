//! Statements on one table. Each changes nothing when it is said a second time.
use super::super::super::{connection::quoted, query::hex};
use super::tables::{Column, Form, Reference, Subject, list};
use crate::{
    plain::hidden,
    resource::database::salvage::{
        words,
        work::{Cell, Name, Says, name},
    },
};

/// The server's own client stops at the first statement that failed: the transaction ends with nothing done.
pub const APPLY: &str = "mariadb DATABASE < FILE";
pub const END: &str = "\nCOMMIT;\nSET sql_mode = @backout_mode, time_zone = @backout_zone;\n";
/// Takes every value that was there, and none that it would have to change.
pub const MODE: &str = "SET sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', foreign_key_checks = 1, \
     unique_checks = 1, check_constraint_checks = 1";

/// What has to be set so that values are read as they were written out, and no more: triggers of the product see it as well.
pub fn begin<'c>(mut columns: impl Iterator<Item = &'c Column>) -> String {
    let zone = if columns.any(|column| column.kind == "timestamp") { "SET time_zone = '+00:00';\n" } else { "" };
    format!(
        "SET NAMES utf8mb4;\nSET @backout_mode = @@sql_mode, @backout_zone = @@time_zone;\n{MODE};\n{zone}START TRANSACTION;\n\n"
    )
}

pub fn literal(cell: &Cell, column: &Column) -> String {
    let Some(bytes) = cell else { return "NULL".to_owned() };
    match (column.form, std::str::from_utf8(bytes)) {
        (Form::Bytes, _) => format!("X'{}'", hex(bytes)),
        (Form::Coded, _) => format!("_{} X'{}'", column.coding, hex(bytes)),
        // The new schema may have made a text of it, and a text may be anything.
        (Form::Number | Form::Index, Ok(text)) if is_number(text) => text.to_owned(),
        (Form::Single | Form::Double, Ok(text)) if is_real(text) => {
            if text.contains('e') {
                text.to_owned()
            } else {
                format!("{text}e0")
            }
        }
        (_, Ok(text)) => of_text(text),
        (_, Err(_)) => format!("X'{}'", hex(bytes)),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, "0"));
    [whole, rest].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_real(text: &str) -> bool {
    let (number, power) = text.split_once('e').unwrap_or((text, "0"));
    is_number(number) && power.strip_prefix('+').unwrap_or(power).parse::<i32>().is_ok()
}

/// One line, without anything that a terminal would act on.
fn of_text(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        match c {
            '\n' => literal += "\\n",
            '\r' => literal += "\\r",
            '\t' => literal += "\\t",
            '\\' => literal += "\\\\",
            '\'' => literal += "''",
            c if hidden(c) => return format!("_utf8mb4 X'{}'", hex(text.as_bytes())),
            c => literal.push(c),
        }
    }
    literal + "'"
}

pub struct Say<'s> {
    pub subject: &'s Subject,
    /// Foreign keys that refer to this table.
    pub incoming: Vec<&'s Reference>,
}

impl Say<'_> {
    fn table(&self) -> String {
        quoted(&self.subject.live.name)
    }
    pub fn literals(&self, row: &[Cell]) -> Vec<String> {
        row.iter().zip(&self.subject.columns).map(|(cell, column)| literal(cell, column)).collect()
    }

    /// By what the server itself takes for the same key.
    pub fn is_key(&self, row: &[Cell]) -> String {
        let term = |&place: &usize| {
            let column = &self.subject.columns[place];
            format!("{} = {}", quoted(&column.name), literal(&row[place], column))
        };
        self.subject.key.iter().map(term).collect::<Vec<_>>().join(" AND ")
    }

    /// To the letter, whatever the column would take for the same.
    fn is(&self, place: usize, cell: &Cell) -> String {
        let column = &self.subject.columns[place];
        let (name, literal) = (quoted(&column.name), literal(cell, column));
        if cell.is_none() {
            return format!("{name} IS NULL");
        }
        match column.form {
            Form::Number | Form::Double | Form::Plain => format!("{name} = {literal}"),
            Form::Index => format!("{name}+0 = {literal}"),
            Form::Single => format!("CAST({name} AS DOUBLE) = {literal}"),
            Form::Text if column.coding == "utf8mb4" && column.kind != "enum" && column.kind != "set" => {
                format!("{name} COLLATE utf8mb4_nopad_bin = {literal}")
            }
            Form::Text => format!("CONVERT({name} USING utf8mb4) COLLATE utf8mb4_nopad_bin = {literal}"),
            Form::Coded | Form::Bytes => format!("BINARY {name} = X'{}'", hex(cell.as_deref().unwrap_or_default())),
        }
    }

    fn into(&self) -> String {
        format!("INSERT INTO {} ({})", self.table(), list(&self.subject.columns))
    }
}

impl Says for Say<'_> {
    fn insert(&self, row: &[Cell]) -> String {
        format!(
            "{} SELECT {} FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM {} WHERE {});",
            self.into(),
            self.literals(row).join(", "),
            self.table(),
            self.is_key(row)
        )
    }

    fn insert_counted(&self, row: &[Cell], count: u64) -> String {
        let same: Vec<String> = row.iter().enumerate().map(|(place, cell)| self.is(place, cell)).collect();
        format!(
            "{} SELECT {} FROM DUAL WHERE (SELECT COUNT(*) FROM {} WHERE {}) < {count};",
            self.into(),
            self.literals(row).join(", "),
            self.table(),
            same.join(" AND ")
        )
    }

    fn update(&self, was: &[Cell], will_be: &[Cell]) -> String {
        let (mut set, mut terms) = (Vec::new(), vec![self.is_key(was)]);
        for (place, column) in self.subject.columns.iter().enumerate() {
            let name = quoted(&column.name);
            if was[place] != will_be[place] {
                set.push(format!("{name} = {}", literal(&will_be[place], column)));
                terms.push(self.is(place, &was[place]));
            } else if column.renewed {
                set.push(format!("{name} = {name}"));
            }
        }
        format!("UPDATE {} SET {} WHERE {};", self.table(), set.join(", "), terms.join(" AND "))
    }

    fn delete(&self, was: &[Cell]) -> String {
        let mut terms = vec![self.is_key(was)];
        let others = (0..was.len()).filter(|place| !self.subject.key.contains(place));
        terms.extend(others.map(|place| self.is(place, &was[place])));
        for reference in &self.incoming {
            let named = reference.columns.iter().zip(&reference.parent_columns);
            let refers: Option<Vec<String>> = named
                .map(|(column, parent)| {
                    let place = self.subject.place(parent)?;
                    Some(format!("child.{} = {}", quoted(column), literal(&was[place], &self.subject.columns[place])))
                })
                .collect();
            if let Some(refers) = refers {
                let (child, refers) = (quoted(&reference.child), refers.join(" AND "));
                terms.push(format!("NOT EXISTS (SELECT 1 FROM {child} AS child WHERE {refers})"));
            }
        }
        format!("DELETE FROM {} WHERE {};", self.table(), terms.join(" AND "))
    }

    fn conflict(&self, why: &str, [before, new, live]: [Option<&[Cell]>; 3], statement: &str) -> String {
        let columns: Vec<String> = self.subject.columns.iter().map(|column| quoted(&column.name)).collect();
        let said = |row: Option<&[Cell]>| row.map(|row| self.literals(row));
        let sides = words::Sides { before: said(before), new: said(new), live: said(live) };
        words::conflict(&self.table(), why, (&columns, &self.subject.key), &sides, statement)
    }

    fn names(&self, row: &[Cell]) -> Vec<Name> {
        let name = |columns: &[String]| {
            let places = self.subject.places(columns)?;
            let named: Vec<&Cell> = places.iter().map(|&place| &row[place]).collect();
            Some(name(&self.subject.live.name, columns, &named))
        };
        self.incoming.iter().filter_map(|reference| name(&reference.parent_columns)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_one_line_that_says_nothing_else() {
        assert_eq!(of_text("it's a \\ \n\r\t"), "'it''s a \\\\ \\n\\r\\t'");
        assert_eq!(of_text("\u{1b}[31m"), "_utf8mb4 X'1b5b33316d'");
        for (number, is) in [("-12.50", true), ("007", true), ("1); DROP", false), ("", false), ("1.", false)] {
            assert_eq!(is_number(number), is, "{number}");
        }
        for (real, is) in [("1.5e-300", true), ("-3", true), ("1e", false), ("e5", false), ("nan", false)] {
            assert_eq!(is_real(real), is, "{real}");
        }
    }
}
