//! The stand-by: made while the product serves, compared, brought up to date, compared again.
use super::{
    Configured,
    copy::{bring_up_to_date, check_room},
    listing::{Listing, Time, What},
    path::RelPath,
    place::{ASIDE, Live, STANDBY, Slot, remove_all},
    proof::Proof,
    scan::{Known, Read, Scan},
    work::{At, Locks, Work},
};
use crate::resource::{
    Failure,
    copies::{Fingerprint, Lost, Snapshot},
    holders,
    tree::exclude::Excludes,
};
use rustix::fs::Mode;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd},
};

/// How often what still changed while it was copied is copied again.
pub const ROUNDS: usize = 5;

pub fn fingerprint(tree: &Configured, work: &Work) -> Result<Fingerprint, Failure> {
    let root = Live::find(&tree.section.path)?.root()?;
    let excludes = tree.excludes()?;
    let scan = Scan { excludes: &excludes, read: Read::All, known: None, tolerant: false, from_disk: false, work };
    work.begin("reading", 0);
    Ok(scan.of(root.as_fd())?.fingerprint())
}

/// Whoever works on the copies and was given up ends soon.
pub fn quiet(tree: &Configured, _: &Work) -> Result<(), Failure> {
    let locks = Locks::of(&Live::find(&tree.section.path)?.path);
    drop(locks.copies());
    Ok(())
}

pub fn take(tree: &Configured, id: &str, work: &Work) -> Result<Snapshot, Failure> {
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let _copies = locks.copies();
    work.go_on()?;
    Slot::path(&live, &tree.name, id)?;
    let survey = survey(tree, &live, work)?;
    let slot = Slot::create(&live, &tree.name, id)?;
    not_exchanged(&slot, Proof::read(&slot)?.as_ref())?;
    let result = start_over(&slot).and_then(|()| {
        // Before everything is read, which may take long.
        check_room((live.root()?.as_fd(), &survey), (slot.root(STANDBY)?.as_fd(), &Listing::default()))?;
        bring(tree, &live, &slot, None, survey.to_read(), work)
    });
    if result.is_err() {
        // Nobody will ever ask for it by this id. What cannot be removed now goes when the same id starts over.
        let _ = start_over(&slot).and_then(|()| remove_all(slot.folder.as_fd(), OsStr::new(STANDBY)).beside("remove"));
        let _ = slot.remove();
    }
    result
}

fn start_over(slot: &Slot) -> Result<(), Failure> {
    Proof::remove(slot)?;
    remove_all(slot.folder.as_fd(), OsStr::new(STANDBY)).beside("remove an earlier copy")?;
    rustix::fs::mkdirat(&slot.folder, STANDBY, Mode::RWXU).beside("make a folder")?;
    slot.sync()
}

pub fn refresh(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<Snapshot, Failure> {
    let live = Live::find(&tree.section.path)?;
    let locks = Locks::of(&live.path);
    let _copies = locks.copies();
    work.go_on()?;
    tree.same_place(&live, snapshot)?;
    let bytes = survey(tree, &live, work)?.to_read();
    let slot = Slot::create(&live, &tree.name, &snapshot.id)?;
    let proof = Proof::read(&slot)?;
    not_exchanged(&slot, proof.as_ref())?;
    if slot.node(STANDBY)?.is_none() {
        start_over(&slot)?;
    }
    bring(tree, &live, &slot, proof, bytes, work)
}

/// What is kept aside must not be taken for a stand-by.
pub fn not_exchanged(slot: &Slot, proof: Option<&Proof>) -> Result<(), Failure> {
    let half = match (proof, slot.node(STANDBY)?) {
        (Some(proof), Some(standby)) => !standby.is(&proof.header.root),
        _ => false,
    };
    if half || slot.node(ASIDE)?.is_some() {
        return Err(Failure::conflict("this copy is live already, and what was live is kept aside: take a new one"));
    }
    Ok(())
}

/// Copies what differs until nothing does. `proof`: what is known of the stand-by as it is; `bytes`: of the live tree.
fn bring(
    tree: &Configured,
    live: &Live,
    slot: &Slot,
    proof: Option<Proof>,
    bytes: u64,
    work: &Work,
) -> Result<Snapshot, Failure> {
    let (excludes, none) = (tree.excludes()?, Excludes::default());
    let (root, standby) = (live.root()?, slot.root(STANDBY)?);
    let no_paths = BTreeSet::new();
    let mut at = Time::now();
    let known = proof.as_ref().and_then(|proof| proof.known(&no_paths));
    work.begin("reading", if proof.is_some() && known.is_none() { 2 * bytes } else { bytes });
    let (first, second) = std::thread::scope(|threads| {
        let (none, standby) = (&none, &standby);
        let copy = threads.spawn(move || copy_scan(none, known, true, work).of(standby.as_fd()));
        (live_scan(&excludes, Read::All, None, work).of(root.as_fd()), copy.join())
    });
    let mut wanted = first?;
    let mut have = second.map_err(|_| Failure::failed("reading the stand-by broke off"))??;
    let mut differing = wanted.differing(&have);
    let mut copied = 0;
    for round in 0.. {
        let same_times =
            wanted.entries.iter().all(|(path, r)| have.entries.get(path).is_some_and(|h| h.modified == r.modified));
        if differing.is_empty() && same_times {
            break;
        }
        if round == ROUNDS {
            return Err(still_changing(&differing));
        }
        // What is refused for want of room leaves copy and proof as they are.
        check_room((root.as_fd(), &wanted), (standby.as_fd(), &have))?;
        if round == 0 {
            Proof::remove(slot)?;
        } else {
            // What compared equal was equal when it was read; only the rest is read again.
            let known = Known { listing: &wanted, before: None, except: &differing };
            wanted = live_scan(&excludes, Read::All, Some(known), work).of(root.as_fd())?;
        }
        copied += bring_up_to_date(work, (root.as_fd(), &wanted), (standby.as_fd(), &have))?;
        at = Time::now();
        work.begin("comparing", wanted.to_read());
        let known = Known { listing: &have, before: None, except: &no_paths };
        have = copy_scan(&none, Some(known), false, work).of(standby.as_fd())?;
        differing = wanted.differing(&have);
        if differing.is_empty() {
            break;
        }
    }
    let node = slot.node(STANDBY)?.ok_or_else(|| Failure::unproven("the stand-by went away while it was made"))?;
    let bytes = have.allocated();
    let proof = Proof::new(at, &tree.section.exclude, node, have);
    proof.write(slot)?;
    Ok(Snapshot {
        id: slot.id.clone(),
        place: slot.path.display().to_string(),
        method: "stand-by".to_owned(),
        bytes,
        proven: true,
        fingerprint: proof.header.fingerprint,
        copied,
        detector: "full compare".to_owned(),
        position: None,
        chosen: None,
    })
}

pub fn live_scan<'a>(excludes: &'a Excludes, read: Read<'a>, known: Option<Known<'a>>, work: &'a Work) -> Scan<'a> {
    Scan { excludes, read, known, tolerant: false, from_disk: false, work }
}

/// Everything in the stand-by counts: what was excluded later has to leave it.
pub fn copy_scan<'a>(none: &'a Excludes, known: Option<Known<'a>>, tolerant: bool, work: &'a Work) -> Scan<'a> {
    Scan { excludes: none, read: Read::All, known, tolerant, from_disk: true, work }
}

pub fn still_changing(paths: &BTreeSet<RelPath>) -> Failure {
    Failure::unproven(format!(
        "still changing while it is copied: {}; stop what writes there, or exclude it in the site",
        some(paths.iter())
    ))
}

/// A few of many.
pub fn some<'a>(paths: impl ExactSizeIterator<Item = &'a RelPath>) -> String {
    const SHOWN: usize = 3;
    let more = paths.len().saturating_sub(SHOWN);
    let shown = paths.take(SHOWN).map(RelPath::brief).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// A first walk that reads no contents: whether there is anything against a copy, and what it will take.
pub fn survey(tree: &Configured, live: &Live, work: &Work) -> Result<Listing, Failure> {
    let excludes = tree.excludes()?;
    let survey = live_scan(&excludes, Read::None, None, work).of(live.root()?.as_fd())?;
    can_be_exchanged(tree, live, &survey)?;
    Ok(survey)
}

/// A copy that could never take the place of the tree is refused when it is made, not when it is needed.
fn can_be_exchanged(tree: &Configured, live: &Live, listing: &Listing) -> Result<(), Failure> {
    no_mounts(live)?;
    if tree.state.canonicalize().is_ok_and(|state| state.starts_with(&live.path)) {
        return Err(Failure::conflict(
            "Backout's own state lies in this tree: journal and report would go back with it",
        ));
    }
    let special = listing.entries.iter().filter(|(_, r)| matches!(r.what, What::Other { .. }));
    let special: Vec<&RelPath> = special.map(|(path, _)| path).collect();
    if !special.is_empty() {
        return Err(Failure::invalid(format!(
            "neither file, folder nor link: {}; exclude it in the site",
            some(special.into_iter())
        )));
    }
    Ok(())
}

fn no_mounts(live: &Live) -> Result<(), Failure> {
    let mounts =
        holders::mounted(&live.path).map_err(|e| Failure::unavailable(format!("mounts cannot be listed: {e}")))?;
    let Some(mount) = mounts.first() else { return Ok(()) };
    let inside = mount.strip_prefix(&live.path).unwrap_or(mount);
    Err(Failure::conflict(if inside.as_os_str().is_empty() {
        "the tree is a mount point, so it cannot be exchanged".to_owned()
    } else {
        format!("`{}` in the tree is a mount point, so it cannot be exchanged", inside.display())
    }))
}

pub fn inspect(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<(), Failure> {
    let (slot, proof) = proof_of(tree, &Live::find(&tree.section.path)?, snapshot)?;
    still_proven(tree, &slot, &proof, work)
}

/// The stand-by is as it was when it was proven.
pub fn still_proven(tree: &Configured, slot: &Slot, proof: &Proof, work: &Work) -> Result<(), Failure> {
    if proof.header.exclude != tree.section.exclude {
        return Err(Failure::unproven("the site excludes other paths than when the copy was proven: refresh it"));
    }
    if !slot.node(STANDBY)?.is_some_and(|node| node.is(&proof.header.root)) {
        return Err(Failure::unproven("the stand-by is not there any more"));
    }
    let standby = slot.root(STANDBY)?;
    let (no_paths, none) = (BTreeSet::new(), Excludes::default());
    let known = proof.known(&no_paths);
    work.begin("checking the copy", proof.listing.to_read());
    let differing = copy_scan(&none, known, true, work).of(standby.as_fd())?.differing(&proof.listing);
    if !differing.is_empty() {
        let damaged = some(differing.iter());
        return Err(Failure::unproven(format!("the stand-by was damaged since it was proven: {damaged}")));
    }
    Ok(())
}

/// The proof that the snapshot speaks of, whatever has become of the stand-by.
pub fn proof_of(tree: &Configured, live: &Live, snapshot: &Snapshot) -> Result<(Slot, Proof), Failure> {
    tree.same_place(live, snapshot)?;
    let missing = || Failure::unproven("there is no proof for the copy: a refresh was interrupted, or it was freed");
    let slot = Slot::open(live, &tree.name, &snapshot.id)?.ok_or_else(missing)?;
    let proof = Proof::read(&slot)?.ok_or_else(missing)?;
    if proof.header.fingerprint != snapshot.fingerprint {
        return Err(Failure::unproven(
            "the copy was brought up to date after what the journal knows of it: refresh it",
        ));
    }
    Ok((slot, proof))
}

/// What a tree has, against what the proof says that the copy has. Only the tree is read, and what of it cannot be read
/// counts as changed: a rollback must not fail because what it takes away is broken.
pub fn lost(side: Option<BorrowedFd>, proof: &Proof, work: &Work) -> Result<Vec<Lost>, Failure> {
    let excludes = Excludes::parse(&proof.header.exclude).map_err(Failure::invalid)?;
    let listing = match side {
        Some(side) => {
            let read = Read::Against(&proof.listing);
            work.begin("comparing", proof.listing.to_read());
            Scan { excludes: &excludes, read, known: None, tolerant: true, from_disk: false, work }.of(side)?
        }
        None => Listing::default(),
    };
    Ok(listing.lost(&proof.listing))
}

pub fn loss(tree: &Configured, snapshot: &Snapshot, work: &Work) -> Result<Vec<Lost>, Failure> {
    let live = Live::find(&tree.section.path)?;
    let (slot, proof) = proof_of(tree, &live, snapshot)?;
    let now = live.node()?;
    let side = if now.is_some_and(|node| node.is(&proof.header.root)) {
        let name = if slot.node(STANDBY)?.is_some() { STANDBY } else { ASIDE };
        Some(slot.root(name)?)
    } else {
        now.map(|_| live.root()).transpose()?
    };
    lost(side.as_ref().map(AsFd::as_fd), &proof, work)
}
