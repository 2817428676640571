//! What differs between two tables of one name, brought over row by row.
use super::super::{connection::Session, error::told};
use super::{
    content::{self, Moment, News, Table},
    merge::merge,
};
use crate::resource::{CallCtx, Failure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::{ops::ControlFlow, pin::pin};
use tokio_postgres::Client;

/// Brings what differs in tables over by one connection, in the transaction that it is in. How many rows that were.
pub async fn bring_differences(
    moment: Moment,
    target: Session,
    tables: Vec<Table>,
    call: &CallCtx,
) -> Result<(Moment, Session, u64), Failure> {
    let coding = content::coding(moment.first()?).await?;
    let news = News::new("copying", &tables, call);
    let mut copied = 0;
    for table in &tables {
        let from = moment.first()?;
        copied += match bring_rows(from, &target, table, &coding).await? {
            Some(rows) => rows,
            None => content::pass(from, Some(&target), table, &coding, &news).await?.rows,
        };
    }
    Ok((moment, target, copied))
}

/// `None`: so many differ that the whole table is brought over sooner.
async fn bring_rows(from: &Client, to: &Client, table: &Table, coding: &str) -> Result<Option<u64>, Failure> {
    const MOST: usize = 100_000;
    const AT_ONCE: usize = 2_000;
    let (mut come, mut go) = (Vec::new(), Vec::new());
    let met = merge((from, table), (to, table), |there, here| {
        if let (Some(there), Some(here)) = (there, here)
            && there.is_like(here)
        {
            return ControlFlow::Continue(());
        }
        come.extend(there.map(|row| row.place().to_owned()));
        go.extend(here.map(|row| row.place().to_owned()));
        if come.len() + go.len() > MOST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    met.await?;
    if come.len() + go.len() > MOST {
        return Ok(None);
    }
    let places = |some: &[String]| {
        let quoted: Vec<String> = some.iter().map(|place| format!("\"{place}\"")).collect();
        format!("ctid = ANY ('{{{}}}'::tid[])", quoted.join(","))
    };
    for some in go.chunks(AT_ONCE) {
        let gone = format!("DELETE FROM ONLY {} WHERE {}", table.quoted(), places(some));
        to.execute(&gone, &[]).await.map_err(told)?;
    }
    let columns = table.columns.join(", ");
    for some in come.chunks(AT_ONCE) {
        let out = format!(
            "COPY (SELECT {columns} FROM ONLY {} WHERE {}) TO STDOUT (ENCODING '{coding}')",
            table.quoted(),
            places(some)
        );
        let into = format!("COPY {}{} FROM STDIN (ENCODING '{coding}')", table.quoted(), table.columns());
        let mut rows = pin!(from.copy_out(&out).await.map_err(told)?);
        let mut sink = pin!(to.copy_in::<_, Bytes>(&into).await.map_err(told)?);
        while let Some(row) = rows.next().await {
            sink.send(row.map_err(told)?).await.map_err(told)?;
        }
        sink.finish().await.map_err(told)?;
    }
    Ok(Some(come.len().max(go.len()) as u64))
}
