//! A stand-by counts as proven while its file looks exactly as it did when its content was last read in full.
//!
//! The look is inode, size and times; the time of change cannot be set back by anybody. So a rollback does not have to read
//! all the data again, however much it is. After a restart of the host the look proves nothing (a power failure may have
//! taken the times and left the data), and without a proof file it does not either: then everything is read. `refresh`
//! therefore removes the proof, durably, before it writes to a stand-by.
use super::{
    connection,
    files::{self, Kind},
    fingerprint::fingerprint,
    places::{Copy, Live, beside},
};
use crate::resource::{CallCtx, Failure, FailureKind, copies::Fingerprint, process::boot_id};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[derive(Serialize, Deserialize)]
pub struct Proof {
    format: u32,
    pub fingerprint: Fingerprint,
    pub look: Look,
}
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    pub inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// of the host: changes with each start
    boot: String,
}

impl Look {
    pub fn at(path: &Path) -> io::Result<Self> {
        let file = path.symlink_metadata()?;
        Ok(Self {
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
            boot: boot_id()?,
        })
    }

    /// Returns when any later write would show. Kernels tell times apart in steps of some milliseconds.
    pub fn settled(path: &Path) -> io::Result<Self> {
        const STEP: Duration = Duration::from_millis(12);
        let look = Self::at(path)?;
        let seconds = u64::try_from(look.changed.0).unwrap_or_default();
        let nanos = u32::try_from(look.changed.1).unwrap_or_default();
        let until = UNIX_EPOCH + Duration::new(seconds, nanos) + STEP;
        if let Ok(rest) = until.duration_since(SystemTime::now()) {
            std::thread::sleep(rest.min(STEP));
        }
        Ok(look)
    }
}

impl Proof {
    /// Nothing readable there is no proof.
    pub fn of(copy: &Copy) -> Option<Self> {
        let bytes = std::fs::read(copy.proof()).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|proof: &Self| proof.format == FORMAT)
    }

    /// After a check had to read everything: so that the next one need not, and the inode is known during an exchange.
    pub fn renew(copy: &Copy, fingerprint: &Fingerprint, look: Look) -> Result<(), Failure> {
        let known = Self::of(copy).is_some_and(|proof| proof.look == look && proof.fingerprint == *fingerprint);
        let proof = Self { format: FORMAT, fingerprint: fingerprint.clone(), look };
        if known { Ok(()) } else { proof.write(copy) }
    }

    /// Before the stand-by is written to. Durable.
    pub fn withdraw(copy: &Copy) -> Result<(), Failure> {
        if files::remove(&copy.proof())? {
            files::sync_folder(&copy.folder)?;
        }
        Ok(())
    }

    fn write(&self, copy: &Copy) -> Result<(), Failure> {
        let new = copy.proof().with_extension("new");
        let written = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&new, copy.proof())
        };
        written().map_err(|e| files::told("write down the proof", e))?;
        files::sync_folder(&copy.folder)
    }
}

/// Where the copy of a snapshot stands.
pub enum Stand {
    By(PathBuf),
    /// It is live. What was live is aside, unless it was thrown away or there was nothing.
    Live {
        aside: Option<PathBuf>,
    },
    Gone,
}

/// A stand-by is given the name `aside.db` right before its exchange, so that what was live has its final name in the same
/// step. Which of the two `aside.db` is, the inode says.
pub fn stand(copy: &Copy, live: Option<&Live>) -> Result<Stand, Failure> {
    let file = |path: PathBuf| match Kind::of(&path) {
        Ok(Kind::File(file)) => Ok(Some((path, file.ino()))),
        Ok(_) => Ok(None),
        Err(e) => Err(files::told("look for the copy", e)),
    };
    let proven = Proof::of(copy).map(|proof| proof.look.inode);
    let standby = file(copy.standby())?;
    Ok(match (standby, file(copy.aside())?) {
        (Some((path, _)), _) => Stand::By(path),
        (None, Some((path, inode))) if Some(inode) == proven => Stand::By(path),
        (None, Some((path, _))) => Stand::Live { aside: Some(path) },
        (None, None) if live.is_some_and(|live| Some(live.file.ino()) == proven) => Stand::Live { aside: None },
        (None, None) => Stand::Gone,
    })
}

/// Reads the whole copy again, which must be durable already, and writes down what it holds. `expected`: what the source held
/// when it was copied.
pub fn prove(copy: &Copy, expected: &Fingerprint, call: &CallCtx) -> Result<Fingerprint, Failure> {
    let path = copy.standby();
    let look = Look::settled(&path).map_err(|e| files::told("look at the copy", e))?;
    forget(&path);
    let (fingerprint, ()) = read(&path, "reading the copy", call, |_| Ok(()))?;
    equal(&fingerprint, expected, "the copy differs from the database that it was made of")?;
    renewed(copy, &fingerprint, look)?;
    Ok(fingerprint)
}

/// Writes down what a copy holds that was found to hold it since it looked so.
pub fn renewed(copy: &Copy, fingerprint: &Fingerprint, look: Look) -> Result<(), Failure> {
    let look = unchanged(&copy.standby(), look)?;
    Proof { format: FORMAT, fingerprint: fingerprint.clone(), look }.write(copy)
}

/// Whether a stand-by still holds what it was proven to hold, and the look by which it can be known again.
pub fn check(copy: &Copy, standby: &Path, expected: &Fingerprint, call: &CallCtx) -> Result<Look, Failure> {
    for side in ["-wal", "-journal"] {
        if beside(&copy.standby(), side).metadata().is_ok_and(|file| file.len() > 0) {
            return Err(Failure::unproven("somebody has opened the copy and written to it"));
        }
    }
    let told = |e| files::told("look at the copy", e);
    let proof = Proof::of(copy).filter(|proof| proof.fingerprint == *expected);
    if let Some(proof) = proof
        && proof.look == Look::at(standby).map_err(told)?
    {
        return Ok(proof.look);
    }
    let look = Look::settled(standby).map_err(told)?;
    forget(standby);
    let (fingerprint, ()) = read(standby, "reading the copy", call, |_| Ok(()))?;
    equal(&fingerprint, expected, "the copy no longer equals its proof")?;
    unchanged(standby, look)
}

/// `look` again, when the file still looks so.
fn unchanged(path: &Path, look: Look) -> Result<Look, Failure> {
    if Look::at(path).ok().as_ref() == Some(&look) {
        Ok(look)
    } else {
        Err(Failure::unproven("somebody else changed the copy while it was compared"))
    }
}

/// What is done at the same time, of which nothing is of use when one part fails: the others then end.
#[derive(Clone, Default)]
pub struct Others(Arc<OnceLock<Failure>>);

impl Others {
    pub fn failed(&self) -> bool {
        self.0.get().is_some()
    }

    fn heed<T>(&self, result: Result<T, Failure>) -> Option<T> {
        // What ends because another part has failed has nothing to add.
        result.map_err(|failure| self.0.set(failure)).ok()
    }
}

/// Structure and content of a file that nobody writes, and what else is to be done, at the same time, because under a fence
/// people wait for it.
pub fn read<T>(
    path: &Path,
    what: &str,
    call: &CallCtx,
    beside: impl FnOnce(&Others) -> Result<T, Failure>,
) -> Result<(Fingerprint, T), Failure> {
    let others = Others::default();
    let open = || {
        let connection = connection::still(path, call)?;
        let watched = others.clone();
        connection::limit(&connection, call.deadline, move || watched.failed())?;
        Ok(connection)
    };
    let (structure, content) = (open().map_err(connection::unproven)?, open().map_err(connection::unproven)?);
    let others = &others;
    let (checked, fingerprint, done) = std::thread::scope(|scope| {
        let checking = scope.spawn(move || others.heed(whole(&structure)));
        let reading = scope.spawn(move || others.heed(fingerprint(&content, what, call).map_err(connection::unproven)));
        let done = others.heed(beside(others));
        (checking.join(), reading.join(), done)
    });
    match (checked, fingerprint, done) {
        (Ok(Some(())), Ok(Some(fingerprint)), Some(done)) => Ok((fingerprint, done)),
        _ => Err(others.0.get().cloned().unwrap_or_else(|| Failure::unproven("the check of the copy broke off"))),
    }
}

/// `unproven` with the first thing that is wrong with its structure. Whether rows keep the rules of their table is not asked (SQLite does that
/// only where it may write): a copy is as right as what it was made of.
fn whole(connection: &Connection) -> Result<(), Failure> {
    let words: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(
            |e| match connection::unproven(e) {
                // An index by a function or collation that only the product has cannot be checked from outside.
                e if e.kind != FailureKind::TimedOut => {
                    Failure::unproven(format!("it cannot be checked: {}", e.message))
                }
                e => e,
            },
        )?;
    if words == "ok" {
        return Ok(());
    }
    // The first line names the database.
    let words: String =
        words.lines().find(|line| !line.starts_with("***")).unwrap_or(&words).chars().take(200).collect();
    Err(Failure::unproven(format!("the database is damaged: {words}")))
}

/// Pages of the file that memory holds are read again from the disk, as far as the system lets us.
pub fn forget(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

fn equal(is: &Fingerprint, expected: &Fingerprint, words: &str) -> Result<(), Failure> {
    const SHOWN: usize = 5;
    let mut differences = is.differences(expected);
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(SHOWN);
    differences.truncate(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    Err(Failure::unproven(format!("{words}: {}{more}", differences.join(", "))))
}
