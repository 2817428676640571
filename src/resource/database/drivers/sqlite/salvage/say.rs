//! Statements on one table, and what is shown of rows that only people can decide. Each statement changes nothing when it is
//! said a second time.
use super::{
    literal::{Cell, Literals},
    table::{Reference, Subject},
};
use crate::resource::database::{drivers::sqlite::connection::quoted, salvage::words};

pub struct Say<'s> {
    pub subject: &'s Subject<'s>,
    pub literals: &'s Literals,
    /// Foreign keys that refer to this table.
    pub incoming: Vec<&'s Reference>,
}

/// One row on the sides on which it is.
#[derive(Default)]
pub struct Sides<'r> {
    pub before: Option<&'r [Cell]>,
    pub new: Option<&'r [Cell]>,
    pub live: Option<&'r [Cell]>,
}

impl Say<'_> {
    fn table(&self) -> String {
        quoted(&self.subject.live.name)
    }
    fn column(&self, place: usize) -> String {
        quoted(&self.subject.columns[place].name)
    }
    fn values(&self, row: &[Cell]) -> String {
        row.iter().map(|cell| self.literals.of(cell)).collect::<Vec<_>>().join(", ")
    }

    /// By what SQLite itself takes for the same key.
    fn is_key(&self, row: &[Cell]) -> Vec<String> {
        let key = self.subject.key.iter().flatten();
        key.map(|&place| format!("{} = {}", self.column(place), self.literals.of(&row[place]))).collect()
    }

    /// To the letter, whatever the column would take for the same. `other`: what it must not be taken for.
    fn is(&self, place: usize, cell: &Cell, other: Option<&Cell>) -> String {
        let (column, literal) = (self.column(place), self.literals.of(cell));
        let kind = match other {
            Some(other) if cell.number() && other.number() && cell.kind() != other.kind() => {
                format!(" AND typeof({column}) = '{}'", cell.kind())
            }
            _ => String::new(),
        };
        match cell {
            Cell::Null => format!("{column} IS NULL"),
            _ => format!("+{column} COLLATE BINARY IS {literal}{kind}"),
        }
    }

    pub fn insert(&self, row: &[Cell]) -> String {
        let key: Vec<String> = self.subject.key.iter().flatten().map(|&place| self.column(place)).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO NOTHING;",
            self.table(),
            self.subject.names(),
            self.values(row),
            key.join(", ")
        )
    }

    /// Of a row without a key: so that there are as many of it, and no more.
    pub fn insert_counted(&self, row: &[Cell], count: i64) -> String {
        let same: Vec<String> = row.iter().enumerate().map(|(place, cell)| self.is_exactly(place, cell)).collect();
        format!(
            "INSERT INTO {0} ({1}) SELECT {2} WHERE (SELECT count(*) FROM {0} WHERE {3}) < {count};",
            self.table(),
            self.subject.names(),
            self.values(row),
            all(&same)
        )
    }

    fn is_exactly(&self, place: usize, cell: &Cell) -> String {
        let kind = if cell.number() {
            format!(" AND typeof({}) = '{}'", self.column(place), cell.kind())
        } else {
            String::new()
        };
        self.is(place, cell, None) + &kind
    }

    /// What differs between the two, where it still is as it was.
    pub fn update(&self, was: &[Cell], will_be: &[Cell]) -> String {
        let changed: Vec<usize> = (0..was.len()).filter(|&place| was[place] != will_be[place]).collect();
        let set: Vec<String> = changed
            .iter()
            .map(|&place| format!("{} = {}", self.column(place), self.literals.of(&will_be[place])))
            .collect();
        let mut terms = self.is_key(was);
        terms.extend(changed.iter().map(|&place| self.is(place, &was[place], Some(&will_be[place]))));
        format!("UPDATE {} SET {} WHERE {};", self.table(), set.join(", "), all(&terms))
    }

    /// Where it is as it was, and nothing refers to it: a reference could take more with it.
    pub fn delete(&self, was: &[Cell]) -> String {
        let mut terms = self.is_key(was);
        let key = self.subject.key.as_deref().unwrap_or_default();
        terms.extend(
            (0..was.len()).filter(|place| !key.contains(place)).map(|place| self.is_exactly(place, &was[place])),
        );
        for reference in &self.incoming {
            let named = reference.columns.iter().zip(&reference.parent_columns);
            let refers: Option<Vec<String>> = named
                .map(|(child, parent)| {
                    let cell = &was[self.subject.place(parent)?];
                    Some(format!("child.{} = {}", quoted(child), self.literals.of(cell)))
                })
                .collect();
            if let Some(refers) = refers {
                let (child, refers) = (quoted(&reference.child), refers.join(" AND "));
                terms.push(format!("NOT EXISTS (SELECT 1 FROM {child} AS child WHERE {refers})"));
            }
        }
        format!("DELETE FROM {} WHERE {};", self.table(), all(&terms))
    }

    /// `statement`: one that could be said.
    pub fn conflict(&self, why: &str, sides: &Sides<'_>, statement: &str) -> String {
        let columns: Vec<String> = (0..self.subject.columns.len()).map(|place| self.column(place)).collect();
        let key = self.subject.key.as_deref().unwrap_or_default();
        let said = |row: Option<&[Cell]>| row.map(|row| row.iter().map(|cell| self.literals.of(cell)).collect());
        let sides = words::Sides { before: said(sides.before), new: said(sides.new), live: said(sides.live) };
        words::conflict(&self.table(), why, (&columns, key), &sides, statement)
    }
}

/// SQLite bounds how deep an expression may be.
fn all(terms: &[String]) -> String {
    const FLAT: usize = 100;
    match terms.len() {
        0 => "1".to_owned(),
        count if count <= FLAT => terms.join(" AND "),
        count => {
            let (left, right) = terms.split_at(count / 2);
            format!("({}) AND ({})", all(left), all(right))
        }
    }
}
