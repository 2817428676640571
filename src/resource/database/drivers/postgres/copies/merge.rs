//! Two tables of one name, row by row, in two databases.
//!
//! Two databases of a server cannot be asked in one query. So both are read in the order of their keys and the two streams are
//! merged: neither side has to be held. Rows come as they are: a server takes five times as long to digest them.
use super::super::error::told;
use super::content::{self, Table};
use crate::resource::Failure;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::{ops::ControlFlow, pin::pin};
use tokio_postgres::Client;

/// How the rows of a table are put in order, and told apart.
struct Order {
    /// What is sent of a row before the rest, in so many columns, and in which order.
    key: String,
    columns: usize,
    by: String,
    numbers: bool,
    rest: String,
}

impl Order {
    /// By the primary key when it is the same in both, else by all that both can have. MD5 is in every server, and fast; who
    /// could make two rows with one digest would change a number in a report.
    fn of(live: &Table, then: &Table) -> Self {
        let common: Vec<&str> =
            live.columns.iter().filter(|column| then.columns.contains(column)).map(String::as_str).collect();
        let row = if common.is_empty() { "''".to_owned() } else { common.join(", ") };
        if live.key.is_empty() || live.key != then.key {
            let key = format!("md5(ROW({row})::text)");
            return Self { by: format!("{key} COLLATE \"C\""), key, columns: 1, numbers: false, rest: "''".to_owned() };
        }
        let columns: Vec<&str> = live.key.iter().map(|(column, _)| column.as_str()).collect();
        if live.key.iter().all(|(_, kind)| matches!(kind.as_str(), "smallint" | "integer" | "bigint")) {
            // In the order of the index.
            let by = columns.join(", ");
            let others: Vec<&str> = common.into_iter().filter(|column| !columns.contains(column)).collect();
            let rest = if others.is_empty() { "''".to_owned() } else { others.join(", ") };
            return Self { key: by.clone(), columns: columns.len(), by, numbers: true, rest };
        }
        // In an order that does not depend on where it is: that of the bytes, which hexadecimal digits keep.
        let key = format!("encode(convert_to(ROW({})::text, getdatabaseencoding()), 'hex')", columns.join(", "));
        Self { by: format!("{key} COLLATE \"C\""), key, columns: 1, numbers: false, rest: row }
    }

    /// In the coding of the database: what a server cannot convert comes as it is.
    fn rows(&self, table: &Table, coding: &str) -> String {
        format!(
            "COPY (SELECT {}, {}, ctid FROM ONLY {} ORDER BY {}) TO STDOUT (ENCODING '{coding}')",
            self.key,
            self.rest,
            table.quoted(),
            self.by
        )
    }
}

/// Each row that is on one side only, and each pair of rows with one key, until it has seen enough.
pub async fn merge(
    (ours, live): (&Client, &Table),
    (theirs, then): (&Client, &Table),
    met: impl FnMut(Option<&Row>, Option<&Row>) -> ControlFlow<()>,
) -> Result<(), Failure> {
    merge_by(&Order::of(live, then), (ours, live), (theirs, then), met).await
}

/// The same of keys alone: what else is in a row is not looked at.
pub async fn keys(
    (ours, live): (&Client, &Table),
    (theirs, then): (&Client, &Table),
    met: impl FnMut(Option<&Row>, Option<&Row>) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let order = Order { rest: "''".to_owned(), ..Order::of(live, then) };
    merge_by(&order, (ours, live), (theirs, then), met).await
}

async fn merge_by(
    order: &Order,
    (ours, live): (&Client, &Table),
    (theirs, then): (&Client, &Table),
    mut met: impl FnMut(Option<&Row>, Option<&Row>) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let a = ours.copy_out(&order.rows(live, &content::coding(ours).await?)).await.map_err(told)?;
    let b = theirs.copy_out(&order.rows(then, &content::coding(theirs).await?)).await.map_err(told)?;
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (next(&mut a, order).await?, next(&mut b, order).await?);
    loop {
        let (l, r) = match (&left, &right) {
            (None, None) => return Ok(()),
            (Some(l), Some(r)) if l.key == r.key => (true, true),
            (Some(l), Some(r)) => (l.key < r.key, l.key > r.key),
            (l, r) => (l.is_some(), r.is_some()),
        };
        if met(left.as_ref().filter(|_| l), right.as_ref().filter(|_| r)).is_break() {
            return Ok(());
        }
        if l {
            left = next(&mut a, order).await?;
        }
        if r {
            right = next(&mut b, order).await?;
        }
    }
}

pub struct Row {
    key: Key,
    rest: Bytes,
    /// Where it is stored; the same as long as the moment is.
    place: Bytes,
}

impl Row {
    pub fn is_like(&self, other: &Self) -> bool {
        self.rest == other.rest
    }

    pub fn place(&self) -> &str {
        std::str::from_utf8(&self.place).unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Numbers(Vec<i64>),
    Text(Bytes),
}

impl Key {
    /// From the columns of a line.
    pub fn read(columns: Bytes, numbers: bool) -> Result<Self, Failure> {
        if !numbers {
            return Ok(Self::Text(columns));
        }
        let numbers = columns.split(is_tab).map(|number| std::str::from_utf8(number).ok()?.parse().ok());
        let unreadable = || Failure::failed("the server's answer is not understood");
        Ok(Self::Numbers(numbers.collect::<Option<_>>().ok_or_else(unreadable)?))
    }
}

async fn next(
    rows: &mut (impl Stream<Item = Result<Bytes, tokio_postgres::Error>> + Unpin),
    order: &Order,
) -> Result<Option<Row>, Failure> {
    let Some(line) = rows.next().await else { return Ok(None) };
    let line = line.map_err(told)?;
    let line = line.slice(..line.len().saturating_sub(usize::from(line.ends_with(b"\n"))));
    let place = line.iter().rposition(is_tab).unwrap_or(0);
    let end =
        line.iter().enumerate().filter(|(_, byte)| is_tab(byte)).nth(order.columns - 1).map_or(place, |(at, _)| at);
    let (key, rest, place) =
        (line.slice(..end), line.slice(end..place.max(end)), line.slice((place + 1).min(line.len())..));
    let key = Key::read(key, order.numbers)?;
    Ok(Some(Row { key, rest, place }))
}

/// Between columns; inside of one it is written in another way.
fn is_tab(byte: &u8) -> bool {
    *byte == b'\t'
}
