//! What tables hold, in a form that two databases share exactly when applications could not tell them apart.
//!
//! Rows are read as the server writes them out for a copy (`COPY … TO STDOUT`), under settings that are the same for every
//! connection: then equal text is an equal value, down to `-0`, `NaN` and the zeros of a `numeric`. Each row is digested by
//! SHA-256, and the digests are added modulo 2^256: a sum needs no order, so nothing is sorted, and a table needs no key. The
//! server's own hash functions would be no faster, for writing out the values is most of the work, and are not made to
//! withstand somebody who looks for two rows with one hash. Rows that are copied are digested as they pass, so the
//! source is read once.
pub use super::super::super::sum::Sum;
use super::super::{
    Postgres,
    connection::{Session, Use},
    error::told,
};
use super::mark::quoted;
use crate::resource::{CallCtx, Failure, copies::Part};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::task::JoinSet;
use tokio_postgres::Client;

/// What must not differ between two connections whose answers are compared, whatever is set for role and database.
const SAME: &str = "SET search_path = ''; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; \
    SET extra_float_digits = 1; SET bytea_output = hex; SET xmlbinary = base64; SET xmloption = content; \
    SET lc_monetary = 'C'; SET lc_numeric = 'C'; SET lc_time = 'C'; SET row_security = off; \
    SET quote_all_identifiers = off; SET array_nulls = on; SET jit = off; SET max_parallel_workers_per_gather = 0; \
    SET client_min_messages = error";
/// Nothing that is declared in the copy acts on what is brought into it. What is written is made durable at the end, by the
/// proof that is written down last.
const COPYING: &str = "SET session_replication_role = replica; SET synchronous_commit = off; \
    SET default_tablespace = ''; SET check_function_bodies = off";

/// A connection whose answers can be compared.
pub async fn comparing(postgres: &Postgres, database: &str, with: Use, call: &CallCtx) -> Result<Session, Failure> {
    let session = postgres.connect_to(database, with, call).await?;
    session.batch_execute(SAME).await.map_err(told)?;
    if with == Use::Writing {
        session.batch_execute(COPYING).await.map_err(told)?;
    }
    Ok(session)
}

/// A table that has rows of its own: of a partitioned one, each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// Stored ones, quoted, in an order that a copy has as well.
    pub columns: Vec<String>,
    /// The columns of the primary key, quoted, in its order, and their types.
    pub key: Vec<(String, String)>,
    pub bytes: u64,
    /// Others refer to it.
    referred: bool,
    /// Its number, the number of its file, and of the file of its long values; 0: there is none.
    pub oid: u32,
    pub file: u32,
    pub long: u32,
    /// Which columns these are: one that is dropped and made again is told by no file.
    pub shape: String,
    /// The server's log does not tell all that may change what is read of it.
    pub untold: bool,
}

impl Table {
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub fn shown(&self) -> String {
        shown(&self.schema, &self.name)
    }

    pub fn columns(&self) -> String {
        if self.columns.is_empty() { String::new() } else { format!(" ({})", self.columns.join(", ")) }
    }
}

/// For people: `orders`, `audit.log`.
pub fn shown(schema: &str, name: &str) -> String {
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-$ ".contains(c));
    let word = |name: &str| if plain(name) { name.to_owned() } else { quoted(name) };
    if schema == "public" { word(name) } else { format!("{}.{}", word(schema), word(name)) }
}

/// Children that got a parent later may have their columns in another order in a copy, so there names give the order.
///
/// Not told by the log are unlogged tables, those of other access methods, and values that are shown by what is declared
/// elsewhere: the names of other things (`regclass` and its like), the columns of a row in a column; also inside of others.
const TABLES: &str = "
WITH RECURSIVE holds(type, part) AS (
    SELECT DISTINCT a.atttypid, a.atttypid FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid
    WHERE r.relkind = 'r' AND r.relnamespace <> 'pg_catalog'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT holds.type, p.part FROM holds JOIN pg_type t ON t.oid = holds.part,
        LATERAL (VALUES (t.typelem), (t.typbasetype), ((SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid)),
                        ((SELECT rngsubtype FROM pg_range WHERE rngmultitypid = t.oid))) p(part)
    WHERE p.part <> 0
), names(type) AS (
    SELECT holds.type FROM holds JOIN pg_type t ON t.oid = holds.part
    WHERE t.typtype = 'c' OR t.typnamespace = 'pg_catalog'::regnamespace AND t.typname ~ '^reg' AND t.typtype = 'b'
)
SELECT n.nspname::text, c.relname::text, coalesce(pg_table_size(c.oid), 0),
    array(SELECT quote_ident(a.attname) FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          ORDER BY CASE WHEN NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
                        THEN a.attname::text COLLATE \"C\" END, a.attnum),
    array(SELECT quote_ident(a.attname) FROM pg_index x, unnest(x.indkey) WITH ORDINALITY k(num, place), pg_attribute a
          WHERE x.indrelid = c.oid AND x.indisprimary AND k.place <= x.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.num
          ORDER BY k.place),
    array(SELECT format_type(a.atttypid, NULL) FROM pg_index x, unnest(x.indkey) WITH ORDINALITY k(num, place), pg_attribute a
          WHERE x.indrelid = c.oid AND x.indisprimary AND k.place <= x.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.num
          ORDER BY k.place),
    EXISTS (SELECT FROM pg_constraint f WHERE f.confrelid = c.oid AND f.contype = 'f'),
    c.oid, coalesce(pg_relation_filenode(c.oid), 0), coalesce(pg_relation_filenode(nullif(c.reltoastrelid, 0)), 0),
    c.relpersistence <> 'p' OR coalesce((SELECT amname <> 'heap' FROM pg_am m WHERE m.oid = c.relam), true)
        OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   AND a.atttypid IN (SELECT type FROM names)),
    md5(coalesce((SELECT string_agg(concat_ws(' ', a.attnum, a.atttypid, quote_ident(a.attname), a.attmissingval::text), ',' ORDER BY a.attnum)
                  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), ''))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname END COLLATE \"C\", c.relname COLLATE \"C\"";

pub async fn tables(session: &Client) -> Result<Vec<Table>, Failure> {
    let rows = session.query(TABLES, &[]).await.map_err(told)?;
    Ok(rows
        .iter()
        .map(|row| Table {
            schema: row.get(0),
            name: row.get(1),
            bytes: row.get::<_, i64>(2).unsigned_abs(),
            columns: row.get(3),
            key: row.get::<_, Vec<String>>(4).into_iter().zip(row.get::<_, Vec<String>>(5)).collect(),
            referred: row.get(6),
            oid: row.get(7),
            file: row.get(8),
            long: row.get(9),
            untold: row.get(10),
            shape: row.get(11),
        })
        .collect())
}

/// One moment of a database, seen by several connections at once.
pub struct Moment {
    pub sessions: Vec<Session>,
    pub snapshot: String,
    pub tables: Vec<Table>,
}

impl Moment {
    /// Every table is locked before the moment is taken, against whatever would change its declaration or empty it: those
    /// do not keep to moments. Applications read and write on.
    pub async fn of(postgres: &Postgres, database: &str, sessions: usize, call: &CallCtx) -> Result<Self, Failure> {
        let mut connected = Vec::new();
        for _ in 0..sessions {
            connected.push(comparing(postgres, database, Use::Looking, call).await?);
        }
        Self::by(connected).await
    }

    /// By connections that stand already.
    pub async fn by(sessions: Vec<Session>) -> Result<Self, Failure> {
        const TRIES: usize = 10;
        let Some((first, others)) = sessions.split_first() else { return Err(Failure::failed("no connection")) };
        for _ in 0..TRIES {
            let seen = tables(first).await?;
            first.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(told)?;
            lock(first, &seen).await?;
            // This is the first that reads, and so what the moment is.
            let now = tables(first).await?;
            let same = |a: &Table, b: &Table| a.schema == b.schema && a.name == b.name;
            let new: Vec<Table> = now.iter().filter(|a| !seen.iter().any(|b| same(a, b))).cloned().collect();
            // Tables that were made in between, and may be gone again.
            if lock(first, &new).await? == new.len() {
                let snapshot = first.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(told)?.get(0);
                for other in others {
                    let begin = format!(
                        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot}'"
                    );
                    other.batch_execute(&begin).await.map_err(told)?;
                }
                return Ok(Self { sessions, snapshot, tables: now });
            }
            first.batch_execute("ROLLBACK").await.map_err(told)?;
        }
        Err(Failure::conflict("tables are made and dropped all the time, so no moment of all of them can be had"))
    }

    pub fn first(&self) -> Result<&Session, Failure> {
        self.sessions.first().ok_or_else(|| Failure::failed("no connection"))
    }
}

/// How many of them are there, and locked.
async fn lock(session: &Client, tables: &[Table]) -> Result<usize, Failure> {
    const AT_ONCE: usize = 200;
    let mut locked = 0;
    let mut left: Vec<&[Table]> = tables.chunks(AT_ONCE).collect();
    while let Some(some) = left.pop() {
        let names: Vec<String> = some.iter().map(|table| format!("ONLY {}", table.quoted())).collect();
        let lock = format!(
            "SAVEPOINT locking; LOCK TABLE {} IN ACCESS SHARE MODE; RELEASE SAVEPOINT locking",
            names.join(", ")
        );
        match session.batch_execute(&lock).await {
            Ok(()) => locked += some.len(),
            // One of them was dropped since: which?
            Err(error) if error.code().is_some_and(|code| matches!(code.code(), "42P01" | "3F000")) => {
                let back = "ROLLBACK TO SAVEPOINT locking; RELEASE SAVEPOINT locking";
                session.batch_execute(back).await.map_err(told)?;
                if some.len() > 1 {
                    let (one, other) = some.split_at(some.len() / 2);
                    left.extend([one, other]);
                }
            }
            Err(error) => return Err(told(error)),
        }
    }
    Ok(locked)
}

/// How far the reading of many tables is.
pub struct News {
    call: CallCtx,
    what: &'static str,
    done: AtomicU64,
    told: AtomicU64,
    total: u64,
}

impl News {
    /// What tables take on the disk is about what is read of them.
    pub fn new(what: &'static str, tables: &[Table], call: &CallCtx) -> Arc<Self> {
        let total = tables.iter().map(|table| table.bytes).sum();
        Arc::new(Self { call: call.clone(), what, done: AtomicU64::new(0), told: AtomicU64::new(0), total })
    }

    fn read(&self, bytes: u64) {
        const OFTEN_ENOUGH: u64 = 8 << 20;
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let told = self.told.load(Ordering::Relaxed);
        if done.saturating_sub(told) >= OFTEN_ENOUGH {
            self.told.store(done, Ordering::Relaxed);
            self.call.progress(self.what, done.min(self.total), self.total);
        }
    }
}

/// Reads the rows of a table, each as one text, and brings them into the same table elsewhere, when there is an elsewhere.
pub async fn pass(
    from: &Client,
    to: Option<&Client>,
    table: &Table,
    coding: &str,
    news: &News,
) -> Result<Sum, Failure> {
    let mut sum = Sum::default();
    // In the coding of the database: what a server cannot convert is carried over as it is.
    let out = format!("COPY {}{} TO STDOUT (ENCODING '{coding}')", table.quoted(), table.columns());
    let mut rows = pin!(from.copy_out(&out).await.map_err(told)?);
    let Some(to) = to else {
        while let Some(row) = rows.next().await {
            let row = row.map_err(told)?;
            sum.add(&row);
            news.read(row.len() as u64);
        }
        return Ok(sum);
    };
    let (empty, freeze) = if table.referred { ("DELETE FROM ONLY", "") } else { ("TRUNCATE ONLY", "FREEZE, ") };
    to.batch_execute(&format!("{empty} {}", table.quoted())).await.map_err(told)?;
    let into = format!("COPY {}{} FROM STDIN ({freeze}ENCODING '{coding}')", table.quoted(), table.columns());
    let mut sink = pin!(to.copy_in::<_, Bytes>(&into).await.map_err(told)?);
    const ENOUGH: usize = 128 << 10;
    let mut gathered = BytesMut::with_capacity(ENOUGH * 2);
    while let Some(row) = rows.next().await {
        let row = row.map_err(told)?;
        sum.add(&row);
        news.read(row.len() as u64);
        gathered.extend_from_slice(&row);
        if gathered.len() >= ENOUGH {
            sink.send(gathered.split().freeze()).await.map_err(told)?;
        }
    }
    if !gathered.is_empty() {
        sink.send(gathered.freeze()).await.map_err(told)?;
    }
    let brought = sink.finish().await.map_err(told)?;
    if brought != sum.rows {
        let name = table.shown();
        return Err(Failure::unproven(format!("{name} has {} rows, and the copy took {brought}", sum.rows)));
    }
    Ok(sum)
}

pub async fn coding(session: &Client) -> Result<String, Failure> {
    Ok(session.query_one("SELECT getdatabaseencoding()::text", &[]).await.map_err(told)?.get(0))
}

/// Several tables at once, the largest first. Each connection is used by one task; they come back when all is done.
async fn shared<S: Send + Sync + 'static, T: Send + 'static, F>(
    sessions: Vec<S>,
    tables: Vec<Table>,
    work: impl Fn(Arc<S>, Table) -> F + Clone + Send + 'static,
) -> Result<(Vec<S>, Vec<T>), Failure>
where
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut order: Vec<usize> = (0..tables.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(tables.get(*place).map_or(0, |table| table.bytes)));
    let (order, tables, next) = (Arc::new(order), Arc::new(tables), Arc::new(AtomicUsize::new(0)));
    let mut working = JoinSet::new();
    for session in sessions {
        let (order, tables, next, work) = (order.clone(), tables.clone(), next.clone(), work.clone());
        working.spawn(async move {
            let session = Arc::new(session);
            let mut done = Vec::new();
            while let Some(place) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some(table) = tables.get(*place) else { break };
                done.push((*place, work(session.clone(), table.clone()).await?));
            }
            Ok::<_, Failure>((Arc::into_inner(session), done))
        });
    }
    let (mut back, mut all) = (Vec::new(), Vec::new());
    while let Some(ended) = working.join_next().await {
        let (session, done) =
            ended.map_err(|e| Failure::failed(format!("the work on the database broke off: {e}")))??;
        back.extend(session);
        all.extend(done);
    }
    all.sort_by_key(|(place, _)| *place);
    Ok((back, all.into_iter().map(|(_, result)| result).collect()))
}

/// What tables hold at one moment. The connections come back.
pub async fn read(moment: Moment, what: &'static str, call: &CallCtx) -> Result<(Moment, Vec<Part>), Failure> {
    let (moment, sums) = sums(moment, what, call).await?;
    let parts = parts(&moment.tables, &sums);
    Ok((moment, parts))
}

pub fn parts(tables: &[Table], sums: &[Sum]) -> Vec<Part> {
    tables.iter().zip(sums).map(|(table, sum)| sum.part(table.shown())).collect()
}

pub async fn sums(moment: Moment, what: &'static str, call: &CallCtx) -> Result<(Moment, Vec<Sum>), Failure> {
    let coding = coding(moment.first()?).await?;
    let news = News::new(what, &moment.tables, call);
    let Moment { sessions, snapshot, tables } = moment;
    let work = move |session: Arc<Session>, table: Table| {
        let (coding, news) = (coding.clone(), news.clone());
        async move { pass(&session, None, &table, &coding, &news).await }
    };
    let (sessions, sums) = shared(sessions, tables.clone(), work).await?;
    Ok((Moment { sessions, snapshot, tables }, sums))
}

/// Brings tables over, each connection in a transaction of its own for each table; the sums of what was brought over.
pub async fn bring(
    moment: Moment,
    targets: Vec<Session>,
    tables: Vec<Table>,
    call: &CallCtx,
) -> Result<(Moment, Vec<Session>, Vec<Sum>), Failure> {
    let coding = coding(moment.first()?).await?;
    let news = News::new("copying", &tables, call);
    let Moment { sessions, snapshot, tables: all } = moment;
    let pairs: Vec<(Session, Session)> = sessions.into_iter().zip(targets).collect();
    let work = move |pair: Arc<(Session, Session)>, table: Table| {
        let (coding, news) = (coding.clone(), news.clone());
        async move {
            let (from, to) = &*pair;
            to.batch_execute("BEGIN").await.map_err(told)?;
            let sum = pass(from, Some(to), &table, &coding, &news).await?;
            to.batch_execute("COMMIT").await.map_err(told)?;
            Ok(sum)
        }
    };
    let (pairs, sums) = shared(pairs, tables, work).await?;
    let (sessions, targets) = pairs.into_iter().unzip();
    Ok((Moment { sessions, snapshot, tables: all }, targets, sums))
}
