//! Which way copies are made where the site leaves the choice: by what the server can do, by the room on its disk, and by how
//! long the product would have to wait.
use super::super::{
    Postgres,
    connection::{Session, Use},
    error::told,
};
use super::{
    clone::{Choice, Looked},
    content::{self, Table},
    detector,
};
use crate::resource::{CallCtx, Failure, room};
use futures_util::StreamExt;
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use tokio_postgres::Client;

/// A database that is smaller is not measured.
const SMALL: u64 = 64 << 20;
/// What a slow disk reads in a second, where nothing was measured; and what is believed at least.
const USUAL: u64 = 20 << 20;
const LEAST: u64 = 1 << 20;
/// It is copied once, and read twice to be compared.
const PASSES: u64 = 3;

pub async fn choose(
    postgres: &Postgres,
    admin: &Client,
    looked: &Looked,
    window: Duration,
    call: &CallCtx,
) -> Result<Choice, Failure> {
    let choice = |clone, why: String| {
        let name = if clone { "clone" } else { "stand-by" };
        Ok(Choice { clone, why: Some(format!("`auto` takes {name}: {why}")) })
    };
    if let Some(why) = &looked.unfit {
        return choice(false, format!("the server cannot copy its files, {why}"));
    }
    if !looked.has_room() && !looked.shares {
        return Err(looked.no_room());
    }
    if !looked.has_room() {
        return choice(
            true,
            format!("there is no room for another {}, and the file system shares blocks", room::size(looked.bytes)),
        );
    }
    let rate = if looked.bytes < SMALL { USUAL } else { rate(postgres, call).await?.unwrap_or(USUAL).max(LEAST) };
    let takes = Duration::from_secs(looked.bytes.saturating_mul(PASSES).div_ceil(rate));
    let size = room::size(looked.bytes);
    let (takes_s, window_s) = (spoken(takes), spoken(window));
    if takes <= window {
        return choice(
            true,
            format!("copying and comparing {size} takes about {takes_s} under the fence, which may take {window_s}"),
        );
    }
    let then = match detector::means(admin).await {
        Ok(by) => format!("; a stand-by reads only what has changed there, by {}", by.name()),
        Err(why) => format!("; a stand-by is compared in full there as well, because {why}"),
    };
    choice(
        false,
        format!(
            "copying and comparing {size} would take about {takes_s} under the fence, which may take {window_s}{then}"
        ),
    )
}

fn spoken(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Bytes in a second: of the largest table as much as a second brings. `None`: too little to say.
async fn rate(postgres: &Postgres, call: &CallCtx) -> Result<Option<u64>, Failure> {
    const ENOUGH: u64 = 8 << 20;
    let session: Session = content::comparing(postgres, &postgres.server.database, Use::Looking, call).await?;
    let tables = content::tables(&session).await?;
    let Some(largest) = tables.iter().max_by_key(|table: &&Table| table.bytes) else { return Ok(None) };
    let began = Instant::now();
    let mut bytes = 0;
    {
        let out = format!("COPY {}{} TO STDOUT", largest.quoted(), largest.columns());
        let mut rows = pin!(session.copy_out(&out).await.map_err(told)?);
        let mut sum = content::Sum::default();
        while let Some(row) = rows.next().await {
            let row = row.map_err(told)?;
            sum.add(&row);
            bytes += row.len() as u64;
            if began.elapsed() >= Duration::from_secs(1) {
                break;
            }
        }
    }
    // It ends at the server when the connection does.
    drop(session);
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    Ok((bytes >= ENOUGH).then(|| bytes.saturating_mul(1000) / millis))
}
