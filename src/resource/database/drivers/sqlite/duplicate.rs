//! A copy in another place, for a rehearsal. The database is only read, once, and nobody who writes waits for it long.
use super::{
    connection, files,
    fingerprint::fingerprint,
    places::{Places, SIDES, beside},
};
use crate::resource::{CallCtx, Failure, Pace, copies::Fingerprint, room::Need};
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

/// Pages that are read in one go, without a rest.
const STEP: i32 = 256;
/// A database that is written to meanwhile is begun with again.
const MOST_BEGINNINGS: u32 = 10;

/// Also what the write-ahead log holds will be in the copy.
pub fn need(places: &Places) -> Result<Need, Failure> {
    let live = places.live()?;
    let log = SIDES.iter().map(|side| beside(&live.path, side).symlink_metadata().map_or(0, |log| log.size()));
    Ok(Need { bytes: live.file.size().saturating_add(log.sum()), files: 1 })
}

/// Returns what the copy holds.
pub fn duplicate(places: &Places, to: &Path, pace: &Pace, call: &CallCtx) -> Result<Fingerprint, Failure> {
    let live = places.live()?;
    let source = connection::looking(&live.path, call).map_err(connection::told)?;
    let mode: String =
        source.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(connection::unproven)?;
    let page_size = source.pragma_query_value(None, "page_size", connection::number).map_err(connection::unproven)?;
    if mode == "wal" {
        // Writers go on beside this, so it is all of one moment. In the other modes a reader keeps commits waiting.
        let seen = |source: &Connection| source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
        source.execute_batch("BEGIN").and_then(|()| seen(&source)).map(|_: i64| ()).map_err(connection::unproven)?;
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    made.map_err(|e| files::told("make the copy", e))?;
    let mut target = connection::writing(to, call).map_err(connection::told)?;
    target
        .execute_batch("PRAGMA locking_mode = exclusive; PRAGMA journal_mode = off; PRAGMA synchronous = off")
        .map_err(connection::told)?;
    copy_pages(&source, &mut target, page_size, pace, call)?;
    target.close().map_err(|(_, e)| connection::told(e))?;
    drop(source);
    files::dress(to, &live.path)?;
    if let (Some(folder), Some(like)) = (to.parent(), places.path().parent()) {
        // A twin that runs as the product's user writes there as the product does.
        files::dress(folder, like)?;
    }
    File::open(to).and_then(|file| file.sync_all()).map_err(|e| files::told("write the copy", e))?;
    let copy = connection::still(to, call).map_err(connection::unproven)?;
    fingerprint(&copy, "reading the copy", call).map_err(connection::unproven)
}

fn copy_pages(
    source: &Connection,
    target: &mut Connection,
    page_size: u64,
    pace: &Pace,
    call: &CallCtx,
) -> Result<(), Failure> {
    let over = || Instant::now() >= call.deadline || call.cancel.is_cancelled();
    let backup = Backup::new(source, target).map_err(connection::told)?;
    let (mut beginnings, mut left) = (1, i32::MAX);
    loop {
        let step = backup.step(STEP).map_err(connection::unproven)?;
        let progress = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or_default() * page_size;
        call.progress("copying", bytes(progress.pagecount - progress.remaining), bytes(progress.pagecount));
        // It goes back to the first page, and copies a few from there.
        if step == StepResult::More && progress.remaining >= left {
            beginnings += 1;
        }
        left = progress.remaining;
        match step {
            StepResult::Done => return Ok(()),
            _ if call.cancel.is_cancelled() => return Err(Failure::unavailable("cancelled")),
            _ if over() => return Err(Failure::timed_out("copying took longer than its time")),
            _ if beginnings > MOST_BEGINNINGS => {
                return Err(Failure::unavailable(
                    "it is written to all the time, and without a write-ahead log nobody could write while it is copied: \
                     set its journal mode to WAL, or rehearse at a quieter time",
                ));
            }
            StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(20)),
            _ => pace.took(bytes(STEP), over),
        }
    }
}
