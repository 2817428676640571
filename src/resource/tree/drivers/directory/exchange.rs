//! The exchange, and what has to be known about it after a crash.
//!
//! Its point of no return is one rename, which a crash leaves either done or not. After it come the excluded paths, moved
//! from what was live into what is live now; the last rename, of what was live to `aside`, says that all of them are there.
//! Until then `standby` is not the folder that the proof names, and whoever finds that goes on where it stopped.
use super::{
    Configured, archive,
    listing::file_type,
    path::RelPath,
    place::{ASIDE, Live, Node, STANDBY, Slot, open_writable, remove_all},
    proof::Proof,
    scan::{Read, Scan, names, open},
    standby,
    work::{At, Locks, Work},
};
use crate::resource::{
    Failure,
    copies::{Exchange, Lost, Restored, Snapshot},
    holders,
    tree::exclude::Excludes,
};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// What the journal keeps, so that the outcome can be told from the real state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// What is live before; `None`: the tree is gone.
    pub live: Option<Node>,
    pub standby: Node,
    /// The archive that the stand-by came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}

pub enum Ready {
    /// Everything has been looked at.
    ToExchange { evidence: Evidence, lost: Vec<Lost> },
    /// An earlier call has done it.
    Done(Restored),
}

pub fn not_exclusive() -> Failure {
    Failure::denied("the tree is not exclusive to this product in the site, so it is not exchanged")
}

/// Changes nothing, unless an earlier call was interrupted after its point of no return.
pub fn prepare(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<Ready, Failure> {
    if !tree.section.exclusive {
        return Err(not_exclusive());
    }
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let _copies = locks.copies();
    work.go_on()?;
    let now = live.node()?;
    let (slot, proof) = standby::proof_of(tree, &live, snapshot)?;
    if now.is_some_and(|node| node.is(&proof.header.root)) {
        return again(tree, &live, &slot, &proof, &locks, work).map(Ready::Done);
    }
    if slot.node(ASIDE)?.is_some() {
        return Err(Failure::conflict("this copy was live already and has been replaced since"));
    }
    standby::still_proven(tree, &slot, &proof, work)?;
    free(&live.path, now.is_some())?;
    free(&slot.path.join(STANDBY), true)?;
    let side = now.map(|_| live.root()).transpose()?;
    let lost = standby::lost(side.as_ref().map(AsFd::as_fd), &proof, work)?;
    Ok(Ready::ToExchange {
        evidence: Evidence { live: now, standby: proof.header.root, archive: archive::named(snapshot) },
        lost,
    })
}

/// The copy is live. Whether it may count as restored depends on what has happened to it since.
fn again(
    tree: &Configured,
    live: &Live,
    slot: &Slot,
    proof: &Proof,
    locks: &Locks,
    work: &Work,
) -> Result<Restored, Failure> {
    if slot.node(ASIDE)?.is_none() {
        let _inside = locks.inside();
        work.deed(locks, || finish(live, slot, &excludes(proof)?, work))?;
    } else {
        let excludes = excludes(proof)?;
        let scan = Scan { excludes: &excludes, read: Read::All, known: None, tolerant: true, from_disk: false, work };
        if !scan.of(live.root()?.as_fd())?.differing(&proof.listing).is_empty() {
            return Err(Failure::conflict("the copy is live already and was changed since; there is no second one"));
        }
    }
    let aside = slot.root(ASIDE)?;
    let lost = standby::lost(Some(aside.as_fd()), proof, work)?;
    tree.restored(slot, lost)
}

/// After `evidence` is durable: the point of no return, and what follows it.
pub fn perform(
    tree: &Configured,
    snapshot: &Snapshot,
    evidence: &Evidence,
    lost: Vec<Lost>,
    work: &Work,
) -> Result<Restored, Failure> {
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let (_copies, _inside) = (locks.copies(), locks.inside());
    let (slot, proof) = standby::proof_of(tree, &live, snapshot)?;
    work.deed(&locks, || {
        let unmoved = same(live.node()?, evidence.live) && same(slot.node(STANDBY)?, Some(evidence.standby));
        if !unmoved {
            return Err(Failure::conflict("somebody moved the tree or its copy meanwhile"));
        }
        free(&live.path, evidence.live.is_some())?;
        swap(&live, &slot, evidence.live.is_some())?;
        // Somebody who came in between the look and the rename would go on writing into what is aside now.
        if let Err(held) = free(&slot.path.join(STANDBY), evidence.live.is_some()) {
            swap(&live, &slot, true)?;
            sync(&live, &slot)?;
            return Err(held);
        }
        sync(&live, &slot)?;
        finish(&live, &slot, &excludes(&proof)?, work)
    })?;
    tree.restored(&slot, lost)
}

fn swap(live: &Live, slot: &Slot, there: bool) -> Result<(), Failure> {
    let flags = if there { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    rustix::fs::renameat_with(&slot.folder, STANDBY, &live.parent, &live.name, flags).map_err(|e| match e {
        Errno::BUSY => Failure::conflict("the tree is a mount point or otherwise busy"),
        Errno::XDEV => Failure::conflict(
            "the file system does not exchange the tree and its copy: they are on different ones, or on layers of a container",
        ),
        Errno::INVAL | Errno::NOSYS => Failure::failed("the file system of the tree cannot exchange two folders"),
        e => Failure::failed(format!("failed to exchange the tree and its copy: {e}")),
    })
}

fn sync(live: &Live, slot: &Slot) -> Result<(), Failure> {
    rustix::fs::fsync(&live.parent).beside("write")?;
    slot.sync()
}

fn same(now: Option<Node>, then: Option<Node>) -> bool {
    match (now, then) {
        (Some(now), Some(then)) => now.is(&then),
        (now, then) => now.is_none() && then.is_none(),
    }
}

fn excludes(proof: &Proof) -> Result<Excludes, Failure> {
    Excludes::parse(&proof.header.exclude).map_err(Failure::invalid)
}

/// No process has anything in it, nothing is mounted there.
pub fn free(path: &Path, there: bool) -> Result<(), Failure> {
    if !there {
        return Ok(());
    }
    match holders::below_folder(path) {
        Ok(holders) if holders.is_empty() => Ok(()),
        Ok(holders) => Err(Failure::conflict(format!("in use by {}", holders::names(&holders)))),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => Err(Failure::conflict(e.to_string())),
        Err(e) => Err(Failure::unavailable(format!("who uses the tree cannot be found out: {e}"))),
    }
}

/// What follows the exchange. Done twice is done once.
pub fn finish(live: &Live, slot: &Slot, excludes: &Excludes, work: &Work) -> Result<(), Failure> {
    if slot.node(STANDBY)?.is_some() {
        let (old, new) = (slot.root(STANDBY)?, live.root()?);
        let scan = Scan { excludes, read: Read::None, known: None, tolerant: true, from_disk: false, work };
        for path in scan.of(old.as_fd())?.excluded {
            carry(old.as_fd(), new.as_fd(), &path).at("carry over", &path)?;
        }
        rustix::fs::renameat_with(&slot.folder, STANDBY, &slot.folder, ASIDE, RenameFlags::NOREPLACE)
            .beside("set aside what was live")?;
    } else if slot.node(ASIDE)?.is_none() {
        // There was nothing live.
        rustix::fs::mkdirat(&slot.folder, ASIDE, Mode::RWXU).beside("make a folder")?;
    }
    slot.sync()
}

/// An excluded path belongs to no version, so it follows what is live. One whose folder this version does not have stays
/// aside, as does a file that has been made anew meanwhile.
fn carry(old: BorrowedFd, new: BorrowedFd, path: &RelPath) -> io::Result<()> {
    let folder = path.folder();
    let (Some(from), Some(to)) = (below(old, &folder)?, below(new, &folder)?) else { return Ok(()) };
    let stat = rustix::fs::fstat(&to)?;
    carry_entry(from.as_fd(), to.as_fd(), path.name())?;
    // The folder is as old as before.
    let modified = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
    let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ };
    rustix::fs::futimens(&to, &Timestamps { last_access, last_modification: modified })?;
    rustix::fs::fsync(&to)?;
    Ok(rustix::fs::fsync(&from)?)
}

fn carry_entry(from: BorrowedFd, to: BorrowedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    // A product that was started in between makes its empty folders again; what is in them belongs together.
    let is_folder = |parent| -> io::Result<bool> {
        Ok(file_type(&rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?) == FileType::Directory)
    };
    if is_folder(from)? && is_folder(to)? {
        let (from, to) = (open_writable(from, name)?, open_writable(to, name)?);
        for child in names(from.as_fd())? {
            carry_entry(from.as_fd(), to.as_fd(), OsStr::from_bytes(child.as_bytes()))?;
        }
        rustix::fs::fsync(&to)?;
        rustix::fs::fsync(&from)?;
    }
    Ok(())
}

/// The folder at a path below another, through no link. `None`: there is none.
fn below(root: BorrowedFd, path: &RelPath) -> io::Result<Option<OwnedFd>> {
    let mut folder = open(root, ".", OFlags::DIRECTORY)?;
    for name in path.names() {
        folder = match open(&folder, name, OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
    }
    Ok(Some(folder))
}

/// Where an exchange stands. One that was interrupted after its point of no return is brought to its end here: nobody could
/// use the tree while its excluded paths are elsewhere.
pub fn exchanged(
    tree: &Configured,
    snapshot: &Snapshot,
    evidence: &[serde_json::Value],
    work: &Work,
) -> Result<Exchange, Failure> {
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let (_copies, _inside) = (locks.copies(), locks.inside());
    locks.settled();
    let (slot, proof) = match standby::proof_of(tree, &live, snapshot) {
        Ok(found) => found,
        // Without a proof nothing is exchanged, and without evidence nothing was.
        Err(_) if evidence.is_empty() => return Ok(Exchange::NotDone),
        Err(failure) => return Err(failure),
    };
    let now = live.node()?;
    let last = evidence.last().map(|e| serde_json::from_value::<Evidence>(e.clone()));
    let half = slot.node(ASIDE)?.is_none();
    let standby = match last {
        Some(Ok(evidence)) => evidence.standby,
        Some(Err(e)) => return Ok(Exchange::Unclear(format!("the evidence cannot be read: {e}"))),
        // Nothing irreversible comes before the evidence, but for finishing what an earlier call had begun.
        None if half && now.is_some_and(|now| now.is(&proof.header.root)) => proof.header.root,
        None => return Ok(Exchange::NotDone),
    };
    if now.is_some_and(|now| now.is(&standby)) {
        if half {
            work.deed(&locks, || finish(&live, &slot, &excludes(&proof)?, work))?;
        }
        return Ok(Exchange::Done { aside: slot.path.join(ASIDE).display().to_string() });
    }
    Ok(if slot.node(STANDBY)?.is_some_and(|node| node.is(&standby)) {
        Exchange::NotDone
    } else {
        Exchange::Unclear(format!(
            "the copy is neither at {} nor in {}; look for a folder with inode {}",
            live.path.display(),
            slot.path.display(),
            standby.inode
        ))
    })
}

/// Frees stand-by and aside. What was live is looked through first for what should have been carried over.
pub fn discard(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<u64, Failure> {
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let (_copies, _inside) = (locks.copies(), locks.inside());
    work.go_on()?;
    tree.same_place(&live, snapshot)?;
    let Some(slot) = Slot::open(&live, &tree.name, &snapshot.id)? else { return Ok(0) };
    let mounts = holders::mounted(&slot.path).beside("look for mounts")?;
    if !mounts.is_empty() {
        return Err(Failure::conflict("something is mounted in the folder of the copy: unmount it first"));
    }
    if let (Some(proof), Some(standby)) = (Proof::read(&slot)?, slot.node(STANDBY)?)
        && !standby.is(&proof.header.root)
    {
        if !live.node()?.is_some_and(|node| node.is(&proof.header.root)) {
            return Err(Failure::conflict(
                "an exchange was interrupted, and the tree was replaced since: look into it first",
            ));
        }
        work.deed(&locks, || finish(&live, &slot, &excludes(&proof)?, work))?;
    }
    Proof::remove(&slot)?;
    let mut freed = 0;
    for name in names(slot.folder.as_fd()).beside("list copies")? {
        work.go_on()?;
        freed += remove_all(slot.folder.as_fd(), OsStr::from_bytes(name.as_bytes())).beside("remove a copy")?;
    }
    slot.remove()?;
    Ok(freed)
}
