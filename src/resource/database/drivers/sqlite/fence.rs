//! A folder in the place of the database file: every open fails, and no application creates an empty database there.
//!
//! File and folder change places in one step, so the fence needs no journal: what lies where says whether it is up, and
//! lifting it from any process gives back the very same file.
use super::{
    files::{self, Kind},
    held::{Hold, held_by, hold, move_sides},
    places::{Fenced, Live, Places, SIDES, beside},
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    holders::{Holder, names},
};
use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(100);
const NOTE: &str = "FENCED";
const TEXT: &str = "\
Backout has shut this database to applications while it works on it, and keeps the file safe in the folder `.backout` \
beside this one. `backout unfence` brings it back. Do not put a file here.
";

pub fn fenced(places: &Places) -> Result<bool, Failure> {
    Ok(places.live()?.fenced == Fenced::Yes)
}

pub fn hidden(places: &Places) -> Result<bool, Failure> {
    Ok(places.live()?.fenced != Fenced::No)
}

/// Whoever raised it may have been killed before it could look who slipped through.
pub fn shut(places: &Places) -> Result<bool, Failure> {
    match places.live() {
        Ok(live) => Ok(live.fenced == Fenced::Yes && nobody_slipped_through(places, &live)?),
        Err(e) if e.kind == FailureKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

pub fn open(places: &Places) -> Result<bool, Failure> {
    let behind = places.behind();
    let left = [&behind, &spare(&behind)].into_iter().any(|folder| folder.symlink_metadata().is_ok());
    match places.live() {
        Ok(live) => Ok(live.fenced == Fenced::No && !left),
        // Nothing is fenced where nothing is.
        Err(e) if e.kind == FailureKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

/// Waits for those who have the database open, then shuts it.
pub fn raise(places: &Places, within: Duration, call: &CallCtx) -> Result<(), Failure> {
    let until = (Instant::now() + within).min(call.deadline);
    let live = places.live()?;
    match live.fenced {
        Fenced::Yes => {
            // Who raised it may have been killed before it could look who slipped through. Nothing is moved under somebody's
            // hands, so they have to go first; what they leave beside the old name belongs to the file.
            wait(until, call, || {
                let holders = held_by(&live.path)?;
                Ok(if holders.is_empty() { Attempt::Raised } else { Attempt::Held(names(&holders)) })
            })?;
            if nobody_slipped_through(places, &live)? {
                return Ok(());
            }
            lower_onto_path(places, &live)?;
        }
        Fenced::Uncovered => return cover(places),
        Fenced::No => {}
    }
    let path = places.path();
    let behind = places.make_behind()?;
    let raised = make_cover(&behind).and_then(|()| {
        wait(until, call, || {
            let holders = held_by(&path)?;
            if holders.is_empty() { try_raise(&path, &behind, call) } else { Ok(Attempt::Held(names(&holders))) }
        })
    });
    if raised.is_err() {
        // Why it was not raised is what people have to know; what is left is looked for again.
        let _ = remove_cover(&behind);
        places.tidy();
    }
    raised
}

fn wait(until: Instant, call: &CallCtx, mut attempt: impl FnMut() -> Result<Attempt, Failure>) -> Result<(), Failure> {
    loop {
        let who = match attempt()? {
            Attempt::Raised => return Ok(()),
            Attempt::Held(who) => who,
        };
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(Failure::timed_out(format!("the database is still in use by {who}")));
        }
        call.progress(&format!("waiting for {who}"), 0, 0);
        std::thread::sleep(POLL.min(rest));
    }
}

enum Attempt {
    Raised,
    /// By these, in words.
    Held(String),
}

fn try_raise(path: &Path, behind: &Path, call: &CallCtx) -> Result<Attempt, Failure> {
    let held = match hold(path, call)? {
        Hold::Held(held) => held,
        Hold::Busy => return Ok(Attempt::Held("a process that Backout may not look into".to_owned())),
        Hold::Full(_, failure) => return Err(failure),
        Hold::Damaged(why) => return Err(Failure::failed(why)),
    };
    held.clear_sides()?;
    files::exchange(path, behind)?;
    files::sync_parents(&[path, behind])?;
    // Who opened it between our look and the exchange has done nothing with it yet, and is found now.
    let slipped = |held: Vec<Holder>| -> Result<Option<Attempt>, Failure> {
        if held.is_empty() {
            return Ok(None);
        }
        files::exchange(path, behind)?;
        files::sync_parents(&[path, behind])?;
        Ok(Some(Attempt::Held(names(&held))))
    };
    if let Some(attempt) = slipped(held_by(behind)?)? {
        return Ok(attempt);
    }
    drop(held);
    // Once more, for the one whose open was on its way when we looked.
    Ok(slipped(held_by(behind)?)?.unwrap_or(Attempt::Raised))
}

/// Nobody has the fenced file open, and nobody has written a side file by the name that it had before.
pub fn nobody_slipped_through(places: &Places, live: &Live) -> Result<bool, Failure> {
    let path = places.path();
    let strays = SIDES.iter().filter_map(|side| beside(&path, side).metadata().ok()).any(|file| file.len() > 0);
    Ok(!strays && held_by(&live.path)?.is_empty())
}

/// Lets applications in again. Whoever has the fenced file open has to let go of it before.
pub fn lift(places: &Places, call: &CallCtx) -> Result<(), Failure> {
    let live = match places.live() {
        Ok(live) => live,
        // Nothing is fenced where nothing is.
        Err(e) if e.kind == FailureKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if live.fenced != Fenced::No {
        let holders = held_by(&live.path)?;
        if !holders.is_empty() {
            return Err(Failure::conflict(format!("the fenced database is open in {}", names(&holders))));
        }
        // Kept until the file is back, so that nobody changes it on the way.
        let _held = match hold(&live.path, call)? {
            Hold::Held(held) => {
                held.clear_sides()?;
                Some(held)
            }
            Hold::Busy => return Err(Failure::conflict("the fenced database is in use")),
            // A fence must never become a trap: what cannot be read, or has no room, comes back as it is.
            Hold::Full(held, _) => {
                move_sides(&live.path, &places.path())?;
                Some(held)
            }
            Hold::Damaged(_) => {
                move_sides(&live.path, &places.path())?;
                None
            }
        };
        lower_onto_path(places, &live)?;
    }
    remove_cover(&places.behind())?;
    remove_cover(&spare(&places.behind()))?;
    places.tidy();
    Ok(())
}

fn lower_onto_path(places: &Places, live: &Live) -> Result<(), Failure> {
    let path = places.path();
    match live.fenced {
        Fenced::Yes => files::exchange(&live.path, &path)?,
        Fenced::Uncovered => files::put(&live.path, &path)?,
        Fenced::No => return Ok(()),
    }
    files::sync_parents(&[&path, &live.path])
}

/// Puts the folder back in its place. Fails when something else is there now.
fn cover(places: &Places) -> Result<(), Failure> {
    let spare = spare(&places.make_behind()?);
    make_cover(&spare)?;
    files::put(&spare, &places.path())?;
    files::sync_parents(&[&spare, &places.path()])
}

fn spare(behind: &Path) -> PathBuf {
    beside(behind, ".cover")
}

/// A folder in which nobody but Backout's own user can create anything, with a word to whoever wonders. That user keeps the
/// right to write it, without which nobody but root may move a folder to another one.
fn make_cover(folder: &Path) -> Result<(), Failure> {
    let made = || -> io::Result<()> {
        if !matches!(Kind::of(folder)?, Kind::Folder) {
            std::fs::create_dir(folder)?;
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        std::fs::write(folder.join(NOTE), TEXT)
    };
    made().map_err(|e| files::told("make the folder for the fence", e))?;
    files::sync_folder(folder)?;
    files::sync_parents(&[folder])
}

fn remove_cover(folder: &Path) -> Result<(), Failure> {
    let removed = || -> io::Result<bool> {
        if !matches!(Kind::of(folder)?, Kind::Folder) {
            return Ok(false);
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        match std::fs::remove_file(folder.join(NOTE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        match std::fs::remove_dir(folder) {
            // Somebody has put something there; it is not ours to remove.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            result => result.map(|()| true),
        }
    };
    if removed().map_err(|e| files::told("remove the folder of the fence", e))? {
        files::sync_parents(&[folder])?;
    }
    Ok(())
}
