//! What the server has found in its log (`summarize_wal`). A summary ends where a checkpoint begins.
use super::super::super::{connection::POLL, error::told};
use super::{Known, Without, Written, add, why};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// The server summarises as fast as it can read; one that stands still is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of those that have to do with the stretch: whether they are there up to its end, and cover it without a gap. They are made
/// one after the other.
const COVERED: &str = "SELECT coalesce(max(end_lsn) >= $3::text::pg_lsn, false), \
        coalesce(bool_and(start_lsn <= before) AND min(start_lsn) <= $2::text::pg_lsn, false), \
        current_setting('summarize_wal') = 'on' \
    FROM (SELECT start_lsn, end_lsn, coalesce(max(end_lsn) OVER (ORDER BY start_lsn, end_lsn \
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), start_lsn) AS before \
        FROM pg_available_wal_summaries() \
        WHERE tli = $1::bigint AND end_lsn > $2::text::pg_lsn AND start_lsn < $3::text::pg_lsn) s";
/// Blocks of the main fork alone: the others say where there is room, and what all can see.
const WRITTEN: &str = "SELECT c.relfilenode, array_agg(DISTINCT c.relblocknumber) FILTER (WHERE NOT c.is_limit_block), bool_or(c.is_limit_block) \
    FROM pg_available_wal_summaries() s, pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) c \
    WHERE s.tli = $1::bigint AND s.end_lsn > $2::text::pg_lsn AND s.start_lsn < $3::text::pg_lsn \
      AND c.reldatabase IN (0, $4) AND c.relforknumber = 0 GROUP BY 1";

pub async fn written(admin: &Client, known: &Known, until: &str) -> Without<Written> {
    let timeline = i64::from_str_radix(&known.log.timeline, 16).map_err(|e| e.to_string())?;
    admin.batch_execute("CHECKPOINT").await.map_err(|e| why(told(e)))?;
    let patience = Instant::now() + PATIENCE;
    loop {
        let row = admin.query_one(COVERED, &[&timeline, &known.position, &until]).await.map_err(|e| why(told(e)))?;
        let (reached, whole, on): (bool, bool, bool) = (row.get(0), row.get(1), row.get(2));
        if reached && whole {
            break;
        }
        if reached || !on || Instant::now() >= patience {
            return Err("the server's summaries of its log do not cover all of it".to_owned());
        }
        tokio::time::sleep(POLL).await;
    }
    let rows = admin.query(WRITTEN, &[&timeline, &known.position, &until, &known.database]).await;
    let mut written = Written::new();
    for row in rows.map_err(|e| why(told(e)))? {
        let (file, blocks): (u32, Option<Vec<i64>>) = (row.get(0), row.get(1));
        if file == 0 {
            return Err("the files of the database were put in place since".to_owned());
        }
        // One that was cut off or made: everything behind a block is another content.
        let blocks = blocks.filter(|_| !row.get::<_, bool>(2));
        add(&mut written, file, blocks.map(|all| all.into_iter().filter_map(|b| u32::try_from(b).ok()).collect()));
    }
    Ok(written)
}
