//! The way back: stand-by and live file change names in one step.
//!
//! ```text
//!            live   standby.db   aside.db
//! before      O         S           –
//! named       O         –           S        not done; `stand` knows S by its inode
//! done        S         –           O
//! ```
use super::{
    base,
    connection::{self, STILL},
    fence::nobody_slipped_through,
    files::{self, Kind},
    held::{Held, Hold, held_by, hold, move_sides},
    loss,
    places::{Copy, Fenced, Live, Places},
    proof::{self, Proof, Stand, stand},
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    copies::{Exchange, Lost, Restored, Snapshot},
    database::COUNTING,
    holders::{self, names},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Which file was which, by inode: on one file system nothing else tells them apart after an exchange.
#[derive(Serialize, Deserialize)]
struct Evidence {
    exchange: Sides,
}
#[derive(Serialize, Deserialize)]
struct Sides {
    /// `None`: there was no database file.
    live: Option<u64>,
    standby: u64,
    /// For people.
    path: String,
}

/// Refuses a file that cannot be renamed, or whose other names would go on showing the old content.
pub fn possible(live: &Live) -> Result<(), Failure> {
    if live.file.nlink() > 1 {
        return Err(Failure::conflict(
            "the database file has a second name (a hard link), which an exchange would leave behind",
        ));
    }
    let mounts = holders::mounted(&live.path).map_err(|e| files::told("look for mount points", e))?;
    if mounts.is_empty() { Ok(()) } else { Err(Failure::conflict("the database file is a mount point")) }
}

pub fn exchange(
    places: &Places,
    snapshot: &Snapshot,
    call: &CallCtx,
    testify: impl FnOnce(Value) -> Result<(), Failure>,
) -> Result<Restored, Failure> {
    let live = match places.live() {
        Ok(live) => Some(live),
        // An upgrade may have deleted it. That is no reason not to go back.
        Err(e) if e.kind == FailureKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let copy = places.copy_of(snapshot)?;
    let standby = match stand(&copy, live.as_ref())? {
        Stand::By(path) => path,
        Stand::Live { .. } => return Err(Failure::conflict("the copy was exchanged before, and is live")),
        Stand::Gone => return Err(Failure::unproven("the copy is gone")),
    };
    if let Some(live) = &live {
        possible(live)?;
        if live.fenced == Fenced::Yes && !nobody_slipped_through(places, live)? {
            return Err(Failure::conflict("somebody got in behind the fence: fence the database again"));
        }
    }
    let path = live.as_ref().map_or_else(|| places.path(), |live| live.path.clone());
    for (file, what) in [(&path, "the database"), (&standby, "the copy")] {
        let holders = held_by(file)?;
        if !holders.is_empty() {
            return Err(Failure::conflict(format!("{what} is open in {}", names(&holders))));
        }
    }
    let look = proof::check(&copy, &standby, &snapshot.fingerprint, call)?;
    Proof::renew(&copy, &snapshot.fingerprint, look.clone())?;

    let Shut { held, sides: move_sides, damaged } = shut(live.as_ref(), call)?;
    let inode = live.as_ref().map(|live| live.file.ino());
    if inode_of(&path) != inode {
        return Err(Failure::conflict("somebody put another file in the place of the database"));
    }
    let sides = Sides { live: inode, standby: look.inode, path: path.to_string_lossy().into_owned() };
    let evidence = serde_json::to_value(Evidence { exchange: sides }).map_err(|e| Failure::failed(e.to_string()))?;
    testify(evidence)?;
    // The gate reads the evidence when its time is over, so nothing may be begun after that.
    if Instant::now() >= call.deadline {
        return Err(Failure::timed_out("the time was over before anything was exchanged"));
    }
    let swap = Swap { path, standby, copy: &copy, old: live.is_some(), sides: move_sides };
    swap.forth()?;
    if swap.old {
        // Who opened it between our look and the exchange could not do anything with it yet.
        let late = match held_by(&copy.aside()) {
            Ok(holders) if holders.is_empty() => None,
            Ok(holders) => Some(Failure::conflict(format!("the database was opened by {}", names(&holders)))),
            Err(e) => Some(e),
        };
        if let Some(failure) = late {
            swap.back()?;
            return Err(failure);
        }
    }
    // However much there is, it is done. Only now it is counted, with the connection that sees all of what is aside.
    call.progress(COUNTING, 0, 0);
    let lost = match (&held, damaged) {
        (Some(held), _) => counted(held, &swap.path, &copy, call),
        (None, Some(words)) => uncounted(&words),
        (None, None) => {
            let parts = snapshot.fingerprint.parts.iter().filter(|part| part.count > 0);
            parts.map(|part| Lost { part: part.name.clone(), rows: 0, changed: 0, missing: part.count }).collect()
        }
    };
    drop(held);
    let aside = swap.old.then(|| copy.aside().to_string_lossy().into_owned());
    Ok(Restored { exchanged: true, aside, lost })
}

/// What is live, as far as nobody else can use it.
struct Shut {
    held: Option<Held>,
    /// What lies beside it belongs to it still, and goes with it.
    sides: bool,
    /// Why SQLite cannot read it.
    damaged: Option<String>,
}

/// Keeps everybody away from what is live. That it is damaged, or that an upgrade has filled the disk, is no reason not to go
/// back, rather the opposite.
fn shut(live: Option<&Live>, call: &CallCtx) -> Result<Shut, Failure> {
    let Some(live) = live else { return Ok(Shut { held: None, sides: true, damaged: None }) };
    let hold = hold(&live.path, call)?;
    let sides = !matches!(hold, Hold::Held(_));
    match hold {
        Hold::Held(held) | Hold::Full(held, _) => {
            if !sides {
                held.clear_sides()?;
            }
            Ok(Shut { held: Some(held), sides, damaged: None })
        }
        Hold::Busy => Err(Failure::conflict("the database is in use by a process that Backout may not look into")),
        Hold::Damaged(words) => Ok(Shut { held: None, sides, damaged: Some(words) }),
    }
}

/// The product is still down, so it has little time.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);

/// What has been set aside. The file that is live now is read without a lock, which would keep a product waiting that was
/// started already; what it has written by then could not be told from what was there.
fn counted(aside: &Held, live: &Path, copy: &Copy, call: &CallCtx) -> Vec<Lost> {
    let written = || live.metadata().map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec())).ok();
    let before = written();
    let until = call.deadline.min(Instant::now() + COUNTED_WITHIN);
    let counted = connection::limit(&aside.connection, until, || false)
        .and_then(|()| loss::between(&aside.connection, live, STILL, call));
    // What comes back can only be told from what is written later as long as nobody has written.
    let gathered = match &counted {
        Ok(lost) => base::gather(&aside.connection, live, copy, lost, call),
        Err(e) => Err(Failure::failed(e.to_string())),
    };
    if written() != before {
        base::forget(copy);
        return uncounted("the database was written to meanwhile");
    }
    if let Err(error) = gathered.and_then(|()| base::settle(copy)) {
        tracing::info!(%error, "what came back is not kept, so salvaging will know less");
        base::forget(copy);
    }
    counted.unwrap_or_else(|e| uncounted(&connection::told(e).message))
}

fn inode_of(path: &Path) -> Option<u64> {
    match Kind::of(path) {
        Ok(Kind::File(file)) => Some(file.ino()),
        _ => None,
    }
}

pub fn uncounted(why: &str) -> Vec<Lost> {
    vec![Lost::uncounted(why)]
}

struct Swap<'a> {
    path: PathBuf,
    standby: PathBuf,
    copy: &'a Copy,
    /// Whether there is a file to be put aside.
    old: bool,
    /// Whether side files have to go with it, because SQLite could not take them in.
    sides: bool,
}

impl Swap<'_> {
    fn forth(&self) -> Result<(), Failure> {
        let aside = self.copy.aside();
        if self.standby != aside {
            files::put(&self.standby, &aside)?;
            files::sync_folder(&self.copy.folder)?;
        }
        // Durably before the exchange: a WAL that finds another database under its name is taken for its own.
        if self.sides {
            move_sides(&self.path, &aside)?;
        }
        let done = if self.old { files::exchange(&self.path, &aside) } else { files::put(&aside, &self.path) };
        if done.is_err() {
            self.unname()?;
        }
        done?;
        let durable = files::sync_parents(&[&self.path, &aside]);
        durable.map_err(|e| {
            Failure::failed(format!("the copy is live, but may not be after a power failure: {}", e.message))
        })
    }

    /// Undoes what is done before the exchange.
    fn unname(&self) -> Result<(), Failure> {
        let aside = self.copy.aside();
        if self.sides {
            move_sides(&aside, &self.path)?;
        }
        files::put(&aside, &self.copy.standby())?;
        files::sync_folder(&self.copy.folder)
    }

    fn back(&self) -> Result<(), Failure> {
        files::exchange(&self.path, &self.copy.aside())?;
        self.unname()?;
        files::sync_parents(&[&self.path])
    }
}

pub fn exchanged(places: &Places, snapshot: &Snapshot, evidence: &[Value]) -> Result<Exchange, Failure> {
    // The last attempt is the one that can have happened: each one before was looked at before the next began.
    let Some(Evidence { exchange: then }) = evidence.iter().rev().find_map(|e| Evidence::deserialize(e).ok()) else {
        return Ok(Exchange::NotDone);
    };
    let copy = places.copy_of(snapshot)?;
    let now = match places.live() {
        Ok(live) => Some(live.file.ino()),
        Err(e) if e.kind == FailureKind::NotFound => None,
        Err(e) => return Ok(Exchange::Unclear(format!("look at {}: {}", then.path, e.message))),
    };
    let aside = copy.aside();
    Ok(if now == Some(then.standby) {
        match then.live {
            None => Exchange::Done { aside: "nothing was live".to_owned() },
            Some(old) if inode_of(&aside) == Some(old) => {
                Exchange::Done { aside: aside.to_string_lossy().into_owned() }
            }
            Some(_) => Exchange::Unclear(format!(
                "the copy is live at {}, but what was live is not at {}",
                then.path,
                aside.display()
            )),
        }
    } else if now == then.live && [&copy.standby(), &aside].into_iter().any(|path| inode_of(path) == Some(then.standby))
    {
        Exchange::NotDone
    } else {
        Exchange::Unclear(format!("look at {}: it is neither the copy nor what was live before", then.path))
    })
}
