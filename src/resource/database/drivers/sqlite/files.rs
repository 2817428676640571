//! The steps on files from which everything else is built, each one durable or atomic.
use crate::resource::{Failure, room};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::{DirBuilder, File, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

pub enum Kind {
    Nothing,
    File(Metadata),
    Folder,
    Link,
    Other,
}

impl Kind {
    pub fn of(path: &Path) -> io::Result<Self> {
        match path.symlink_metadata() {
            Ok(file) if file.is_file() => Ok(Self::File(file)),
            Ok(file) if file.is_dir() => Ok(Self::Folder),
            Ok(file) if file.is_symlink() => Ok(Self::Link),
            Ok(_) => Ok(Self::Other),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Self::Nothing),
            Err(e) => Err(e),
        }
    }
}

/// What was tried, and the system's words; never a path.
pub fn told(what: &str, e: io::Error) -> Failure {
    if room::is_none(&e) {
        return room::none(format!("cannot {what}: there is no room left on the disk"));
    }
    Failure::failed(format!("cannot {what}: {e}"))
}

/// Two names change places in one step: at no moment is either missing, also not after a power failure.
pub fn exchange(one: &Path, other: &Path) -> Result<(), Failure> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|e| match e {
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => {
            Failure::failed("its file system cannot exchange two names in one step (ext4, xfs, btrfs and tmpfs can)")
        }
        Errno::XDEV | Errno::BUSY => Failure::failed("the database file is a mount point, so it cannot be exchanged"),
        e => told("exchange two names", e.into()),
    })
}

/// Moves to a name that nothing has.
pub fn put(from: &Path, to: &Path) -> Result<(), Failure> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|e| told("move a file", e.into()))
}

/// A name is durable when its folder is.
pub fn sync_folder(folder: &Path) -> Result<(), Failure> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| told("make a folder durable", e))
}

pub fn sync_parents(paths: &[&Path]) -> Result<(), Failure> {
    paths.iter().filter_map(|path| path.parent()).try_for_each(sync_folder)
}

/// Whether there was one.
pub fn remove(path: &Path) -> Result<bool, Failure> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(told("remove a file", e)),
    }
}

/// Folders that nobody else can look into, one inside the other. One that somebody else owns is refused: it could be
/// exchanged for anything under our hands.
pub fn make_private(folders: &[&PathBuf]) -> io::Result<()> {
    // Another database of the same folder may tidy up at the same moment.
    let mut tries = 3;
    loop {
        match folders.iter().try_for_each(|folder| make_one(folder)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries > 0 => tries -= 1,
            result => return result,
        }
    }
}

fn make_one(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            if let Some(parent) = folder.parent() {
                File::open(parent)?.sync_all()?;
            }
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let there = folder.symlink_metadata()?;
            if !there.is_dir() || there.uid() != rustix::process::geteuid().as_raw() {
                return Err(io::Error::other("something of another user, or no folder, has its name"));
            }
            if there.mode() & 0o077 != 0 {
                std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
            }
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// Owner, mode and extended attributes (access lists, security labels) of a file.
#[derive(Serialize, Deserialize)]
pub struct Dress {
    pub user: u32,
    pub group: u32,
    pub mode: u32,
    attributes: Vec<(OsString, Vec<u8>)>,
}

impl Dress {
    pub fn of(path: &Path) -> io::Result<Self> {
        let is = path.metadata()?;
        let mut attributes = Vec::new();
        for name in xattr::list(path)? {
            // Kernels sign and measure files with these; they are no property that could be copied.
            if name == "security.ima" || name == "security.evm" {
                continue;
            }
            if let Some(value) = xattr::get(path, &name)? {
                attributes.push((name, value));
            }
        }
        Ok(Self { user: is.uid(), group: is.gid(), mode: is.mode(), attributes })
    }

    pub fn put(&self, copy: &Path) -> io::Result<()> {
        let is = copy.metadata()?;
        if (is.uid(), is.gid()) != (self.user, self.group) {
            std::os::unix::fs::chown(copy, Some(self.user), Some(self.group))?;
        }
        for (name, value) in &self.attributes {
            if xattr::get(copy, name)?.as_ref() != Some(value) {
                xattr::set(copy, name, value)?;
            }
        }
        if copy.metadata()?.mode() != self.mode {
            std::fs::set_permissions(copy, Permissions::from_mode(self.mode))?;
        }
        Ok(())
    }
}

/// Gives a copy those of the live file, without which an application could not use it after an exchange.
pub fn dress(copy: &Path, like: &Path) -> Result<(), Failure> {
    let dressed = Dress::of(like).and_then(|dress| dress.put(copy));
    dressed.map_err(|e| told("give the copy the owner and mode of the database", e))
}
