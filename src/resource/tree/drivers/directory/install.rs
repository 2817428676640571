//! Puts a payload into a tree: unpacked beside its place, made durable, then moved there in one step. So a folder that is there is
//! complete, and whether it holds exactly a payload is told by comparing the two.
use super::{
    Configured,
    copy::{Cursor, Marks},
    inside::{Inside, Opened, told, turns_back},
    listing::{Time, What, file_type},
    path::STAGING,
    place::remove_all,
    scan::{Read, Scan, names, open},
    unpack::{Payload, unpack},
    work::Work,
};
use crate::resource::{
    Failure,
    tree::{Archive, exclude::Excludes},
};
use cap_std::fs::Dir;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid},
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

pub fn installed(tree: &Configured, path: &str, archive: &Archive, work: &Work) -> Result<bool, Failure> {
    let at = Inside::parse(path)?;
    let opened = Opened::new(tree)?;
    opened.locks().settled();
    if look(opened.root.as_fd(), OsStr::new(&staging(path))).map_err(|e| told(e, &at.named))?.is_some() {
        return Ok(false);
    }
    let (folder, name) = match opened.folder_of(&at) {
        Ok(found) => found,
        Err(failure) if failure.kind == crate::resource::FailureKind::NotFound => return Ok(false),
        Err(failure) => return Err(failure),
    };
    match look(folder.as_fd(), name).map_err(|e| told(e, &at.named))? {
        Some(stat) if file_type(&stat) == FileType::Directory => {
            holds(folder.as_fd(), name, &unpack(archive, None, work)?, &at, work)
        }
        _ => Ok(false),
    }
}

pub fn install(tree: &Configured, path: &str, archive: &Archive, work: &Work) -> Result<(), Failure> {
    let at = Inside::parse(path)?;
    let opened = Opened::new(tree)?;
    let locks = opened.locks();
    let _inside = locks.inside();
    work.go_on()?;
    clean(opened.root.as_fd()).map_err(|e| told(e, "what an interrupted installation left"))?;
    let (folder, name) = opened.folder_of(&at)?;
    let other = || Failure::conflict(format!("{} is there already and holds something else", at.named));
    if let Some(stat) = look(folder.as_fd(), name).map_err(|e| told(e, &at.named))? {
        let is_folder = file_type(&stat) == FileType::Directory;
        let same = is_folder && holds(folder.as_fd(), name, &unpack(archive, None, work)?, &at, work)?;
        return if same { Ok(()) } else { Err(other()) };
    }
    let staging = staging(path);
    let root = opened.root.as_fd();
    let placed = stage(root, &staging, folder.as_fd(), archive, &at, work).and_then(|()| {
        work.deed(&locks, || {
            match rustix::fs::renameat_with(root, &staging, &folder, name, RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(other()),
                Err(e) => return Err(told(e, &at.named)),
            }
            rustix::fs::fsync(&folder).and_then(|()| rustix::fs::fsync(root)).map_err(|e| told(e, &at.named))
        })
    });
    if placed.is_err() {
        // What cannot be removed now is removed by the next installation.
        let _ = remove_all(root, OsStr::new(&staging));
    }
    placed
}

/// Whoever holds the lock is the only one who installs, so every staging folder was left behind.
fn clean(root: BorrowedFd) -> io::Result<()> {
    for name in names(root)?.iter().filter(|name| name.as_bytes().starts_with(STAGING.as_bytes())) {
        remove_all(root, OsStr::from_bytes(name.as_bytes()))?;
    }
    Ok(())
}

fn staging(path: &str) -> String {
    format!("{STAGING}{}", &format!("{:x}", Sha256::digest(path))[..16])
}

fn look(folder: BorrowedFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn holds(folder: BorrowedFd, name: &OsStr, payload: &Payload, at: &Inside, work: &Work) -> Result<bool, Failure> {
    let folder = open(folder, name, OFlags::DIRECTORY).map_err(|e| told(e, &at.named))?;
    let excludes = Excludes::default();
    let scan = Scan { excludes: &excludes, read: Read::All, known: None, tolerant: true, from_disk: false, work };
    work.begin("comparing", 0);
    Ok(payload.is(&scan.of(folder.as_fd())?))
}

/// Everything is in a folder that nobody else can enter, until it is whole, durable, and known to be the right archive.
fn stage(
    root: BorrowedFd,
    staging: &str,
    destination: BorrowedFd,
    archive: &Archive,
    at: &Inside,
    work: &Work,
) -> Result<(), Failure> {
    let here = |e: io::Error| told(e, &at.named);
    rustix::fs::mkdirat(root, staging, Mode::RWXU).map_err(|e| here(e.into()))?;
    let folder = open(root, staging, OFlags::DIRECTORY).map_err(|e| here(e.into()))?;
    let payload = unpack(archive, Some(folder.as_fd()), work)?;
    links_stay_inside(folder.as_fd(), &payload)?;
    let owner = rustix::fs::fstat(destination).map_err(|e| here(e.into()))?;
    finish(folder.as_fd(), &payload, &owner).map_err(here)?;
    rustix::fs::syncfs(&folder).map_err(|e| here(e.into()))
}

/// Each for itself may stay inside while one leads out through another; so they are followed, by somebody who cannot leave.
fn links_stay_inside(folder: BorrowedFd, payload: &Payload) -> Result<(), Failure> {
    let folder = open(folder, ".", OFlags::DIRECTORY).map_err(|e| told(e, "the payload"))?;
    let dir = Dir::from_std_file(File::from(folder));
    for (path, piece) in &payload.entries {
        let What::Link { target } = &piece.what else { continue };
        let [at, target] = [path.as_bytes(), target.as_bytes()].map(|path| Path::new(OsStr::from_bytes(path)));
        let stays = match dir.metadata(at) {
            Ok(_) => true,
            // To where there is nothing yet.
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        };
        if !stays || turns_back(&dir, at.parent().unwrap_or(Path::new("")), target) {
            return Err(Failure::invalid(format!("the link {} in the payload leads out of it", path.brief())));
        }
    }
    Ok(())
}

/// Owner, permissions and times, children first. Everything belongs to whom the folder belongs in which it will be.
fn finish(folder: BorrowedFd, payload: &Payload, owner: &Stat) -> io::Result<()> {
    let root = rustix::process::geteuid().is_root();
    let (owner, group) = if root {
        (owner.st_uid, owner.st_gid)
    } else {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    };
    let mut cursor = Cursor { root: folder, at: None, writable: true };
    for (path, piece) in payload.entries.iter().rev() {
        let modified = if piece.modified > 0 { Time(piece.modified, 0) } else { Time::now() };
        let marks = Marks { mode: piece.mode, owner, group, attributes: Vec::new(), modified };
        match &piece.what {
            What::Folder => marks.set(cursor.folder(path)?)?,
            What::File { .. } => {
                marks.set(open(cursor.folder(&path.folder())?, path.name(), OFlags::empty())?.as_fd())?
            }
            _ if root => {
                let parent = cursor.folder(&path.folder())?;
                let (owner, group) = (Uid::from_raw(owner), Gid::from_raw(group));
                rustix::fs::chownat(parent, path.name(), Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            _ => {}
        }
    }
    Ok(())
}
