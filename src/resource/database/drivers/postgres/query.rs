//! What scripts may ask in SQL. That it only reads is the server's doing: a transaction that is read-only stays so.
use super::{
    super::servers::{limit_length, too_much},
    Postgres,
    connection::Use,
    error::told,
};
use crate::resource::{
    CallCtx, Failure,
    database::{MAX_BYTES, MAX_ROWS},
};
use futures_util::StreamExt;
use std::pin::pin;
use tokio_postgres::SimpleQueryMessage;

const MAX_SQL: usize = 64 << 10;
/// What an answer within the bounds is on the wire at most: four bytes a value, a few a row, and what is said besides.
const MAX_SENT: u64 = 4 * MAX_BYTES as u64 + (1 << 20);

pub async fn query(postgres: &Postgres, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
    limit_length(sql, MAX_SQL)?;
    let mut session = postgres.connect(Use::Asking { most: MAX_SENT }, call).await?;
    session.batch_execute("BEGIN READ ONLY").await.map_err(told)?;
    // In the protocol for one statement, so that nothing can follow it; as one that can be planned, so that it is none that
    // begins, ends or sets something; and answered by the other protocol, which has values as the server prints them. The line
    // feed ends a comment.
    let prepare = format!("PREPARE backout_query AS {sql}\n");
    session.execute_typed(&prepare, &[]).await.map_err(told)?;
    let asked = |error| if session.exceeded() { too_much() } else { told(error) };
    let mut answer = pin!(session.simple_query_raw("EXECUTE backout_query").await.map_err(asked)?);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(message) = answer.next().await {
        let SimpleQueryMessage::Row(row) = message.map_err(asked)? else { continue };
        let mut values = Vec::with_capacity(row.len());
        for i in 0..row.len() {
            let value = row.try_get(i).map_err(|_| Failure::failed("the database holds text that is not UTF-8"))?;
            values.push(value.unwrap_or_default().to_owned());
        }
        bytes += values.iter().map(|value| value.len() + 1).sum::<usize>();
        if rows.len() == MAX_ROWS || bytes > MAX_BYTES {
            return Err(too_much());
        }
        rows.push(values);
    }
    session.finished();
    Ok(rows)
}
