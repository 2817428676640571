//! A table of which some blocks were written to since it was proven what its copy holds.
//!
//! What rows of these blocks say now is brought over; a row elsewhere is as it was. Where a row stood that is gone, nobody knows
//! any more, so the rows are counted, and if there are too many in the copy, keys are compared. What the whole table holds
//! then follows from what it held, without what was taken out of the copy, with what was put into it: sums can do that.
use super::super::error::told;
use super::{
    content::{Sum, Table},
    merge::{Row, keys},
};
use crate::resource::Failure;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::{ops::ControlFlow, pin::pin};
use tokio_postgres::Client;

/// Smaller tables are compared in full as fast.
pub const SMALL: u64 = 1 << 20;
/// Of the server's usual kind. With others, the share is another one.
const BLOCK: u64 = 8192;

/// Stretches of blocks, each from its first up to the one behind its last.
pub type Stretches = Vec<(u32, u32)>;

/// Whether this is less work than a full comparison.
pub fn worth(table: &Table, blocks: usize) -> bool {
    let keyed = !table.key.is_empty() && table.key.iter().all(|(column, _)| table.columns.contains(column));
    keyed && table.bytes >= SMALL && (blocks as u64).saturating_mul(BLOCK * 2) <= table.bytes
}

/// In order.
pub fn stretches(blocks: impl IntoIterator<Item = u32>) -> Stretches {
    let mut all: Stretches = Vec::new();
    for block in blocks {
        match all.last_mut() {
            Some((_, end)) if *end == block => *end += 1,
            _ => all.push((block, block.saturating_add(1))),
        }
    }
    all
}

/// Brings them over in the transaction that `to` is in. What the table holds now, and how many rows were brought or gone.
pub async fn bring(
    from: &Client,
    to: &Client,
    table: &Table,
    stretches: &Stretches,
    (then, coding): (Sum, &str),
) -> Result<(Sum, u64), Failure> {
    let (name, of) = (table.quoted(), |alias: &str| {
        table.columns.iter().map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ")
    });
    let (columns, theirs, fresh) = (table.columns.join(", "), of("t"), of("f"));
    let equal: Vec<String> = table.key.iter().map(|(column, _)| format!("f.{column} = t.{column}")).collect();
    let equal = equal.join(" AND ");
    to.batch_execute(&format!(
        "CREATE TEMP TABLE fresh ON COMMIT DROP AS SELECT {columns} FROM ONLY {name} WITH NO DATA"
    ))
    .await
    .map_err(told)?;
    let (mut now, mut same, mut out, mut gone, mut put) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default(), Sum::default());
    const AT_ONCE: usize = 5_000;
    for some in stretches.chunks(AT_ONCE) {
        let tids = |at: fn(&(u32, u32)) -> u32| {
            let all: Vec<String> = some.iter().map(|stretch| format!("\"({},0)\"", at(stretch))).collect();
            format!("'{{{}}}'::tid[]", all.join(","))
        };
        let read = format!(
            "COPY (SELECT {theirs} FROM unnest({}, {}) r(lo, hi), LATERAL \
                (SELECT {columns} FROM ONLY {name} WHERE ctid >= r.lo AND ctid < r.hi OFFSET 0) t) TO STDOUT (ENCODING '{coding}')",
            tids(|stretch| stretch.0),
            tids(|stretch| stretch.1)
        );
        let into = format!("COPY pg_temp.fresh ({columns}) FROM STDIN (ENCODING '{coding}')");
        let mut rows = pin!(from.copy_out(&read).await.map_err(told)?);
        let mut sink = pin!(to.copy_in::<_, Bytes>(&into).await.map_err(told)?);
        while let Some(row) = rows.next().await {
            let row = row.map_err(told)?;
            now.add(&row);
            sink.send(row).await.map_err(told)?;
        }
        sink.finish().await.map_err(told)?;
    }
    to.batch_execute("ANALYZE pg_temp.fresh").await.map_err(told)?;
    // Most rows of a block were not changed.
    let delete = format!(
        "DELETE FROM pg_temp.fresh f USING ONLY {name} AS t WHERE {equal} AND ROW({fresh})::text = ROW({theirs})::text RETURNING {theirs}"
    );
    summed(to, &delete, coding, &mut same).await?;
    let delete = format!("DELETE FROM ONLY {name} AS t USING pg_temp.fresh f WHERE {equal} RETURNING {theirs}");
    summed(to, &delete, coding, &mut out).await?;
    let count = |of: &str| format!("SELECT count(*) FROM {of}");
    let live: i64 = from.query_one(&count(&format!("ONLY {name}")), &[]).await.map_err(told)?.get(0);
    let fresh_rows: i64 = to.query_one(&count("pg_temp.fresh"), &[]).await.map_err(told)?.get(0);
    let stays = (then.rows + fresh_rows.unsigned_abs()).saturating_sub(out.rows);
    if stays != live.unsigned_abs() {
        let mut places = Vec::new();
        let met = keys((from, table), (to, table), |there: Option<&Row>, here: Option<&Row>| {
            if let (None, Some(here)) = (there, here) {
                places.push(format!("\"{}\"", here.place()));
            }
            ControlFlow::Continue(())
        });
        met.await?;
        for some in places.chunks(AT_ONCE) {
            let at = format!("t.ctid = ANY ('{{{}}}'::tid[])", some.join(","));
            let delete = format!("DELETE FROM ONLY {name} AS t WHERE {at} RETURNING {theirs}");
            summed(to, &delete, coding, &mut gone).await?;
        }
    }
    let insert = format!("INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM pg_temp.fresh");
    to.batch_execute(&insert).await.map_err(told)?;
    let read = format!("SELECT {theirs} FROM ONLY {name} AS t JOIN pg_temp.fresh f ON {equal}");
    summed(to, &read, coding, &mut put).await?;
    to.batch_execute("DROP TABLE pg_temp.fresh").await.map_err(told)?;
    // What these blocks say stands in the copy, each row of it, and there are as many rows as there should be.
    let sum = then.without(out).without(gone).with(put);
    if same.with(put) != now || sum.rows != live.unsigned_abs() {
        return Err(Failure::unproven(format!("{} of the copy did not become what is live", table.shown())));
    }
    Ok((sum, put.rows.max(out.rows) + gone.rows))
}

/// Adds up the rows that a statement reads, or gives back.
async fn summed(session: &Client, statement: &str, coding: &str, sum: &mut Sum) -> Result<(), Failure> {
    let out = format!("COPY ({statement}) TO STDOUT (ENCODING '{coding}')");
    let mut rows = pin!(session.copy_out(&out).await.map_err(told)?);
    while let Some(row) = rows.next().await {
        sum.add(&row.map_err(told)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_beside_each_other_are_one_stretch() {
        assert_eq!(stretches([1, 2, 3, 7, 9, 10]), [(1, 4), (7, 8), (9, 11)]);
        assert_eq!(stretches([u32::MAX]), [(u32::MAX, u32::MAX)]);
        assert_eq!(stretches([]), []);
    }
}
