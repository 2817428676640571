//! Rows from one moment of a database into tables that are empty: one reads, several write.
use super::super::{
    MariaDb,
    connection::{Session, Use},
    error::told,
};
use super::content::{News, Sum, Table, Values, digest, length, values};
use crate::resource::{CallCtx, Failure, FailureKind};
use mysql_async::{Params, Value, prelude::Queryable};
use std::sync::Arc;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

/// What one statement brings, at most.
const ENOUGH: usize = 1 << 20;
const WRITERS: usize = 2;

/// What is written at once.
enum Rows {
    /// A statement that says them.
    Said(Vec<u8>),
    /// A long one beside its statement, for in it each of its bytes may take two.
    Beside(String, Values),
}

impl Rows {
    /// How many.
    async fn put(self, session: &mut Session) -> Result<u64, Failure> {
        match self {
            Self::Said(statement) => session.run(statement).await,
            Self::Beside(statement, values) => {
                let value = |value: Option<Vec<u8>>| value.map_or(Value::NULL, Value::Bytes);
                let values = Params::Positional(values.into_iter().map(value).collect());
                session.raw().exec_drop(statement, values).await.map_err(told)?;
                Ok(session.raw().affected_rows())
            }
        }
    }
}

/// Rows that are put together to statements.
struct Statements {
    /// Behind the word and before the rows: `orders (id, note) VALUES`.
    into: String,
    word: &'static str,
    most: usize,
    begun: Vec<u8>,
}

impl Statements {
    /// The server takes none that is longer than what it is set to.
    async fn of(session: &mut Session, word: &'static str) -> Result<Self, Failure> {
        let most = session.number("SELECT @@GLOBAL.max_allowed_packet").await?;
        let most = usize::try_from(most / 2).unwrap_or(ENOUGH).min(ENOUGH);
        Ok(Self { into: String::new(), word, most, begun: Vec::new() })
    }

    fn begin(&mut self, table: &Table, schema: &str) {
        self.into = format!("{} INTO {} ({}) VALUES ", self.word, table.within(schema), table.names());
    }

    /// What has to be put before the row is taken up, or is the row itself.
    fn take(&mut self, table: &Table, values: Values) -> [Option<Rows>; 2] {
        if length(&values) > self.most / 2 {
            return [self.end(), Some(Rows::Beside(format!("{}{}", self.into, table.placeholders()), values))];
        }
        let mut tuple = Vec::new();
        table.tuple(&values, &mut tuple);
        let full = !self.begun.is_empty() && self.begun.len() + tuple.len() > self.most;
        let ended = if full { self.end() } else { None };
        self.begun.extend_from_slice(if self.begun.is_empty() { self.into.as_bytes() } else { b"," });
        self.begun.extend_from_slice(&tuple);
        [ended, None]
    }

    fn end(&mut self) -> Option<Rows> {
        let begun = std::mem::take(&mut self.begun);
        (!begun.is_empty()).then_some(Rows::Said(begun))
    }
}

/// The reader's session sees the moment that is copied. What each table held then, in their order.
pub async fn fill(
    maria: &MariaDb,
    reader: &mut Session,
    (from, to): (&str, &str),
    tables: &[&Table],
    news: &mut News<'_>,
    call: &CallCtx,
) -> Result<Vec<Sum>, Failure> {
    let (sender, receiver) = mpsc::channel::<Rows>(WRITERS);
    let receiver = Arc::new(Mutex::new(receiver));
    // They end when their caller does.
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let mut session = maria.connect(Use::Writing, call).await?;
        session.run("SET NAMES binary").await?;
        let receiver = receiver.clone();
        writers.spawn(async move {
            let mut written = 0;
            loop {
                let next = receiver.lock().await.recv().await;
                let Some(rows) = next else { break };
                written += rows.put(&mut session).await?;
            }
            session.close().await;
            Ok::<u64, Failure>(written)
        });
    }
    drop(receiver);
    let read = read(reader, (from, to), tables, news, &sender).await;
    drop(sender);
    let (mut written, mut failed) = (0, None);
    while let Some(ended) = writers.join_next().await {
        match ended.map_err(|e| Failure::failed(format!("the work on the database broke off: {e}")))? {
            Ok(rows) => written += rows,
            Err(e) => failed = failed.or(Some(e)),
        }
    }
    // That nobody takes the rows any more is the consequence.
    if let Some(failure) = failed {
        return Err(failure);
    }
    let sums = read?;
    let rows: u64 = sums.iter().map(|sum| sum.rows).sum();
    if rows == written {
        Ok(sums)
    } else {
        Err(Failure::unproven(format!("{rows} rows were read, and the copy took {written}")))
    }
}

async fn read(
    reader: &mut Session,
    (from, to): (&str, &str),
    tables: &[&Table],
    news: &mut News<'_>,
    sender: &mpsc::Sender<Rows>,
) -> Result<Vec<Sum>, Failure> {
    let gone = |_| Failure::failed("the copy takes no more rows");
    let mut statements = Statements::of(reader, "INSERT").await?;
    let mut sums = Vec::new();
    for table in tables {
        let mut sum = Sum::default();
        statements.begin(table, to);
        let mut rows = reader.raw().query_iter(table.select(from)).await.map_err(|e| dropped(table, told(e)))?;
        while let Some(row) = rows.next().await.map_err(told)? {
            let mut values = values(row);
            sum.add_digest(&digest(&values));
            news.read(&values);
            // A table whose columns are all computed was read by a number.
            values.truncate(table.columns.len());
            for ready in statements.take(table, values).into_iter().flatten() {
                sender.send(ready).await.map_err(gone)?;
            }
        }
        drop(rows);
        if let Some(last) = statements.end() {
            sender.send(last).await.map_err(gone)?;
        }
        sums.push(sum);
    }
    Ok(sums)
}

/// It was there when the moment began, and the server does not keep it to moments.
pub fn dropped(table: &Table, failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::NotFound | FailureKind::Conflict => {
            Failure::conflict(format!("{} was dropped or declared anew while it was read", table.name))
                .hint("nothing of the copy counts; try again when nobody declares tables")
        }
        _ => failure,
    }
}

/// Makes the rows of the copy what they are at the source: first what has to go, then what has to come. In one transaction.
pub async fn patch(
    writer: &mut Session,
    to: &str,
    table: &Table,
    delete: &[Vec<u8>],
    put: Vec<Values>,
) -> Result<(), Failure> {
    // Replaced, because a row may have to pass one that has a unique value which it gets.
    let mut statements = Statements::of(writer, "REPLACE").await?;
    statements.begin(table, to);
    writer.run("START TRANSACTION READ WRITE").await?;
    for condition in delete {
        let mut sql = format!("DELETE FROM {} WHERE ", table.within(to)).into_bytes();
        sql.extend_from_slice(condition);
        writer.run(sql).await?;
    }
    for values in put {
        for ready in statements.take(table, values).into_iter().flatten() {
            ready.put(writer).await?;
        }
    }
    if let Some(last) = statements.end() {
        last.put(writer).await?;
    }
    writer.run("COMMIT").await.map(|_| ())
}
