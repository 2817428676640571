//! Room in the write-ahead log, made before it is needed. A commit that makes a file longer costs the file system a commit of its own,
//! which takes as long again; within a file that is long enough nothing but the entry is written.
use rusqlite::Connection;
use std::{
    fs::File,
    io::{Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

/// Before the first frame, and a frame: a page with its header.
const HEADER: u64 = 32;
const FRAME: u64 = 24 + 4096;

/// Frames to be made at once: a small run has enough of the first, and making the most takes no longer than a slow commit.
const ONCE: [u64; 2] = [64, 256];

/// Frames after which SQLite moves all into the database and begins the log again, and some more.
const ENOUGH: u64 = 1_100;

/// Bytes. A disk with less has something better to do with what is left.
const PLENTY: u64 = 64 << 20;

/// Of one log.
pub struct Room {
    log: Option<File>,
    /// Up to where it was made.
    end: u64,
}

impl Room {
    /// What keeps room from being made keeps nothing else from going on: then the log grows by itself.
    pub fn of(db: &Connection) -> Self {
        let log = db.path().filter(|path| !path.is_empty()).map(|path| PathBuf::from(format!("{path}-wal")));
        let link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let log = log.and_then(|log| File::options().read(true).write(true).custom_flags(link).open(log).ok());
        Self { log: log.filter(|log| log.metadata().is_ok_and(|about| about.is_file())), end: 0 }
    }

    /// Within a transaction that writes, for then nobody else writes into the log, and before its commit, which makes it durable
    /// together with what is committed. What a log holds behind its last frame is read by nobody.
    pub fn make(&mut self) {
        let Some(mut log) = self.log.as_ref() else { return };
        // The length alone: who asks for a file's times has every write after it change them, which is a commit again.
        let Ok(length) = log.seek(SeekFrom::End(0)) else { return };
        let frames = length.saturating_sub(HEADER).div_ceil(FRAME);
        // As long as it was made, it is not used up.
        if length == self.end || frames >= ENOUGH || free(log) < PLENTY {
            return;
        }
        let more = frames.clamp(ONCE[0], ONCE[1]);
        // To the end of a frame, so that no log ends within a header.
        let end = HEADER + (frames + more) * FRAME;
        let zeros = vec![0; usize::try_from(end - length).unwrap_or_default()];
        self.end = end;
        if log.write_all_at(&zeros, length).is_err() {
            let _ = log.set_len(length);
            self.log = None;
        }
    }
}

/// Bytes that anybody may still write beside the log.
fn free(log: &File) -> u64 {
    rustix::fs::fstatvfs(log).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
