//! A copy in another place, for a rehearsal. The tree is only read, each file once unless it changes meanwhile.
use super::{
    Configured,
    copy::bring_up_to_date,
    listing::{Listing, What},
    path::RelPath,
    place::Live,
    scan::{Read, open},
    standby::{ROUNDS, copy_scan, live_scan, still_changing, survey},
    work::{At, Work},
};
use crate::resource::{Failure, copies::Fingerprint, room::Need, tree::exclude::Excludes};
use rustix::fs::{CWD, Mode, OFlags};
use std::{collections::BTreeSet, os::fd::AsFd, path::Path};

pub fn need(tree: &Configured, work: &Work) -> Result<Need, Failure> {
    let listing = survey(tree, &Live::find(&tree.section.path)?, work)?;
    Ok(Need { bytes: listing.allocated(), files: listing.entries.len() as u64 })
}

/// Returns what the copy holds.
pub fn duplicate(tree: &Configured, to: &Path, work: &Work) -> Result<Fingerprint, Failure> {
    let live = Live::find(&tree.section.path)?;
    let mut wanted = survey(tree, &live, work)?;
    rustix::fs::mkdirat(CWD, to, Mode::RWXU).beside("make a folder")?;
    let (root, copy) = (live.root()?, open(CWD, to, OFlags::DIRECTORY).beside("open a folder")?);
    let (excludes, none) = (tree.excludes()?, Excludes::default());
    let mut have = Listing::default();
    for _ in 0..ROUNDS {
        bring_up_to_date(work, (root.as_fd(), &wanted), (copy.as_fd(), &have))?;
        have = copy_scan(&none, None, false, work).of(copy.as_fd())?;
        let mut now = live_scan(&excludes, Read::None, None, work).of(root.as_fd())?;
        let changed = changed(&wanted, &now);
        if changed.is_empty() {
            return Ok(have.fingerprint());
        }
        known(&mut now, &have, &changed);
        wanted = now;
    }
    let now = live_scan(&excludes, Read::None, None, work).of(root.as_fd())?;
    Err(still_changing(&changed(&wanted, &now)))
}

/// Paths that somebody has touched between two looks. Nobody can set the time of a file's last change back.
fn changed(before: &Listing, now: &Listing) -> BTreeSet<RelPath> {
    let differs = |(path, record): &(&RelPath, &_)| {
        let record: &super::listing::Record = record;
        before.entries.get(*path).is_none_or(|was| was.identity != record.identity)
    };
    let touched = now.entries.iter().filter(differs).map(|(path, _)| path);
    touched.chain(before.entries.keys().filter(|path| !now.entries.contains_key(*path))).cloned().collect()
}

/// What was not touched since it was copied holds what its copy holds, and is not copied again.
fn known(now: &mut Listing, copy: &Listing, changed: &BTreeSet<RelPath>) {
    for (path, record) in now.entries.iter_mut().filter(|(path, _)| !changed.contains(*path)) {
        let Some(copied) = copy.entries.get(path) else { continue };
        record.attributes = copied.attributes;
        if let (What::File { content, .. }, What::File { content: read, .. }) = (&mut record.what, &copied.what) {
            *content = *read;
        }
    }
}
