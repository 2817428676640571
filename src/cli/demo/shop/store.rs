use super::Release;
use anyhow::{Context, bail};
use rusqlite::{Connection, OpenFlags, Row, named_params, types::ValueRef};
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A statement after the other would wait at most this long for another writer.
const BUSY: Duration = Duration::from_secs(2);

pub fn open(path: &Path, flags: OpenFlags) -> anyhow::Result<Connection> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_context(|| format!("cannot open {}", path.display()))?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(db)
}

pub fn schema(db: &Connection) -> rusqlite::Result<u32> {
    db.query_row("SELECT user_version FROM pragma_user_version", [], |r| r.get(0))
}

/// What somebody buys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    customer: i64,
    items: Vec<NewItem>,
}
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewItem {
    product: i64,
    quantity: u32,
}

pub struct Summary {
    pub orders: i64,
    pub total: f64,
}

/// The database of the shop, and as many connections to it as requests are at work.
pub struct Store {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Store {
    /// Refuses a database that the release cannot read.
    pub fn open(path: &Path, release: &Release) -> anyhow::Result<Self> {
        let store = Self { path: path.to_owned(), idle: Mutex::default() };
        let found = store.schema()?;
        if found != release.schema {
            bail!("{} reads schema {} only, and the database has schema {found}", release.version, release.schema);
        }
        Ok(store)
    }

    pub fn schema(&self) -> anyhow::Result<u32> {
        self.with(|db| Ok(schema(db)?))
    }

    pub fn orders(&self, release: &Release, limit: u32, page: u32) -> anyhow::Result<Vec<Value>> {
        self.with(|db| {
            let mut statement = db.prepare_cached(&release.queries.orders)?;
            let offset = i64::from(limit) * i64::from(page);
            let mut rows = statement.query(named_params! { ":limit": limit, ":offset": offset })?;
            let mut orders = Vec::new();
            while let Some(row) = rows.next()? {
                orders.push(Value::Object(readable(object(row)?, release)?));
            }
            Ok(orders)
        })
    }

    pub fn order(&self, release: &Release, id: i64) -> anyhow::Result<Option<Value>> {
        self.with(|db| {
            let mut statement = db.prepare_cached(&release.queries.order)?;
            let mut rows = statement.query(named_params! { ":id": id })?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let mut order = readable(object(row)?, release)?;
            let mut statement = db.prepare_cached(&release.queries.items)?;
            let items = statement
                .query_map(named_params! { ":id": id }, |row| Ok(Value::Object(object(row)?)))?
                .collect::<Result<_, _>>()?;
            order.insert("items".to_owned(), Value::Array(items));
            Ok(Some(Value::Object(order)))
        })
    }

    /// The number of the new order, or why it cannot be.
    pub fn place(&self, release: &Release, order: &NewOrder) -> anyhow::Result<Result<i64, &'static str>> {
        self.with(|db| {
            if order.items.is_empty() {
                return Ok(Err("an order needs items"));
            }
            let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let known = "SELECT 1 FROM customers WHERE id = ?1";
            if !transaction.prepare_cached(known)?.exists([order.customer])? {
                return Ok(Err("no such customer"));
            }
            transaction
                .prepare_cached(&release.queries.place)?
                .execute(named_params! { ":customer": order.customer })?;
            let id = transaction.last_insert_rowid();
            for (line, item) in (1u32..).zip(&order.items) {
                let added = transaction.prepare_cached(&release.queries.add)?.execute(named_params! {
                    ":id": id, ":line": line, ":product": item.product, ":quantity": item.quantity.clamp(1, 99),
                })?;
                if added == 0 {
                    return Ok(Err("no such product"));
                }
            }
            transaction.commit()?;
            Ok(Ok(id))
        })
    }

    pub fn summary(&self, release: &Release) -> anyhow::Result<Summary> {
        self.with(|db| {
            let mut statement = db.prepare_cached(&release.queries.summary)?;
            Ok(statement.query_row([], |r| Ok(Summary { orders: r.get(0)?, total: r.get(1)? }))?)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut db = match idle {
            Some(db) => db,
            None => open(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
        };
        let result = work(&mut db);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        result
    }
}

/// A row as a JSON object with the names that the query gives its columns.
fn object(row: &Row<'_>) -> rusqlite::Result<Map<String, Value>> {
    let statement: &rusqlite::Statement<'_> = row.as_ref();
    let mut object = Map::new();
    for (index, name) in statement.column_names().into_iter().enumerate() {
        let value = match row.get_ref(index)? {
            ValueRef::Null | ValueRef::Blob(_) => Value::Null,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        };
        object.insert(name.to_owned(), value);
    }
    Ok(object)
}

/// States are numbers or short words in the database; people get the release's name for them.
fn readable(mut order: Map<String, Value>, release: &Release) -> anyhow::Result<Map<String, Value>> {
    let state = order.get("state").cloned().unwrap_or_default();
    let stored = state.as_str().map_or_else(|| state.to_string(), str::to_owned);
    let Some(name) = release.states.get(&stored) else {
        let id = order.get("id").cloned().unwrap_or_default();
        bail!("order {id} has the state {stored}, which {} does not know", release.version);
    };
    order.insert("state".to_owned(), name.clone().into());
    Ok(order)
}
