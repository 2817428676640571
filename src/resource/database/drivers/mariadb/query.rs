//! What scripts may say in SQL.
use super::{
    super::servers::{limit_length, over, too_much},
    MariaDb,
    connection::{Session, Use, end_others, literal},
    error::{code, told},
    own,
    statements::{LOOKING, Reading, WRITING, allowed},
};
use crate::resource::{
    CallCtx, Failure,
    database::{Executed, MAX_BYTES, MAX_ROWS},
    process::unique,
};
use mysql_async::{Column, DriverError, Error, Row, Value, consts::ColumnType, prelude::Queryable};
use serde::{Deserialize, Serialize};

const MAX_SQL: usize = 64 << 10;
const MAX_SCRIPT: usize = 1 << 20;
/// A row of an answer is a packet. It has to hold what is asked with as well.
const MAX_PACKET: usize = 4 * MAX_BYTES;

pub async fn query(maria: &MariaDb, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
    limit_length(sql, MAX_SQL)?;
    let mut session = maria.connect(Use::Asking { most: MAX_PACKET }, call).await?;
    let said = told_apart(maria, &mut session, sql, LOOKING).await?;
    let [one] = said.as_slice() else { return Err(Failure::invalid("only one statement is allowed here")) };
    session.run("START TRANSACTION READ ONLY").await?;
    // Prepared, so that the server as well takes no more than one; executed as text, so that values come as it prints them.
    session.run(hidden(one)).await?;
    session.run("PREPARE backout_query FROM @backout").await?;
    let asked = |error: Error| match error {
        Error::Driver(DriverError::PacketTooLarge) => too_much(),
        Error::Io(mysql_async::IoError::Io(io)) if io.kind() == std::io::ErrorKind::Other => too_much(),
        error => told(error),
    };
    let mut answer = session.raw().query_iter("EXECUTE backout_query").await.map_err(asked)?;
    let columns = answer.columns();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = answer.next().await.map_err(asked)? {
        let row: Row = row;
        let values = row.unwrap().into_iter().enumerate();
        let values: Vec<String> =
            values.map(|(i, value)| printed(value, columns.as_ref().and_then(|c| c.get(i)))).collect();
        bytes += values.iter().map(|value| value.len() + 1).sum::<usize>();
        if rows.len() == MAX_ROWS || bytes > MAX_BYTES {
            return Err(too_much());
        }
        rows.push(values);
    }
    drop(answer);
    // A value that is longer than the server takes it answers as NULL, and a list that is longer as a part of it.
    let cut =
        |warning: &Vec<Option<String>>| matches!(warning.get(1).and_then(Option::as_deref), Some("1301" | "1931"));
    if session.rows("SHOW WARNINGS").await?.iter().any(cut) {
        return Err(too_much());
    }
    session.close().await;
    Ok(rows)
}

/// Puts a statement where it can be prepared from, however the session reads quotes.
fn hidden(statement: &str) -> String {
    format!("SET @backout = CONVERT(X'{}' USING utf8mb4)", hex(statement.as_bytes()))
}

/// As the server prints it; bytes that are no text in hexadecimal.
fn printed(value: Value, column: Option<&Column>) -> String {
    const BINARY: u16 = 63;
    let is_text = |kind: ColumnType| {
        matches!(
            kind,
            ColumnType::MYSQL_TYPE_STRING
                | ColumnType::MYSQL_TYPE_VAR_STRING
                | ColumnType::MYSQL_TYPE_VARCHAR
                | ColumnType::MYSQL_TYPE_BLOB
                | ColumnType::MYSQL_TYPE_TINY_BLOB
                | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
                | ColumnType::MYSQL_TYPE_LONG_BLOB
                | ColumnType::MYSQL_TYPE_GEOMETRY
                | ColumnType::MYSQL_TYPE_BIT
        )
    };
    match value {
        Value::NULL => String::new(),
        Value::Bytes(bytes) => {
            let binary = column.is_some_and(|c| c.character_set() == BINARY && is_text(c.column_type()));
            match String::from_utf8(bytes) {
                Ok(text) if !binary => text,
                Ok(text) => hex(text.as_bytes()),
                Err(e) => hex(e.as_bytes()),
            }
        }
        other => other.as_sql(true),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn told_apart(maria: &MariaDb, session: &mut Session, sql: &str, first: &[&str]) -> Result<Vec<String>, Failure> {
    let mode = session.one("SELECT @@sql_mode").await?.unwrap_or_default();
    let mut schemas = session.list("SHOW DATABASES").await?;
    schemas.retain(|schema| *schema != maria.server.database);
    schemas.extend(["mysql", "information_schema", "performance_schema", "sys", own::SCHEMA].map(str::to_owned));
    allowed(sql, Reading::of(&mode), first, &schemas)
}

/// What makes the statements known again.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Evidence {
    Statements {
        /// The row that is part of their transaction.
        mark: String,
        rows: u64,
        /// How many exchanges the database has seen.
        generation: u64,
        session: u32,
    },
    Committed {
        rows: u64,
    },
}

/// Rows that changed. Triggers and foreign keys change more, which the server does not count.
pub async fn execute(maria: &MariaDb, sql: &str, call: &CallCtx) -> Result<u64, Failure> {
    limit_length(sql, MAX_SCRIPT)?;
    let mut session = maria.connect(Use::Writing, call).await?;
    own::ready(&mut session).await?;
    session.close().await;
    let mut session = maria.connect(Use::Obeying, call).await?;
    let statements = told_apart(maria, &mut session, sql, WRITING).await?;
    let generation = own::generation(&mut session, &maria.server.database).await?;
    session.run("START TRANSACTION READ WRITE").await?;
    let mut rows = 0;
    for statement in statements {
        // So that the server takes it for one, whatever we took it for.
        session.run(hidden(&statement)).await?;
        rows += session.run("EXECUTE IMMEDIATE @backout").await?;
        if session.number("SELECT @@in_transaction").await? != 1 {
            return Err(Failure::failed("a statement ended the transaction that it stands in")
                .hint("what came before it, and it, may have taken effect: look into the database"));
        }
    }
    let mark = unique().map_err(|e| Failure::failed(format!("no random number: {e}")))?;
    own::mark(&mut session, &mark).await?;
    let evidence = Evidence::Statements { mark, rows, generation, session: session.id() };
    call.evidence(written(&evidence)?).await?;
    if call.remaining().is_zero() {
        return Err(over());
    }
    session.run("COMMIT").await?;
    own::durable(&mut session).await?;
    // It has happened. A journal that cannot take this cannot take the outcome either, and says so then.
    if let Ok(evidence) = written(&Evidence::Committed { rows }) {
        let _ = call.evidence(evidence).await;
    }
    session.close().await;
    Ok(rows)
}

fn written(evidence: &Evidence) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(evidence).map_err(|e| Failure::failed(e.to_string()))
}

pub async fn executed(maria: &MariaDb, evidence: &[serde_json::Value], call: &CallCtx) -> Result<Executed, Failure> {
    // The last attempt is the one that can have happened: each one before was looked at before the next began.
    let Some(last) = evidence.last() else { return Ok(Executed::NotDone) };
    let (mark, rows, then, id) = match Evidence::deserialize(last) {
        Ok(Evidence::Statements { mark, rows, generation, session }) => (mark, rows, generation, session),
        Ok(Evidence::Committed { rows }) => return Ok(Executed::Done { rows }),
        Err(e) => return Ok(Executed::Unclear(format!("what was written down before cannot be read: {e}"))),
    };
    let database = &maria.server.database;
    let mut session = maria.connect(Use::Writing, call).await?;
    end_others(&mut session, &maria.tag(call)).await?;
    own::ready(&mut session).await?;
    if own::generation(&mut session, database).await? != then {
        return Ok(Executed::Unclear(format!(
            "another database has taken the place of {database} since; look there whether the statements have taken \
             effect ({rows} rows, session {id})"
        )));
    }
    // Waits for whoever has put the row there and has not ended its transaction.
    let sql = format!("SELECT COUNT(*) FROM {}.marks WHERE mark = {} FOR UPDATE", own::SCHEMA, literal(&mark));
    let answer: Result<Option<u64>, Error> = session.raw().query_first(sql).await;
    let found = answer.map_err(|e| match code(&e) {
        1205 => Failure::unavailable("the statements of before have not ended yet"),
        _ => told(e),
    })?;
    own::durable(&mut session).await?;
    session.close().await;
    Ok(if found == Some(1) { Executed::Done { rows } } else { Executed::NotDone })
}
