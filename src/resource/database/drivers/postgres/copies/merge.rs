//! Two tables of one name, row by row, in two databases.
//!
//! Two databases of a server cannot be asked in one query. So both are read in the order of their keys, each row as its key
//! and a digest of the rest, and the two streams are merged: neither side has to be held.
use super::super::error::told;
use super::content::Table;
use crate::resource::Failure;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::{ops::ControlFlow, pin::pin};
use tokio_postgres::Client;

/// How the rows of a table are put in order, and told apart.
struct Order {
    /// What is sent of a row before its digest, and in which order.
    key: String,
    by: String,
    numbers: bool,
    digest: String,
}

impl Order {
    /// By the primary key when it is the same in both, else by all that both can have. MD5 is in every server, and fast; who
    /// could make two rows with one digest would change a number in a report.
    fn of(live: &Table, then: &Table) -> Self {
        let common: Vec<&str> =
            live.columns.iter().filter(|column| then.columns.contains(column)).map(String::as_str).collect();
        let row = if common.is_empty() { "''".to_owned() } else { format!("ROW({})::text", common.join(", ")) };
        let digest = format!("md5({row})");
        if live.key.is_empty() || live.key != then.key {
            return Self { key: digest.clone(), by: "1".to_owned(), numbers: false, digest: "''".to_owned() };
        }
        let columns: Vec<&str> = live.key.iter().map(|(column, _)| column.as_str()).collect();
        if live.key.iter().all(|(_, kind)| matches!(kind.as_str(), "smallint" | "integer" | "bigint")) {
            // In the order of the index.
            let by = columns.join(", ");
            return Self { key: by.clone(), by, numbers: true, digest };
        }
        // In an order that does not depend on where it is: that of the bytes, which hexadecimal digits keep.
        let key = format!("encode(convert_to(ROW({})::text, getdatabaseencoding()), 'hex')", columns.join(", "));
        Self { by: format!("{key} COLLATE \"C\""), key, numbers: false, digest }
    }

    fn rows(&self, table: &Table) -> String {
        let by = if self.by == "1" { format!("{} COLLATE \"C\"", self.key) } else { self.by.clone() };
        format!(
            "COPY (SELECT {}, {}, ctid FROM ONLY {} ORDER BY {by}) TO STDOUT",
            self.key,
            self.digest,
            table.quoted()
        )
    }
}

/// Each row that is on one side only, and each pair of rows with one key, until it has seen enough.
pub async fn merge(
    (ours, live): (&Client, &Table),
    (theirs, then): (&Client, &Table),
    mut met: impl FnMut(Option<&Row>, Option<&Row>) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let order = Order::of(live, then);
    let a = ours.copy_out(&order.rows(live)).await.map_err(told)?;
    let b = theirs.copy_out(&order.rows(then)).await.map_err(told)?;
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (next(&mut a, &order).await?, next(&mut b, &order).await?);
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
            left = next(&mut a, &order).await?;
        }
        if r {
            right = next(&mut b, &order).await?;
        }
    }
}

pub struct Row {
    key: Key,
    digest: Bytes,
    /// Where it is stored; the same as long as the moment is.
    place: Bytes,
}

impl Row {
    pub fn is_like(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    pub fn place(&self) -> &str {
        std::str::from_utf8(&self.place).unwrap_or_default()
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Numbers(Vec<i64>),
    Text(Bytes),
}

async fn next(
    rows: &mut (impl Stream<Item = Result<Bytes, tokio_postgres::Error>> + Unpin),
    order: &Order,
) -> Result<Option<Row>, Failure> {
    let Some(line) = rows.next().await else { return Ok(None) };
    let line = line.map_err(told)?;
    let line = line.slice(..line.len().saturating_sub(usize::from(line.ends_with(b"\n"))));
    let (line, place) = split(&line);
    let (key, digest) = split(&line);
    let key = if order.numbers {
        let numbers = key.split(|byte| *byte == b'\t').map(|number| std::str::from_utf8(number).ok()?.parse().ok());
        let unreadable = || Failure::failed("the server's answer is not understood");
        Key::Numbers(numbers.collect::<Option<_>>().ok_or_else(unreadable)?)
    } else {
        Key::Text(key)
    };
    Ok(Some(Row { key, digest, place }))
}

/// What is before the last column, and the last column.
fn split(line: &Bytes) -> (Bytes, Bytes) {
    let end = line.iter().rposition(|byte| *byte == b'\t').unwrap_or(0);
    (line.slice(..end), line.slice((end + 1).min(line.len())..))
}
