//! What an exchange has brought back, where what it set aside differs from it. Right after an exchange the live database *is* the
//! restore point; as soon as the product writes, nobody could say any more which side has changed a row. So the rows that differ
//! are kept, of tables that nobody has written to since: none of their rows is of a later transaction, and none is gone. They are
//! kept as the text that the server writes them out as, in a schema of the database that was set aside:
//!
//! ```text
//! part (number, schema, name, key, kinds, columns)   tables of which something is kept, and the number of theirs
//! unknown (schema, name)                             tables of which nothing could be kept
//! rowsN (k0 …, kind, c0 …)                           the order of the key; the row that came back
//!     changed                                        both have it, and it differs
//!     missing                                        only what came back has it
//!     new                                            only what was set aside has it: nothing but the key
//! ```
//!
//! It is best effort, and bounded in time and room. Without it `salvage` says that the base is not known.
use super::super::super::{Postgres, connection::Use, error::told};
use super::super::{
    content::{self, Moment},
    mark::{Names, literal},
};
use super::{
    stream::{Cell, Order, Row, Rows},
    tables::{Subject, Table, list, tables},
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Fingerprint, Lost},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::pin::pin;
use tokio_postgres::Client;

pub const SCHEMA: &str = "backout_base";
/// The product may have a schema of this name.
const MARK: &str = "Kept by Backout, for `backout salvage`: how rows were at the restore point.";
/// Of a whole database.
const MOST: usize = 256 << 20;

/// What tells whether somebody has written since: the transaction of the exchange, and what its copy was proven to hold.
pub type Since<'s> = (&'s str, &'s Fingerprint);

/// `goes` has what was set aside, `comes` what is live now; `lost` is what was counted of them.
pub async fn gather(
    postgres: &Postgres,
    names: &Names,
    (goes, comes): (&Moment, &Moment),
    (lost, since): (&[Lost], Since<'_>),
    call: &CallCtx,
) -> Result<(), Failure> {
    call.progress("keeping what came back where it differs", 0, 0);
    let (ours, theirs) = (goes.first()?, comes.first()?);
    let (aside, live) = (tables(ours).await?, tables(theirs).await?);
    let coding = content::coding(ours).await?;
    let kept = content::comparing(postgres, &names.aside, Use::Writing, call).await?;
    let made = format!(
        "BEGIN; SET LOCAL synchronous_commit = on; CREATE SCHEMA {SCHEMA}; COMMENT ON SCHEMA {SCHEMA} IS {};
         CREATE TABLE {SCHEMA}.part (number INT, schema TEXT, name TEXT, key TEXT[], kinds TEXT[], columns TEXT[]);
         CREATE TABLE {SCHEMA}.unknown (schema TEXT, name TEXT)",
        literal(MARK)
    );
    kept.batch_execute(&made).await.map_err(told)?;
    let mut room = MOST;
    for (number, then) in (0_i32..).zip(&live) {
        let Some(table) = aside.iter().find(|table| table.is(then)) else { continue };
        let shown = content_name(then);
        if !then.is_partitioned() && !lost.iter().any(|lost| lost.part == shown) {
            continue;
        }
        if then.key.is_empty() || then.key != table.key {
            unknown(&kept, then).await?;
            continue;
        }
        let sides = Sides { ours, theirs, kept: &kept, coding: &coding, since };
        sides.part(number, table, then, &mut room).await?;
    }
    kept.batch_execute("COMMIT").await.map_err(told)
}

async fn unknown(kept: &Client, table: &Table) -> Result<(), Failure> {
    let unknown = format!("INSERT INTO {SCHEMA}.unknown VALUES ($1, $2)");
    kept.execute(&unknown, &[&table.schema, &table.name]).await.map(|_| ()).map_err(told)
}

/// As `content::Table::shown` has it.
fn content_name(table: &Table) -> String {
    content::shown(&table.schema, &table.name)
}

struct Sides<'s> {
    ours: &'s Client,
    theirs: &'s Client,
    kept: &'s Client,
    coding: &'s str,
    since: Since<'s>,
}

/// Where a row is stored: the table or partition, and the place in it.
type Place = (String, String);

impl Sides<'_> {
    async fn part(&self, number: i32, table: &Table, then: &Table, room: &mut usize) -> Result<(), Failure> {
        let order = Order::of(then);
        let subject = Subject::new(then.clone(), table.clone());
        let stored: Vec<_> = then.columns.iter().filter(|column| !column.computed).cloned().collect();
        let kind = if order.numbers { "BIGINT" } else { "TEXT COLLATE \"C\"" };
        let keys: Vec<String> = (0..order.terms.len()).map(|i| format!("k{i} {kind}")).collect();
        let texts: Vec<String> = (0..stored.len()).map(|i| format!("c{i} TEXT")).collect();
        let columns = [keys, vec!["kind TEXT".to_owned()], texts].concat().join(", ");
        self.kept.batch_execute(&format!("CREATE TABLE {SCHEMA}.rows{number} ({columns})")).await.map_err(told)?;
        let [mut new, mut changed, mut missing]: [Vec<Place>; 3] = Default::default();
        let what = format!("md5(ROW({})::text), tableoid::regclass, ctid", subject.names());
        let mut a = order.read(self.ours, &what, &table.rows(), self.coding).await?;
        let late = format!("{what}, {}", self.late());
        let mut b = order.read(self.theirs, &late, &then.rows(), self.coding).await?;
        let (mut rows, mut written) = (0_u64, false);
        let (mut left, mut right) = (a.next().await?, b.next().await?);
        loop {
            let (l, r) = match (&left, &right) {
                (None, None) => break,
                (Some(l), Some(r)) if l.key == r.key => {
                    if l.cells.first() != r.cells.first() {
                        changed.push(place(r));
                    }
                    (true, true)
                }
                (Some(l), r) if r.as_ref().is_none_or(|r| l.key < r.key) => {
                    new.push(place(l));
                    (true, false)
                }
                (_, r) => {
                    missing.extend(r.as_ref().map(place));
                    (false, true)
                }
            };
            if l {
                left = a.next().await?;
            }
            if let (true, Some(row)) = (r, &right) {
                rows += 1;
                written |= row.cells.last().is_none_or(|late| late.as_deref() != Some(b"f"));
                right = b.next().await?;
            }
        }
        if written || rows != self.proven(then).await? {
            return unknown(self.kept, then).await;
        }
        let nothing = vec!["NULL"; stored.len()].join(", ");
        let all = list(&stored);
        for (from, kind, places, what) in [
            (self.ours, "new", new, &nothing),
            (self.theirs, "changed", changed, &all),
            (self.theirs, "missing", missing, &all),
        ] {
            let terms = order.terms.join(", ");
            self.keep(from, number, &format!("{terms}, '{kind}', {what}"), places, room).await?;
        }
        let (names, kinds): (Vec<&String>, Vec<&String>) = then.key.iter().map(|(name, kind)| (name, kind)).unzip();
        let columns: Vec<&String> = stored.iter().map(|column| &column.name).collect();
        let part = format!("INSERT INTO {SCHEMA}.part VALUES ($1, $2, $3, $4, $5, $6)");
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&number, &then.schema, &then.name, &names, &kinds, &columns];
        self.kept.execute(&part, &values).await.map(|_| ()).map_err(told)
    }

    /// Whether a row is of the transaction of the exchange or of a later one. The server counts transactions in a circle.
    fn late(&self) -> String {
        let number = self.since.0.parse::<u64>().unwrap_or(0) & u64::from(u32::MAX);
        format!("age(xmin) <= age('{number}'::xid)")
    }

    /// How many rows the table had when the copy was proven, with those of its partitions.
    async fn proven(&self, table: &Table) -> Result<u64, Failure> {
        const LEAVES: &str = "SELECT n.nspname::text, c.relname::text FROM pg_partition_tree($1) t \
            JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf";
        let mut names = vec![content_name(table)];
        if table.is_partitioned() {
            let leaves = self.theirs.query(&LEAVES.replace("$1", &format!("{}::oid", table.oid)), &[]).await;
            names = leaves.map_err(told)?.iter().map(|row| content::shown(row.get(0), row.get(1))).collect();
        }
        let parts = self.since.1.parts.iter().filter(|part| names.contains(&part.name));
        Ok(parts.map(|part| part.count).sum())
    }

    /// A text in the form for a copy is the same whatever the type of its column.
    async fn keep(
        &self,
        from: &Client,
        number: i32,
        what: &str,
        mut places: Vec<Place>,
        room: &mut usize,
    ) -> Result<(), Failure> {
        const AT_ONCE: usize = 2_000;
        places.sort();
        for of in places.chunk_by(|a, b| a.0 == b.0) {
            for some in of.chunks(AT_ONCE) {
                let Some((table, _)) = some.first() else { continue };
                let places: Vec<String> = some.iter().map(|(_, place)| format!("\"{place}\"")).collect();
                let out = format!(
                    "COPY (SELECT {what} FROM ONLY {table} WHERE ctid = ANY ('{{{}}}'::tid[])) TO STDOUT (ENCODING '{}')",
                    places.join(","),
                    self.coding
                );
                let into = format!("COPY {SCHEMA}.rows{number} FROM STDIN (ENCODING '{}')", self.coding);
                let mut rows = pin!(from.copy_out(&out).await.map_err(told)?);
                let mut sink = pin!(self.kept.copy_in::<_, Bytes>(&into).await.map_err(told)?);
                while let Some(row) = rows.next().await {
                    let row = row.map_err(told)?;
                    let too_much = || Failure::failed("so much differs that it is not kept");
                    *room = room.checked_sub(row.len()).ok_or_else(too_much)?;
                    sink.send(row).await.map_err(told)?;
                }
                sink.finish().await.map_err(told)?;
            }
        }
        Ok(())
    }
}

fn place(row: &Row) -> Place {
    let text = |i: usize| -> String {
        let cell = row.cells.get(i).cloned().flatten().unwrap_or_default();
        String::from_utf8_lossy(&super::stream::plain(&cell)).into_owned()
    };
    (text(1), text(2))
}

/// What is kept of how a table was at the restore point.
pub enum Base {
    Unknown,
    /// Nothing of it differed then.
    Same,
    Kept(Part),
}

pub struct Part {
    number: i32,
    columns: Vec<String>,
}

/// `session`: in what was set aside.
pub async fn known(session: &Client) -> Result<bool, Failure> {
    let known = "SELECT obj_description(oid, 'pg_namespace') = $2 FROM pg_namespace WHERE nspname = $1";
    let row = session.query_opt(known, &[&SCHEMA, &MARK]).await.map_err(told)?;
    Ok(row.and_then(|row| row.get::<_, Option<bool>>(0)).unwrap_or(false))
}

pub async fn of(session: &Client, known: bool, subject: &Subject) -> Result<Base, Failure> {
    let live = &subject.live;
    if !known {
        return Ok(Base::Unknown);
    }
    let unknown = format!("SELECT 1 FROM {SCHEMA}.unknown WHERE (schema, name) = ($1, $2)");
    if session.query_opt(&unknown, &[&live.schema, &live.name]).await.map_err(told)?.is_some() {
        return Ok(Base::Unknown);
    }
    let part = format!("SELECT number, columns, key, kinds FROM {SCHEMA}.part WHERE (schema, name) = ($1, $2)");
    let Some(row) = session.query_opt(&part, &[&live.schema, &live.name]).await.map_err(told)? else {
        return Ok(Base::Same);
    };
    let key: Vec<(String, String)> =
        row.get::<_, Vec<String>>(2).into_iter().zip(row.get::<_, Vec<String>>(3)).collect();
    if key != live.key {
        return Ok(Base::Unknown);
    }
    Ok(Base::Kept(Part { number: row.get(0), columns: row.get(1) }))
}

impl Part {
    /// Rows of its kind, and then its columns as the subject has them; those that came later are NULL.
    pub async fn read(
        &self,
        session: &Client,
        order: &Order,
        subject: &Subject,
        coding: &str,
    ) -> Result<Rows, Failure> {
        let kept = Order { terms: (0..order.terms.len()).map(|i| format!("k{i}")).collect(), numbers: order.numbers };
        let place = |name: &String| self.columns.iter().position(|column| column == name);
        let columns = subject.columns.iter().map(|c| place(&c.name).map_or("NULL".to_owned(), |i| format!("c{i}")));
        let what = [vec!["kind".to_owned()], columns.collect()].concat().join(", ");
        kept.read(session, &what, &format!("{SCHEMA}.rows{}", self.number), coding).await
    }

    /// A column that the old version has added since cannot have been another one.
    pub fn fill(&self, subject: &Subject, before: &mut [Cell], other: &[Cell]) {
        for ((cell, column), other) in before.iter_mut().zip(&subject.columns).zip(other) {
            if !self.columns.contains(&column.name) {
                cell.clone_from(other);
            }
        }
    }
}
