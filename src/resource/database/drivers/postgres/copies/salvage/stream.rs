//! Rows of a table in the order of their key, as the server writes them out.
use super::super::super::error::told;
use super::super::{mark::quoted, merge::Key};
use super::tables::{Column, Table};
use crate::resource::Failure;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use tokio_postgres::Client;

/// In the server's form for a copy.
pub use crate::resource::database::salvage::work::Cell;

/// By what rows are put in order, and known again on another side.
#[derive(Clone, Debug)]
pub struct Order {
    pub terms: Vec<String>,
    pub numbers: bool,
}

impl Order {
    /// By the key.
    pub fn of(table: &Table) -> Self {
        let columns: Vec<String> = table.key.iter().map(|(name, _)| quoted(name)).collect();
        if table.key.iter().all(|(_, kind)| matches!(kind.as_str(), "smallint" | "integer" | "bigint")) {
            // In the order of the index.
            return Self { terms: columns, numbers: true };
        }
        // In an order that does not depend on where it is: that of the bytes, which hexadecimal digits keep.
        Self::text(format!("convert_to(ROW({})::text, getdatabaseencoding())", columns.join(", ")))
    }

    /// By all that rows hold.
    pub fn whole(columns: &[Column]) -> Self {
        let columns = super::tables::list(columns);
        Self::text(format!("sha256(convert_to(ROW({columns})::text, getdatabaseencoding()))"))
    }

    fn text(bytes: String) -> Self {
        Self { terms: vec![format!("encode({bytes}, 'hex') COLLATE \"C\"")], numbers: false }
    }

    pub fn by(&self) -> String {
        (1..=self.terms.len()).map(|place| place.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// `what`: the terms of a row after those of its order.
    pub async fn read(&self, session: &Client, what: &str, from: &str, coding: &str) -> Result<Rows, Failure> {
        let more = if what.is_empty() { String::new() } else { format!(", {what}") };
        let copy = format!(
            "COPY (SELECT {}{more} FROM {from} ORDER BY {}) TO STDOUT (ENCODING '{coding}')",
            self.terms.join(", "),
            self.by()
        );
        let lines = session.copy_out(&copy).await.map_err(told)?;
        Ok(Rows { lines: Box::pin(lines), terms: self.terms.len(), numbers: self.numbers })
    }
}

pub struct Row {
    pub key: Key,
    pub cells: Vec<Cell>,
}

pub struct Rows {
    lines: Pin<Box<dyn Stream<Item = Result<Bytes, tokio_postgres::Error>> + Send>>,
    terms: usize,
    numbers: bool,
}

impl Rows {
    pub async fn next(&mut self) -> Result<Option<Row>, Failure> {
        let Some(line) = self.lines.next().await else { return Ok(None) };
        let line = line.map_err(told)?;
        let line = line.slice(..line.len().saturating_sub(usize::from(line.ends_with(b"\n"))));
        let mut ends = line.iter().enumerate().filter(|(_, byte)| **byte == b'\t').map(|(place, _)| place);
        let end = ends.nth(self.terms.saturating_sub(1)).unwrap_or(line.len());
        let key = Key::read(line.slice(..end), self.numbers)?;
        let rest = line.slice((end + 1).min(line.len())..);
        let cells = if end == line.len() { Vec::new() } else { cells(&rest) };
        Ok(Some(Row { key, cells }))
    }
}

fn cells(line: &Bytes) -> Vec<Cell> {
    let cell = |field: &[u8]| (field != b"\\N").then(|| line.slice_ref(field));
    line.split(|byte| *byte == b'\t').map(cell).collect()
}

/// What the form for a copy stands for.
pub fn plain(cell: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(cell.len());
    let mut rest = cell.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().unwrap_or(b'\\') {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                other => other,
            },
            byte => byte,
        });
    }
    bytes
}
