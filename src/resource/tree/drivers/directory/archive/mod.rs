//! A copy in a repository: written while the product serves, read back whole, compared; and brought back as a stand-by beside the tree
//! when it is needed, compared again, and exchanged as any other.
//!
//! A copy's folder beside the tree holds its `mark`, by which all archives of it are known in the repository, and `archived`, what
//! the newest of them held. Whatever a killed process leaves is found by the mark: archives that were not proven are removed when the
//! same is begun again, all of them when the copy is freed.
mod contents;
mod nodes;
mod source;

use super::{
    Configured, exchange,
    listing::{Listing, Time},
    path::RelPath,
    place::{ASIDE, Live, STANDBY, Slot, remove_all},
    proof::Proof,
    scan::{Known, Read, open},
    standby::{ROUNDS, copy_scan, live_scan, lost, not_exchanged, some, still_changing, survey},
    work::{At, Locks, Work},
};
use crate::resource::{
    Failure,
    copies::{ARCHIVE, Lost, Snapshot},
    repository::{About, Archive, For, Opened, Repository, fresh_mark, id_of, short},
    room::{self, Need},
    tree::exclude::Excludes,
};
use contents::Held;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use source::Source;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::AsFd,
};

const MARK: &str = "mark";

/// What is known when an archive is begun.
struct Making<'a> {
    tree: &'a Configured,
    live: &'a Live,
    opened: &'a Opened,
    mark: &'a str,
    id: &'a str,
    work: &'a Work,
}

fn repository(tree: &Configured) -> Result<&Repository, Failure> {
    tree.section.archive.as_ref().ok_or_else(|| {
        Failure::conflict("the copy is in a repository, and the site names none for the tree any more")
            .hint("say `method = \"archive\"` and the `repository` again that it was archived in")
    })
}

pub fn take(tree: &Configured, id: &str, work: &Work) -> Result<Snapshot, Failure> {
    let repository = repository(tree)?;
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let _copies = locks.copies();
    work.go_on()?;
    Slot::path(&live, &tree.name, id)?;
    let bytes = survey(tree, &live, work)?.to_read();
    let opened = repository.open(For::Writing)?;
    let slot = Slot::create(&live, &tree.name, id)?;
    not_exchanged(&slot, Proof::read(&slot)?.as_ref())?;
    if let Some(mark) = mark(&slot)? {
        // Of an earlier attempt. What was proven is nobody's to remove: it may be of another journal.
        opened.forget(&opened.unproven(&mark)?)?;
    }
    clear(&slot)?;
    let mark = fresh_mark();
    write_mark(&slot, &mark)?;
    let making = Making { tree, live: &live, opened: &opened, mark: &mark, id, work };
    let made = making.make(bytes).and_then(|(archive, listing)| {
        let copied = listing.fingerprint().count();
        making.settle(repository, &slot, archive, listing, copied)
    });
    if made.is_err() {
        // Nobody will ever ask for it. What cannot be removed now goes when the same id starts over.
        let forgotten = opened.all_of(&mark).and_then(|archives| opened.forget(&archives));
        if forgotten.is_ok() {
            let _ = clear(&slot);
            let _ = slot.remove();
        }
    }
    made
}

/// A new archive. The one before it stays until the copy is freed: the journal names it until this one is written down.
pub fn refresh(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<Snapshot, Failure> {
    let repository = repository(tree)?;
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let _copies = locks.copies();
    work.go_on()?;
    let bytes = survey(tree, &live, work)?.to_read();
    let opened = repository.open(For::Writing)?;
    let slot = Slot::create(&live, &tree.name, &snapshot.id)?;
    not_exchanged(&slot, Proof::read(&slot)?.as_ref())?;
    let before = Proof::read_archived(&slot)?.filter(|before| before.header.fingerprint == snapshot.fingerprint);
    // A stand-by that was brought back is none of what is live now.
    clear_standby(&slot)?;
    let mark = match mark(&slot)? {
        Some(mark) => mark,
        None => {
            let mark = fresh_mark();
            write_mark(&slot, &mark)?;
            mark
        }
    };
    opened.forget(&opened.unproven(&mark)?)?;
    let making = Making { tree, live: &live, opened: &opened, mark: &mark, id: &snapshot.id, work };
    let (archive, listing) = making.make(bytes)?;
    let copied = match before {
        Some(before) => changed(&listing, &before.listing),
        None => listing.fingerprint().count(),
    };
    making.settle(repository, &slot, archive, listing, copied)
}

/// Files and links that are other ones than before.
fn changed(now: &Listing, before: &Listing) -> u64 {
    let other = now.entries.iter().filter(|(path, record)| {
        !record.is_folder() && !before.entries.get(*path).is_some_and(|before| record.same_thing(before))
    });
    other.count() as u64
}

impl Making<'_> {
    /// Writes until what is read back equals what is live.
    fn make(&self, bytes: u64) -> Result<(Archive, Listing), Failure> {
        let Self { tree, live, opened, work, .. } = *self;
        let excludes = tree.excludes()?;
        let root = live.root()?;
        work.begin("reading", bytes);
        let mut wanted = live_scan(&excludes, Read::All, None, work).of(root.as_fd())?;
        for round in 0.. {
            let archive = self.write(&wanted, bytes)?;
            let contents = opened.contents()?;
            let read = Held::list(&contents, &archive, &tree.name, work).and_then(|held| held.read(work));
            let have = match read {
                Ok(have) => have,
                Err(failure) => {
                    opened.forget(std::slice::from_ref(&archive))?;
                    return Err(failure);
                }
            };
            let differing = wanted.differing(&have);
            if differing.is_empty() {
                return Ok((opened.proven(&archive)?, have));
            }
            opened.forget(std::slice::from_ref(&archive))?;
            if round == ROUNDS {
                return Err(still_changing(&differing));
            }
            // What compared equal was equal when it was read; only the rest is read again.
            let known = Known { listing: &wanted, before: None, except: &differing };
            wanted = live_scan(&excludes, Read::All, Some(known), work).of(root.as_fd())?;
        }
        Err(still_changing(&BTreeSet::new()))
    }

    fn write(&self, wanted: &Listing, bytes: u64) -> Result<Archive, Failure> {
        let Self { tree, live, opened, mark, id, work } = *self;
        let note = serde_json::json!({ "exclude": tree.section.exclude }).to_string();
        let resource = format!("tree.{}", tree.name);
        let about = About { resource: &resource, id, mark, path: &live.path, note };
        work.begin("archiving", bytes);
        let archive = opened.write(&Source::new(live.root()?, &tree.name, wanted, work), &about)?;
        // What was given up half-way is no archive.
        if let Err(over) = work.go_on() {
            opened.forget(&[archive])?;
            return Err(over);
        }
        Ok(archive)
    }

    fn settle(
        &self,
        repository: &Repository,
        slot: &Slot,
        archive: Archive,
        listing: Listing,
        copied: u64,
    ) -> Result<Snapshot, Failure> {
        let Self { tree, live, .. } = self;
        let bytes = listing.allocated();
        let root = live.node()?.ok_or_else(|| Failure::unproven("the tree went away while it was archived"))?;
        let archived = Proof::new(Time::now(), &tree.section.exclude, root, listing);
        archived.write_archived(slot)?;
        Ok(Snapshot {
            id: slot.id.clone(),
            place: repository.place(&archive),
            method: ARCHIVE.to_owned(),
            bytes,
            proven: true,
            fingerprint: archived.header.fingerprint,
            copied,
            detector: "full compare".to_owned(),
            position: None,
            chosen: None,
        })
    }
}

fn mark(slot: &Slot) -> Result<Option<String>, Failure> {
    let file = match open(&slot.folder, MARK, OFlags::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e).beside("read the mark of an archive"),
    };
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).beside("read the mark of an archive")?;
    // One that was cut off was written before any archive.
    let whole = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    Ok(whole.then_some(text))
}

fn write_mark(slot: &Slot, mark: &str) -> Result<(), Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&slot.folder, MARK, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(file.beside("write the mark of an archive")?);
    file.write_all(mark.as_bytes()).and_then(|()| file.sync_all()).beside("write the mark of an archive")?;
    slot.sync()
}

fn clear_standby(slot: &Slot) -> Result<(), Failure> {
    Proof::remove(slot)?;
    remove_all(slot.folder.as_fd(), OsStr::new(STANDBY)).beside("remove an earlier copy")?;
    Ok(())
}

fn clear(slot: &Slot) -> Result<(), Failure> {
    clear_standby(slot)?;
    Proof::remove_archived(slot)?;
    remove_all(slot.folder.as_fd(), OsStr::new(MARK)).beside("remove the mark of an archive")?;
    slot.sync()
}

/// What the archive was found to hold; where that is not written down beside the tree any more, it is read.
fn archived(tree: &Configured, live: &Live, snapshot: &Snapshot, work: &Work) -> Result<Proof, Failure> {
    if let Some(slot) = Slot::open(live, &tree.name, &snapshot.id)?
        && let Some(known) = Proof::read_archived(&slot)?
        && known.header.fingerprint == snapshot.fingerprint
    {
        return Ok(known);
    }
    let (archive, listing) = read_whole(tree, snapshot, work)?;
    let root = live.node()?.ok_or_else(|| Failure::unavailable("the tree is not there"))?;
    Ok(Proof::new(Time::now(), &excluded(&archive), root, listing))
}

/// The paths that were excluded when it was written.
fn excluded(archive: &Archive) -> Vec<String> {
    let note = serde_json::from_str::<serde_json::Value>(&archive.note).unwrap_or_default();
    serde_json::from_value(note["exclude"].clone()).unwrap_or_default()
}

fn read_whole(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<(Archive, Listing), Failure> {
    let opened = repository(tree)?.open(For::Reading)?;
    let archive = opened.get(id_of(&snapshot.place))?;
    let contents = opened.contents()?;
    let listing = Held::list(&contents, &archive, &tree.name, work)?.read(work)?;
    if listing.fingerprint() != snapshot.fingerprint {
        return Err(other_than_proven(&archive));
    }
    Ok((archive, listing))
}

fn other_than_proven(archive: &Archive) -> Failure {
    Failure::unproven(format!("archive {} holds something else than when it was proven", short(&archive.id)))
}

/// All of it is read: half of a repository may be gone without anybody having noticed.
pub fn inspect(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<(), Failure> {
    let (archive, _) = read_whole(tree, snapshot, work)?;
    same_excludes(tree, &archive)
}

fn same_excludes(tree: &Configured, archive: &Archive) -> Result<(), Failure> {
    if excluded(archive) == tree.section.exclude {
        return Ok(());
    }
    Err(Failure::unproven("the site excludes other paths than when the copy was proven: refresh it"))
}

/// What an exchange would set aside, before anything was brought back.
pub fn loss(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<Vec<Lost>, Failure> {
    let live = Live::find(&tree.section.path)?;
    let archived = archived(tree, &live, snapshot, work)?;
    let side = live.node()?.map(|_| live.root()).transpose()?;
    lost(side.as_ref().map(AsFd::as_fd), &archived, work)
}

/// Whether the archive has become a stand-by, which then is looked at and exchanged as any other, or has been one.
pub fn is_staged(tree: &Configured, snapshot: &Snapshot) -> Result<bool, Failure> {
    let live = Live::find(&tree.section.path)?;
    let Some(slot) = Slot::open(&live, &tree.name, &snapshot.id)? else { return Ok(false) };
    staged(&slot, snapshot)
}

fn staged(slot: &Slot, snapshot: &Snapshot) -> Result<bool, Failure> {
    // A proof is written when the stand-by is complete and durable, and taken away before it is changed.
    Ok(Proof::read(slot)?.is_some_and(|proof| proof.header.fingerprint == snapshot.fingerprint)
        || slot.node(ASIDE)?.is_some())
}

/// Brings the archive back beside the tree, and compares it with what was proven. What is live is not touched. One that was cut off
/// starts over.
pub fn stage(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<(), Failure> {
    if !tree.section.exclusive {
        return Err(exchange::not_exclusive());
    }
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let _copies = locks.copies();
    work.go_on()?;
    if let Some(slot) = Slot::open(&live, &tree.name, &snapshot.id)?
        && staged(&slot, snapshot)?
    {
        return Ok(());
    }
    // Before anything is read: somebody who has the tree open keeps it from being exchanged.
    exchange::free(&live.path, live.node()?.is_some())?;
    let opened = repository(tree)?.open(For::Reading)?;
    let archive = opened.get(id_of(&snapshot.place))?;
    same_excludes(tree, &archive)?;
    let slot = Slot::create(&live, &tree.name, &snapshot.id)?;
    let staged = bring_back(tree, &slot, &opened, &archive, snapshot, work);
    if staged.is_err() {
        // It would only take room. What cannot be removed now goes when it starts over.
        let _ = clear_standby(&slot);
    }
    staged
}

fn bring_back(
    tree: &Configured,
    slot: &Slot,
    opened: &Opened,
    archive: &Archive,
    snapshot: &Snapshot,
    work: &Work,
) -> Result<(), Failure> {
    clear_standby(slot)?;
    let need = Need { bytes: snapshot.bytes, files: snapshot.fingerprint.count() };
    room::check("what comes back from the archive", need, Need::default(), slot.folder.as_fd())?;
    let contents = opened.contents()?;
    let held = Held::list(&contents, archive, &tree.name, work)?;
    rustix::fs::mkdirat(&slot.folder, STANDBY, Mode::RWXU).beside("make a folder")?;
    slot.sync()?;
    let standby = slot.root(STANDBY)?;
    held.unpack(standby.as_fd(), work)?;
    let at = Time::now();
    let none = Excludes::default();
    let have = copy_scan(&none, None, false, work).of(standby.as_fd())?;
    if have.fingerprint() != snapshot.fingerprint {
        return Err(differs(slot, archive, snapshot, &have));
    }
    let root = slot.node(STANDBY)?.ok_or_else(|| Failure::unproven("the stand-by went away while it was made"))?;
    Proof::new(at, &tree.section.exclude, root, have).write(slot)
}

fn differs(slot: &Slot, archive: &Archive, snapshot: &Snapshot, have: &Listing) -> Failure {
    let then = Proof::read_archived(slot).ok().flatten();
    let then = then.filter(|then| then.header.fingerprint == snapshot.fingerprint);
    let paths: BTreeSet<RelPath> = then.map(|then| have.differing(&then.listing)).unwrap_or_default();
    if paths.is_empty() {
        return other_than_proven(archive);
    }
    Failure::unproven(format!("what came back of the archive is not what was proven: {}", some(paths.iter())))
}

/// For the journal, before the point of no return.
pub fn named(snapshot: &Snapshot) -> Option<String> {
    snapshot.is_archived().then(|| id_of(&snapshot.place).to_owned())
}

/// Removes all archives of a copy from the repository. What only they needed is freed by a prune, now or later.
pub fn discard(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<(), Failure> {
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let _copies = locks.copies();
    work.go_on()?;
    let mark = match Slot::open(&live, &tree.name, &snapshot.id)? {
        Some(slot) => mark(&slot)?,
        None => None,
    };
    if mark.is_none() && !snapshot.is_archived() {
        return Ok(());
    }
    repository(tree)?.free(mark.as_deref(), id_of(&snapshot.place))
}
