//! Rows from a database into empty tables of another one, by the server itself: none of them is sent anywhere, nothing is locked,
//! and each statement sees what is there when it begins. So it is only about what the copy has to hold; a comparison
//! with one moment follows, which brings the rest and is the proof.
use super::super::{
    MariaDb,
    connection::{Session, Use, literal, quoted},
};
use super::content::Table;
use crate::resource::{CallCtx, Failure};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};
use tokio::task::JoinSet;

/// What one transaction brings, so that none is undone for long, and none takes the server's log for itself.
const BYTES: u64 = 8 << 20;
const WORKERS: usize = 2;

/// Whether it can be brought in parts of a bounded size.
fn bounded(table: &Table) -> bool {
    !table.columns.is_empty() && (table.bytes <= 2 * BYTES || first_number(table).is_some())
}

/// The first column of the key, if it is a whole number.
fn first_number(table: &Table) -> Option<&str> {
    let first = table.key.first()?;
    let column = table.columns.iter().find(|column| column.name == *first)?;
    matches!(column.kind.as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "bigint").then_some(first)
}

/// Which of the tables have rows now, as far as they had any.
pub async fn fill(
    maria: &MariaDb,
    (from, to): (&str, &str),
    tables: &[Table],
    call: &CallCtx,
) -> Result<Vec<bool>, Failure> {
    let mut looking = maria.connect(Use::Looking, call).await?;
    // What is said is not logged then, where it could mean other rows elsewhere.
    let said = looking.one("SELECT @@GLOBAL.log_bin AND @@GLOBAL.binlog_format = 'STATEMENT'").await?;
    looking.close().await;
    let possible: Vec<bool> = tables.iter().map(|table| said.as_deref() == Some("0") && bounded(table)).collect();
    let mut all: Vec<Table> =
        tables.iter().zip(&possible).filter(|(_, possible)| **possible).map(|(table, _)| table.clone()).collect();
    // The largest is begun first.
    all.sort_by_key(|table| table.bytes);
    let total = all.iter().map(|table| table.bytes).sum();
    let left = Arc::new(Mutex::new(all));
    let done = Arc::new(AtomicU64::new(0));
    // They end when their caller does.
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let mut session = maria.connect(Use::Writing, call).await?;
        // So that rows are read without locks, and written as they come.
        session.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        session.run("SET unique_checks = 1").await?;
        let (left, done, call) = (left.clone(), done.clone(), call.clone());
        let (from, to) = (from.to_owned(), to.to_owned());
        workers.spawn(async move {
            loop {
                let next = left.lock().ok().and_then(|mut left| left.pop());
                let Some(table) = next else { break };
                bring(&mut session, (&from, &to), &table, |bytes| {
                    let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                    call.progress("copying the database", done.min(total), total);
                })
                .await
                .map_err(|e| super::fill::dropped(&table, e))?;
            }
            session.close().await;
            Ok::<(), Failure>(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|e| Failure::failed(format!("the work on the database broke off: {e}")))??;
    }
    Ok(possible)
}

async fn bring(
    session: &mut Session,
    (from, to): (&str, &str),
    table: &Table,
    news: impl Fn(u64),
) -> Result<(), Failure> {
    let names = table.names();
    let insert = format!("INSERT INTO {} ({names}) SELECT {names} FROM {}", table.within(to), table.within(from));
    let rows = format!(
        "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(from),
        literal(&table.name)
    );
    let parts = table.bytes / BYTES;
    let Some(column) = first_number(table).filter(|_| parts > 1) else {
        session.run(insert).await?;
        news(table.bytes);
        return Ok(());
    };
    let column = quoted(column);
    let step = (session.number(rows).await? / parts).max(1000);
    let mut last: Option<String> = None;
    loop {
        let behind = last.as_ref().map(|last| format!("{column} > {last}"));
        let begin = behind.as_ref().map(|behind| format!(" WHERE {behind}")).unwrap_or_default();
        let next = session
            .one(format!("SELECT {column} FROM {}{begin} ORDER BY {column} LIMIT 1 OFFSET {step}", table.within(from)))
            .await?;
        let until = next.as_ref().map(|next| format!("{column} <= {next}"));
        let conditions: Vec<String> = behind.into_iter().chain(until).collect();
        let of = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        session.run(format!("{insert}{of}")).await?;
        news(BYTES);
        match next {
            Some(next) => last = Some(next),
            None => return Ok(()),
        }
    }
}
