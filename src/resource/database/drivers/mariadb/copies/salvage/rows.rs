//! The rows of one table on three sides: at the restore point, as they were set aside, and live. They are databases of one server,
//! which joins them by their key.
use super::super::super::{connection::Session, error::told};
use super::{
    base::Base,
    check::Asking,
    tables::{Column, Subject, Table},
};
use crate::resource::{
    Failure,
    database::salvage::{
        Was,
        work::{self, Cell},
    },
};
use bytes::Bytes;
use mysql_async::{Value, prelude::Queryable};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

pub type Work<'w> = work::Work<'w, Asking<'w>>;

/// Where rows are read, at one moment.
pub struct Reader {
    pub session: Session,
    pub live: String,
    pub aside: String,
    pub standby: String,
}

fn cells(row: mysql_async::Row) -> Vec<Cell> {
    let cell = |value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(Bytes::from(bytes)),
        other => Some(Bytes::from(other.as_sql(true))),
    };
    row.unwrap().into_iter().map(cell).collect()
}

fn read(columns: &[Column], table: &str) -> Vec<String> {
    columns.iter().map(|column| column.read(table)).collect()
}

impl Reader {
    /// One pass over all that can have something to say.
    pub async fn keyed(&mut self, work: &mut Work<'_>, base: &Base) -> Result<(), Failure> {
        let subject = work.table.say.subject;
        let (live, aside) = (subject.live.within(&self.live), subject.aside.within(&self.aside));
        let sides = [read(&subject.theirs, "a"), read(&subject.columns, "l"), read(&subject.rest, "l")].concat();
        let sides = sides.join(", ");
        let both = |from: &Table, standby: &str| {
            format!(
                "FROM {} b LEFT JOIN {aside} a ON {} LEFT JOIN {live} l ON {}",
                from.within(standby),
                subject.joined("b", "a"),
                subject.joined("b", "l")
            )
        };
        match base {
            Base::Same => Ok(()),
            Base::Unknown => {
                let joined = subject.joined("a", "l");
                let made = format!("SELECT {sides} FROM {aside} a LEFT JOIN {live} l ON {joined}");
                self.decide(work, made, None).await?;
                let nothing = vec!["NULL"; subject.theirs.len()];
                let ours = [read(&subject.columns, "l"), read(&subject.rest, "l")].concat();
                let only = format!(
                    "SELECT {}, {} FROM {live} l WHERE NOT EXISTS (SELECT 1 FROM {aside} a WHERE {joined})",
                    nothing.join(", "),
                    ours.join(", ")
                );
                self.decide(work, only, None).await
            }
            Base::Kept(before, new) => {
                let column = |column: &Column| before.column(&column.name);
                let was: Vec<String> = subject
                    .columns
                    .iter()
                    .map(|ours| column(ours).map_or("NULL".to_owned(), |column| column.read("b")))
                    .collect();
                let since: Vec<bool> = subject.columns.iter().map(|ours| column(ours).is_none()).collect();
                let sql = format!("SELECT {}, {sides} {}", was.join(", "), both(before, &self.standby));
                self.decide(work, sql, Some(&since)).await?;
                let sql = format!("SELECT {sides} {}", both(new, &self.standby));
                self.decide(work, sql, Some(&[])).await
            }
        }
    }

    /// `kept`: whether each row begins with how it was, and which of the columns the old version has added since; empty: it is
    /// known not to have been there.
    async fn decide(&mut self, work: &mut Work<'_>, sql: String, kept: Option<&[bool]>) -> Result<(), Failure> {
        let subject = work.table.say.subject;
        let count = subject.columns.len();
        let there = |row: &Vec<Cell>| subject.key.first().is_some_and(|&place| row[place].is_some());
        let mut rows = self.session.raw().query_iter(sql).await.map_err(told)?;
        while let Some(row) = rows.next().await.map_err(told)? {
            let mut row = cells(row);
            let mut take = |count: usize| {
                let rest = row.split_off(count.min(row.len()));
                std::mem::replace(&mut row, rest)
            };
            let mut before = take(if kept.is_some_and(|since| !since.is_empty()) { count } else { 0 });
            let aside = Some(take(count)).filter(there);
            let live = Some(take(count)).filter(there).map(|live| (live, row));
            let was = match kept {
                None => Was::Unknown,
                Some([]) => Was::New,
                Some(since) => {
                    // A column that the old version has added since cannot have been another one.
                    if let Some(other) = live.as_ref().map(|(row, _)| row).or(aside.as_ref()) {
                        for place in (0..count).filter(|&place| since[place]) {
                            before[place].clone_from(&other[place]);
                        }
                    }
                    Was::Other(before.as_slice())
                }
            };
            work.decide(was, aside, live).await?;
        }
        Ok(())
    }

    /// Rows without a key, compared by all that they hold: those that were set aside oftener than they are live. `false`: they
    /// are too many.
    pub async fn keyless(&mut self, work: &mut Work<'_>) -> Result<bool, Failure> {
        let subject = work.table.say.subject;
        let select = |columns: &[Column], table: &Table, schema: &str| {
            format!("SELECT {} FROM {} t", read(columns, "t").join(", "), table.within(schema))
        };
        let theirs = select(&subject.theirs, &subject.aside, &self.aside);
        let ours = select(&subject.columns, &subject.live, &self.live);
        let (Some(mut there), Some(now)) = (self.count(&theirs).await?, self.count(&ours).await?) else {
            return Ok(false);
        };
        let mut rows = self.session.raw().query_iter(theirs).await.map_err(told)?;
        while let Some(row) = rows.next().await.map_err(told)? {
            let row = cells(row);
            let digest = digest(&row);
            let now = now.get(&digest).copied().unwrap_or_default();
            if let Some(there) = there.remove(&digest).filter(|there| *there > now) {
                work.missing(row, there, now).await?;
            }
        }
        Ok(true)
    }

    async fn count(&mut self, select: &str) -> Result<Option<HashMap<[u8; 32], u64>>, Failure> {
        /// Rows that differ from each other.
        const MOST: usize = 2_000_000;
        let mut found: HashMap<[u8; 32], u64> = HashMap::new();
        let mut rows = self.session.raw().query_iter(select).await.map_err(told)?;
        let mut over = false;
        while let Some(row) = rows.next().await.map_err(told)? {
            over |= found.len() > MOST;
            if !over {
                *found.entry(digest(&cells(row))).or_default() += 1;
            }
        }
        Ok((!over).then_some(found))
    }
}

fn digest(row: &[Cell]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for cell in row {
        digest.update([u8::from(cell.is_some())]);
        let bytes = cell.as_deref().unwrap_or_default();
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    }
    digest.finalize().into()
}

/// For notes on a subject.
pub async fn rows_of(session: &mut Session, table: &str) -> Result<u64, Failure> {
    session.number(format!("SELECT COUNT(*) FROM {table}")).await
}

/// Whether the keys of both can be compared at all.
pub fn comparable(subject: &Subject) -> bool {
    subject.live.key == subject.aside.key && subject.key.len() == subject.live.key.len()
}
