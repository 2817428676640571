//! What a database holds, in a form that two copies share exactly when applications could not tell them apart.
//!
//! Rows are read in the order of their key, or of all their columns, never of their storage; `1`, `1.0` and `'1'` differ.
//! Virtual tables are read as the ordinary tables in which they keep their content. Statistics of the query planner
//! (`sqlite_stat1` and the like) are left out: they come and go without anybody changing anything.
use super::connection::{number, quoted};
use crate::resource::{
    CallCtx,
    copies::{Fingerprint, Part},
};
use rusqlite::{Connection, types::ValueRef};
use sha2::{Digest, Sha256};

/// A table that has rows of its own.
pub struct Table {
    pub name: String,
    /// Stored ones; what is computed from them says nothing new.
    pub columns: Vec<Column>,
    pub without_rowid: bool,
}

pub struct Column {
    pub name: String,
    /// The declared type.
    pub kind: String,
    /// Place in the primary key, from 1; 0: not part of it.
    pub key: u32,
    pub not_null: bool,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The columns of the primary key in its order; empty when there is none.
    pub fn key(&self) -> Vec<&Column> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|c| c.key > 0).collect();
        key.sort_by_key(|c| c.key);
        key
    }
}

pub const STATISTICS: &str = "sqlite_stat[0-9]";

/// `schema`: `main`, or the name of an attached database.
pub fn tables(connection: &Connection, schema: &str) -> rusqlite::Result<Vec<Table>> {
    let sql = format!(
        "SELECT s.name, coalesce(l.wr, 0) FROM {schema}.sqlite_schema s \
         LEFT JOIN pragma_table_list l ON l.schema = '{schema}' AND l.name = s.name \
         WHERE s.type = 'table' AND s.rootpage > 0 AND s.name NOT GLOB '{STATISTICS}' ORDER BY s.name"
    );
    let mut statement = connection.prepare(&sql)?;
    let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    names
        .map(|row| {
            let (name, without_rowid): (String, bool) = row?;
            let sql = "SELECT name, pk, \"notnull\", hidden, type FROM pragma_table_xinfo(?1, ?2) ORDER BY cid";
            let mut statement = connection.prepare_cached(sql)?;
            const COMPUTED: i64 = 2;
            let columns = statement.query_map([&name, schema], |row| {
                let column = Column { name: row.get(0)?, key: row.get(1)?, not_null: row.get(2)?, kind: row.get(4)? };
                Ok((row.get::<_, i64>(3)? != COMPUTED).then_some(column))
            })?;
            let columns = columns.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?;
            Ok(Table { name, columns, without_rowid })
        })
        .collect()
}

/// Of one moment when the connection is in a transaction.
pub fn fingerprint(connection: &Connection, what: &str, call: &CallCtx) -> rusqlite::Result<Fingerprint> {
    let pages = connection.pragma_query_value(None, "page_count", number)?;
    let page_size = connection.pragma_query_value(None, "page_size", number)?;
    let mut news = News { call, what, done: 0, told: 0, total: pages * page_size };
    let parts =
        tables(connection, "main")?.iter().map(|table| part(connection, table, &mut news)).collect::<Result<_, _>>()?;
    news.call.progress(what, news.total, news.total);
    Ok(Fingerprint { schema: schema(connection)?, parts })
}

struct News<'a> {
    call: &'a CallCtx,
    what: &'a str,
    done: u64,
    told: u64,
    total: u64,
}
impl News<'_> {
    fn read(&mut self, bytes: u64) {
        const OFTEN_ENOUGH: u64 = 8 << 20;
        self.done += bytes;
        if self.done - self.told >= OFTEN_ENOUGH {
            self.told = self.done;
            self.call.progress(self.what, self.done.min(self.total), self.total);
        }
    }
}

/// Everything that was ever declared, and the settings that belong to the content.
pub fn schema(connection: &Connection) -> rusqlite::Result<String> {
    let mut digest = Digested::default();
    for pragma in ["user_version", "application_id", "encoding", "auto_vacuum"] {
        let value: rusqlite::types::Value = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
        digest.value(ValueRef::Text(pragma.as_bytes()));
        digest.value(ValueRef::from(&value));
    }
    let sql = format!(
        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE tbl_name NOT GLOB '{STATISTICS}' ORDER BY type, name, tbl_name"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for i in 0..4 {
            digest.value(row.get_ref(i)?);
        }
    }
    Ok(digest.hex())
}

fn part(connection: &Connection, table: &Table, news: &mut News<'_>) -> rusqlite::Result<Part> {
    let mut statement = connection.prepare(&rows_in_order(table))?;
    let mut digest = Digested::default();
    let mut count = 0;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        count += 1;
        let bytes: u64 =
            (0..table.columns.len()).map(|i| Ok(digest.value(row.get_ref(i)?))).sum::<rusqlite::Result<_>>()?;
        news.read(bytes);
    }
    Ok(Part { name: table.name.clone(), count, digest: digest.hex() })
}

fn rows_in_order(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| quoted(&c.name)).collect();
    let key = table.key();
    let unique = !key.is_empty() && (table.without_rowid || key.iter().all(|c| c.not_null));
    // In `BINARY` order, since the product's own collations are not known here. Where the key may hold NULLs, rows can
    // have the same one; then, and without a key, all columns decide, and of equal numbers their types.
    let mut order: Vec<String> = key.iter().map(|c| format!("{} COLLATE BINARY", quoted(&c.name))).collect();
    if !unique {
        order.extend(columns.iter().map(|c| format!("{c} COLLATE BINARY")));
        order.extend(columns.iter().map(|c| format!("typeof({c})")));
    }
    const MOST: usize = 2_000;
    order.truncate(MOST);
    format!("SELECT {} FROM main.{} ORDER BY {}", columns.join(", "), quoted(&table.name), order.join(", "))
}

/// A digest of values. They are gathered: it takes longer to begin with a few bytes than to digest them.
#[derive(Default)]
struct Digested {
    digest: Sha256,
    gathered: Vec<u8>,
}

impl Digested {
    /// A letter for the type, the length where it is not known, the bytes. How many bytes that is.
    fn value(&mut self, value: ValueRef<'_>) -> u64 {
        match value {
            ValueRef::Null => self.bytes(b'n', &[]),
            ValueRef::Integer(i) => self.bytes(b'i', &i.to_be_bytes()),
            ValueRef::Real(r) => self.bytes(b'r', &r.to_bits().to_be_bytes()),
            ValueRef::Text(bytes) => self.sized(b't', bytes),
            ValueRef::Blob(bytes) => self.sized(b'b', bytes),
        }
    }

    fn sized(&mut self, kind: u8, bytes: &[u8]) -> u64 {
        self.bytes(kind, &(bytes.len() as u64).to_be_bytes()) + self.add(bytes)
    }

    fn bytes(&mut self, kind: u8, bytes: &[u8]) -> u64 {
        self.gathered.push(kind);
        1 + self.add(bytes)
    }

    fn add(&mut self, bytes: &[u8]) -> u64 {
        const ENOUGH: usize = 64 << 10;
        if self.gathered.len() + bytes.len() > ENOUGH {
            self.digest.update(&self.gathered);
            self.gathered.clear();
        }
        if bytes.len() > ENOUGH {
            self.digest.update(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
        bytes.len() as u64
    }

    fn hex(mut self) -> String {
        self.digest.update(&self.gathered);
        self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorts(sql: &str) -> bool {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        let table = &tables(&connection, "main").unwrap()[0];
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", rows_in_order(table))).unwrap();
        let lines: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        lines.iter().any(|line| line.contains("TEMP B-TREE FOR ORDER BY"))
    }

    #[test]
    fn usual_tables_are_read_in_the_order_in_which_they_are_stored() {
        assert!(!sorts("CREATE TABLE t (id INTEGER PRIMARY KEY, a)"));
        assert!(!sorts("CREATE TABLE t (a TEXT, b INT, c, PRIMARY KEY (a, b)) WITHOUT ROWID"));
        assert!(!sorts("CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, c)"));
        assert!(sorts("CREATE TABLE t (a, b)"));
    }

    #[test]
    fn values_are_digested_as_they_stand_whatever_their_size() {
        let (mut digest, mut plain, mut bytes) = (Digested::default(), Sha256::new(), 0);
        for size in [0, 1, 100, 65_527, 65_535, 65_536, 65_537, 200_000, 3] {
            let content = vec![size as u8; size];
            bytes += digest.value(ValueRef::Integer(size as i64)) + digest.value(ValueRef::Blob(&content));
            plain.update(
                [b"i", (size as i64).to_be_bytes().as_slice(), b"b", &(size as u64).to_be_bytes(), &content].concat(),
            );
            assert!(digest.gathered.len() <= (64 << 10) + 1);
        }
        let plain: String = plain.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((digest.hex(), bytes), (plain, 9 * 18 + 462_239));
    }
}
