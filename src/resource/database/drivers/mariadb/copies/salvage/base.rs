//! What an exchange has brought back, where what it set aside differs from it. Right after an exchange the live database *is* the
//! restore point; as soon as the product writes, nobody could say any more which side has changed a row. So the rows that differ
//! are kept, of tables that hold exactly what their copy was proven to hold. They are kept in the stand-by, which is empty since
//! the exchange and goes with it:
//!
//! ```text
//! beforeN     rows that came back and that are others, or are not, in what was set aside; the key and all that is stored
//! newN        keys that only what was set aside has
//! ```
//!
//! It is best effort, and bounded in time and room. Without it `salvage` says that the base is not known.
use super::super::{
    super::{
        MariaDb,
        connection::{Session, Use, quoted},
        error::told,
        own::Copy,
    },
    content::{self, Sum, digest, values},
};
use super::tables::{Column, Form, Subject, Table, list, tables};
use crate::resource::{
    CallCtx, Failure,
    copies::{Fingerprint, Lost},
};
use mysql_async::prelude::Queryable;
use serde::{Deserialize, Serialize};

/// Of a whole database.
const MOST: usize = 256 << 20;
const ENOUGH: usize = 1 << 20;

/// What is kept of which tables. Of one that is not named nothing differed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// By their numbers.
    parts: Vec<(usize, String)>,
    unknown: Vec<String>,
}

/// `lost` is what was counted of what the exchange set aside, `then` what its copy was proven to hold.
pub async fn gather(
    maria: &MariaDb,
    copy: &Copy,
    (lost, then): (&[Lost], &Fingerprint),
    call: &CallCtx,
) -> Result<Kept, Failure> {
    call.progress("keeping what came back where it differs", 0, 0);
    let live = &maria.server.database;
    let mut reader = maria.connect(Use::Looking, call).await?;
    let (ours, theirs) = (tables(&mut reader, live).await?, tables(&mut reader, &copy.aside).await?);
    let whole = content::tables(&mut reader, live).await?;
    content::moment(&mut reader).await?;
    let mut writer = maria.connect(Use::Writing, call).await?;
    writer.run("SET NAMES binary").await?;
    let mut kept = Kept::default();
    let (mut room, all) = (MOST, lost.iter().any(Lost::is_uncounted));
    for (number, table) in ours.iter().enumerate() {
        let Some(aside) = theirs.iter().find(|other| other.name == table.name) else { continue };
        if !all && !lost.iter().any(|lost| lost.part == table.name) {
            continue;
        }
        let (subject, read) = (Subject::new(table.clone(), aside.clone()), whole.iter().find(|t| t.name == table.name));
        let known = match (read, same_key(table, aside)) {
            (Some(read), true) => {
                let part = Part { live, copy, subject: &subject, read, number };
                let proven = then.parts.iter().find(|part| part.name == table.name);
                match part.keep(&mut reader, &mut writer, &mut room).await {
                    Ok(sum) => Some(&sum.part(table.name.clone())) == proven,
                    // Nobody but the reader is in the middle of anything.
                    Err(failure) if failure.kind == crate::resource::FailureKind::Invalid => false,
                    Err(failure) => return Err(failure),
                }
            }
            _ => false,
        };
        if known {
            kept.parts.push((number, table.name.clone()));
        } else {
            kept.unknown.push(table.name.clone());
        }
    }
    reader.close().await;
    writer.close().await;
    Ok(kept)
}

fn same_key(one: &Table, other: &Table) -> bool {
    !one.key.is_empty() && one.key == other.key
}

struct Part<'p> {
    live: &'p str,
    copy: &'p Copy,
    subject: &'p Subject,
    /// The same table, as it is read whole.
    read: &'p content::Table,
    number: usize,
}

/// Whether a value is another one, to the last bit.
fn other(one: &Column, theirs: &Column) -> String {
    let bits = |column: &Column, table: &str| match column.form {
        Form::Text => format!("BINARY CONVERT({table}.{} USING utf8mb4)", quoted(&column.name)),
        _ => format!("BINARY ({})", column.read(table)),
    };
    format!("NOT ({} <=> {})", bits(one, "l"), bits(theirs, "a"))
}

impl Part<'_> {
    fn kept(&self, what: &str) -> String {
        format!("{}.{}", quoted(&self.copy.standby), quoted(&format!("{what}{}", self.number)))
    }

    /// What the table holds now.
    async fn keep(&self, reader: &mut Session, writer: &mut Session, room: &mut usize) -> Result<Sum, Failure> {
        let Self { live, copy, subject, read, .. } = self;
        let (ours, theirs) = (subject.live.within(live), subject.aside.within(&copy.aside));
        let key: Vec<Column> = subject.key.iter().map(|&place| subject.columns[place].clone()).collect();
        for (what, columns) in [("before", &subject.live.columns), ("new", &key)] {
            let table = self.kept(what);
            writer.run(format!("DROP TABLE IF EXISTS {table}")).await?;
            let made = format!(
                "CREATE TABLE {table} (PRIMARY KEY ({})) ENGINE=InnoDB SELECT {} FROM {ours} LIMIT 0",
                list(&key),
                list(columns)
            );
            writer.run(made).await?;
        }
        let differs: Vec<String> =
            subject.columns.iter().zip(&subject.theirs).map(|(one, theirs)| other(one, theirs)).collect();
        let first = key.first().map(|column| quoted(&column.name)).unwrap_or_default();
        let columns: Vec<String> = read.columns.iter().map(|column| column.read("l")).collect();
        let before = format!(
            "SELECT {}, a.{first} IS NULL OR {} FROM {ours} l LEFT JOIN {theirs} a ON {}",
            columns.join(", "),
            differs.join(" OR "),
            subject.joined("l", "a")
        );
        let mut sum = Sum::default();
        let mut into = Into::new(self.kept("before"), (*read).clone());
        let mut rows = reader.raw().query_iter(before).await.map_err(told)?;
        while let Some(row) = rows.next().await.map_err(told)? {
            let mut row = values(row);
            let differs = row.pop().flatten().is_some_and(|differs| differs != b"0");
            sum.add_digest(&digest(&row));
            // Read to its end all the same: an answer that is left in the middle would be read by whoever asks next.
            if differs {
                into.put(&row, writer, room).await?;
            }
        }
        drop(rows);
        into.end(writer).await?;
        let columns: Vec<content::Column> =
            key.iter().filter_map(|key| read.columns.iter().find(|column| column.name == key.name)).cloned().collect();
        let names: Vec<String> = columns.iter().map(|column| column.read("a")).collect();
        let new = format!(
            "SELECT {} FROM {theirs} a WHERE NOT EXISTS (SELECT 1 FROM {ours} l WHERE {})",
            names.join(", "),
            subject.joined("l", "a")
        );
        let mut into = Into::new(self.kept("new"), content::Table { columns, ..(*read).clone() });
        let mut rows = reader.raw().query_iter(new).await.map_err(told)?;
        while let Some(row) = rows.next().await.map_err(told)? {
            into.put(&values(row), writer, room).await?;
        }
        drop(rows);
        into.end(writer).await?;
        Ok(sum)
    }
}

/// Rows on their way into a table.
struct Into {
    begin: String,
    table: content::Table,
    statement: Vec<u8>,
    full: bool,
}

impl Into {
    fn new(name: String, table: content::Table) -> Self {
        let begin = format!("INSERT INTO {name} ({}) VALUES ", table.names());
        Self { begin, table, statement: Vec::new(), full: false }
    }

    async fn put(&mut self, row: &content::Values, writer: &mut Session, room: &mut usize) -> Result<(), Failure> {
        let mut tuple = Vec::new();
        self.table.tuple(row, &mut tuple);
        match room.checked_sub(tuple.len()) {
            Some(left) if !self.full => *room = left,
            _ => {
                self.full = true;
                return Ok(());
            }
        }
        if !self.statement.is_empty() && self.statement.len() + tuple.len() > ENOUGH {
            writer.run(std::mem::take(&mut self.statement)).await?;
        }
        self.statement.extend_from_slice(if self.statement.is_empty() { self.begin.as_bytes() } else { b"," });
        self.statement.extend_from_slice(&tuple);
        Ok(())
    }

    async fn end(self, writer: &mut Session) -> Result<(), Failure> {
        if self.full {
            return Err(Failure::invalid("so much differs that it is not kept"));
        }
        if !self.statement.is_empty() {
            writer.run(self.statement).await?;
        }
        Ok(())
    }
}

/// What is kept of how a table was at the restore point.
pub enum Base {
    Unknown,
    /// Nothing of it differed then.
    Same,
    /// The rows, and the keys.
    Kept(Table, Table),
}

impl Base {
    /// `standing`: the tables in the stand-by.
    pub fn of(kept: Option<&Kept>, standing: &[Table], subject: &Subject) -> Self {
        let Some(kept) = kept else { return Self::Unknown };
        let name = &subject.live.name;
        if kept.unknown.contains(name) {
            return Self::Unknown;
        }
        let Some((number, _)) = kept.parts.iter().find(|(_, part)| part == name) else { return Self::Same };
        let find = |what: &str| standing.iter().find(|table| table.name == format!("{what}{number}")).cloned();
        match (find("before"), find("new")) {
            (Some(before), Some(new)) if before.key == subject.live.key && new.key == subject.live.key => {
                Self::Kept(before, new)
            }
            _ => Self::Unknown,
        }
    }
}
