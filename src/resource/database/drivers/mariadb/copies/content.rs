//! What tables hold, in a form that two databases share exactly when applications could not tell them apart.
//!
//! Values are read as the server prints them, bytes as they are stored, under settings that are the same for every connection.
//! What it prints with fewer digits or in words (a FLOAT, an ENUM, a BIT) is read as the number that it is. Each row is
//! digested by SHA-256, and the digests are added modulo 2^256: a sum needs no order and no key.
pub use super::super::super::sum::{RowDigest, Sum};
use super::super::{
    connection::{Session, literal, quoted},
    error::told,
};
use crate::resource::{CallCtx, Failure};
use mysql_async::{Row, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    /// Those that are stored and not computed.
    pub columns: Vec<Column>,
    /// Names of the columns of the primary key.
    pub key: Vec<String>,
    pub bytes: u64,
    /// When it was written to last, if the server has that in its memory.
    pub updated: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: String,
}

/// How a value stands in a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As digits: in quotes it would be a name or a byte.
    Digits,
    /// As text, whatever the connection speaks.
    Word,
    Bytes,
}

impl Column {
    fn form(&self) -> Form {
        match self.kind.as_str() {
            "bit" | "enum" | "set" => Form::Digits,
            "uuid" | "inet4" | "inet6" => Form::Word,
            _ => Form::Bytes,
        }
    }

    /// Read so that nothing of it is lost. Of a table that is called so.
    pub fn read(&self, table: &str) -> String {
        let name = if table.is_empty() { quoted(&self.name) } else { format!("{table}.{}", quoted(&self.name)) };
        match self.kind.as_str() {
            "bit" | "enum" | "set" => format!("{name}+0"),
            "float" => format!("CAST({name} AS DOUBLE)"),
            _ => name,
        }
    }

    fn put(&self, value: &Option<Vec<u8>>, into: &mut Vec<u8>) {
        let Some(bytes) = value else { return into.extend_from_slice(b"NULL") };
        match self.form() {
            Form::Digits => return into.extend_from_slice(bytes),
            Form::Word => into.extend_from_slice(b"_latin1'"),
            Form::Bytes => into.push(b'\''),
        }
        for &byte in bytes {
            match byte {
                0 => into.extend_from_slice(b"\\0"),
                b'\'' | b'\\' => into.extend_from_slice(&[b'\\', byte]),
                _ => into.push(byte),
            }
        }
        into.push(b'\'');
    }
}

pub type Values = Vec<Option<Vec<u8>>>;

pub fn length(values: &Values) -> usize {
    values.iter().flatten().map(Vec::len).sum()
}

pub fn values(row: Row) -> Values {
    let value = |value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        other => Some(other.as_sql(true).into_bytes()),
    };
    row.unwrap().into_iter().map(value).collect()
}

impl Table {
    pub fn within(&self, schema: &str) -> String {
        format!("{}.{}", quoted(schema), quoted(&self.name))
    }

    pub fn names(&self) -> String {
        self.columns.iter().map(|c| quoted(&c.name)).collect::<Vec<_>>().join(", ")
    }

    pub fn select(&self, schema: &str) -> String {
        select(&self.columns, &self.within(schema), &self.key)
    }

    /// A row as it stands among the `VALUES` of a statement.
    pub fn tuple(&self, values: &Values, into: &mut Vec<u8>) {
        into.push(b'(');
        for (at, (column, value)) in self.columns.iter().zip(values).enumerate() {
            if at > 0 {
                into.push(b',');
            }
            column.put(value, into);
        }
        into.push(b')');
    }

    /// The same, for values that are brought beside the statement.
    pub fn placeholders(&self) -> String {
        let place = |column: &Column| match column.form() {
            Form::Digits => "CAST(? AS UNSIGNED)",
            Form::Word => "CONVERT(? USING latin1)",
            Form::Bytes => "?",
        };
        format!("({})", self.columns.iter().map(place).collect::<Vec<_>>().join(","))
    }

    /// Where the places of the key's columns among all are.
    pub fn places(&self) -> Vec<usize> {
        let place = |name: &String| self.columns.iter().position(|c| c.name == *name);
        let places: Vec<usize> = self.key.iter().filter_map(place).collect();
        // A key with a computed column does not help.
        if places.len() == self.key.len() { places } else { Vec::new() }
    }

    /// What finds the row, by its key.
    pub fn found_by(&self, values: &Values) -> Vec<u8> {
        let mut sql = Vec::new();
        for (at, place) in self.places().into_iter().enumerate() {
            let (Some(column), Some(value)) = (self.columns.get(place), values.get(place)) else { continue };
            if at > 0 {
                sql.extend_from_slice(b" AND ");
            }
            let name = quoted(&column.name);
            // By number, where the value is read as one.
            let name = if column.form() == Form::Digits { format!("{name}+0") } else { name };
            sql.extend_from_slice(name.as_bytes());
            sql.extend_from_slice(b" = ");
            column.put(value, &mut sql);
        }
        sql
    }
}

pub fn select(columns: &[Column], table: &str, key: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| column.read("")).collect();
    // A table has at least one column, but all of them may be computed.
    let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
    let key: Vec<String> = key.iter().map(|name| quoted(name)).collect();
    let order = if key.is_empty() { String::new() } else { format!(" ORDER BY {}", key.join(", ")) };
    format!("SELECT {columns} FROM {table}{order}")
}

/// The tables of a database by name.
pub async fn tables(session: &mut Session, schema: &str) -> Result<Vec<Table>, Failure> {
    let schema = literal(schema);
    let mut columns: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, LOWER(DATA_TYPE) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {schema} AND IS_GENERATED = 'NEVER' ORDER BY TABLE_NAME, ORDINAL_POSITION"
    );
    for row in session.rows(sql).await? {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let (table, name, kind) = (row.next(), row.next().unwrap_or_default(), row.next().unwrap_or_default());
        columns.entry(table.unwrap_or_default()).or_default().push(Column { name, kind });
    }
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {schema} AND INDEX_NAME = 'PRIMARY' ORDER BY TABLE_NAME, SEQ_IN_INDEX"
    );
    for row in session.rows(sql).await? {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let (table, name) = (row.next().unwrap_or_default(), row.next().unwrap_or_default());
        keys.entry(table).or_default().push(name);
    }
    let sql = format!(
        "SELECT TABLE_NAME, COALESCE(DATA_LENGTH, 0), UPDATE_TIME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {schema} AND TABLE_TYPE = 'BASE TABLE'"
    );
    let mut found = Vec::new();
    for row in session.rows(sql).await? {
        let mut row = row.into_iter();
        let name = row.next().flatten().unwrap_or_default();
        let bytes = row.next().flatten().and_then(|bytes| bytes.parse().ok()).unwrap_or_default();
        let updated = row.next().flatten();
        let columns = columns.remove(&name).unwrap_or_default();
        let key = keys.remove(&name).unwrap_or_default();
        found.push(Table { name, columns, key, bytes, updated });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// From now on the session sees one moment, and bytes as they are.
pub async fn moment(session: &mut Session) -> Result<(), Failure> {
    session.run("SET NAMES binary").await?;
    session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await.map(|_| ())
}

pub fn digest(values: &Values) -> RowDigest {
    let mut digest = Sha256::new();
    for value in values {
        match value {
            None => digest.update(b"n"),
            Some(bytes) => {
                digest.update(b"v");
                digest.update((bytes.len() as u64).to_le_bytes());
                digest.update(bytes);
            }
        }
    }
    digest.finalize().into()
}

/// How far the reading of many tables is.
pub struct News<'a> {
    pub call: &'a CallCtx,
    pub what: &'static str,
    pub done: u64,
    pub told: u64,
    pub total: u64,
}

impl<'a> News<'a> {
    /// What tables take on the disk is about what is read of them.
    pub fn new(what: &'static str, tables: &[Table], call: &'a CallCtx) -> Self {
        Self { call, what, done: 0, told: 0, total: tables.iter().map(|table| table.bytes).sum() }
    }

    pub fn read(&mut self, values: &Values) {
        const OFTEN_ENOUGH: u64 = 8 << 20;
        self.done += values.iter().flatten().map(|value| value.len() as u64).sum::<u64>();
        if self.done - self.told >= OFTEN_ENOUGH {
            self.told = self.done;
            self.call.progress(self.what, self.done.min(self.total), self.total);
        }
    }
}

/// What a table holds at the session's moment.
pub async fn sum(session: &mut Session, schema: &str, table: &Table, news: &mut News<'_>) -> Result<Sum, Failure> {
    use mysql_async::prelude::Queryable;
    let mut sum = Sum::default();
    let mut rows = session.raw().query_iter(table.select(schema)).await.map_err(told)?;
    while let Some(row) = rows.next().await.map_err(told)? {
        let values = values(row);
        news.read(&values);
        sum.add_digest(&digest(&values));
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_same_when_all_their_values_are() {
        let row = |values: &[Option<&str>]| -> Values {
            values.iter().map(|value| value.map(|text| text.as_bytes().to_vec())).collect()
        };
        let rows = [
            row(&[Some(""), None]),
            row(&[None, Some("")]),
            row(&[Some("a"), Some("b")]),
            row(&[Some("ab"), Some("")]),
        ];
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                assert_eq!(digest(a) == digest(b), i == j);
            }
        }
    }

    #[test]
    fn a_value_is_put_as_it_was_read() {
        let column = |kind: &str| Column { name: "a".into(), kind: kind.into() };
        let put = |kind: &str, value: &[u8]| {
            let mut sql = Vec::new();
            column(kind).put(&Some(value.to_vec()), &mut sql);
            sql
        };
        assert_eq!(put("blob", b"a'\\\0\xff"), b"'a\\'\\\\\\0\xff'");
        assert_eq!(put("enum", b"3"), b"3");
        assert_eq!(put("uuid", b"x"), b"_latin1'x'");
    }
}
