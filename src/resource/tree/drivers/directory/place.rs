//! Where a tree is, and where its copies are: beside it, so that they are on the same file system.
use super::{
    listing::{Time, file_type},
    path::BESIDE,
    scan::open,
    work::At,
};
use crate::resource::Failure;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, StatxFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

/// The stand-by; for a moment after an exchange what was live.
pub const STANDBY: &str = "standby";
/// What was live before an exchange that is complete.
pub const ASIDE: &str = "aside";

/// A folder, whatever its name is. Device numbers may change when a machine starts, so they are for people alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub device: u64,
    pub inode: u64,
    /// Tells a folder from a later one that was given the same number.
    pub born: Option<Time>,
}

impl Node {
    pub fn is(&self, other: &Self) -> bool {
        let born = self.born.is_none() || other.born.is_none() || self.born == other.born;
        self.inode == other.inode && born
    }

    /// `None`: nothing is there.
    pub fn at(folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Option<Self>> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        match rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(stat) => {
                let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
                Ok(Some(Self {
                    device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
                    inode: stat.stx_ino,
                    born: born.then_some(Time(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec.into())),
                }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// The tree as it is now. Its path may be a link; what it points at is what is copied and exchanged.
pub struct Live {
    pub path: PathBuf,
    pub parent: OwnedFd,
    pub name: OsString,
}

impl Live {
    pub fn find(path: &Path) -> Result<Self, Failure> {
        let away = |e: io::Error| Failure::unavailable(format!("the tree cannot be reached: {e}"));
        let path = match path.canonicalize() {
            Ok(path) => path,
            // A tree that is gone altogether can still be restored.
            Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
                match (path.parent(), path.file_name()) {
                    (Some(parent), Some(name)) => parent.canonicalize().map_err(away)?.join(name),
                    _ => return Err(away(e)),
                }
            }
            Err(e) => return Err(away(e)),
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Failure::invalid("a whole file system is no tree: it cannot be exchanged"));
        };
        let parent = open(rustix::fs::CWD, parent, OFlags::DIRECTORY).map_err(|e| away(e.into()))?;
        Ok(Self { parent, name: name.to_owned(), path: path.clone() })
    }

    pub fn root(&self) -> Result<OwnedFd, Failure> {
        open(&self.parent, &self.name, OFlags::DIRECTORY).map_err(|e| match e {
            Errno::NOENT => Failure::unavailable("the tree is not there"),
            Errno::LOOP | Errno::NOTDIR => Failure::unavailable("the tree is no folder"),
            e => Failure::unavailable(format!("the tree cannot be opened: {e}")),
        })
    }

    pub fn node(&self) -> Result<Option<Node>, Failure> {
        Node::at(&self.parent, &self.name)
            .map_err(|e| Failure::unavailable(format!("the tree cannot be looked at: {e}")))
    }
}

/// The folder of one snapshot: `.backout/tree.NAME/ID` beside the tree. Nobody but Backout's user gets in, so what keeps
/// setuid programs of an old version here offers them to nobody.
pub struct Slot {
    pub folder: OwnedFd,
    pub path: PathBuf,
    above: OwnedFd,
    above_name: String,
    beside: OwnedFd,
    parent: OwnedFd,
    pub id: String,
}

impl Slot {
    pub fn path(live: &Live, name: &str, id: &str) -> Result<PathBuf, Failure> {
        for word in [name, id] {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if word.is_empty() || word.len() > 200 || word.starts_with('.') || !word.chars().all(plain) {
                return Err(Failure::invalid("the name of a copy is letters, digits, `.`, `_` and `-`"));
            }
        }
        let beside = live.path.parent().unwrap_or(Path::new("/")).join(BESIDE);
        Ok(beside.join(format!("tree.{name}")).join(id))
    }

    /// `None`: there is no such folder.
    pub fn open(live: &Live, name: &str, id: &str) -> Result<Option<Self>, Failure> {
        Self::reach(live, name, id, false)
    }

    pub fn create(live: &Live, name: &str, id: &str) -> Result<Self, Failure> {
        // Another tree's last copy may be freed just now, and the folders above it with it.
        for _ in 0..8 {
            if let Some(slot) = Self::reach(live, name, id, true)? {
                return Ok(slot);
            }
        }
        Err(Failure::failed("failed to make a folder beside the tree"))
    }

    fn reach(live: &Live, name: &str, id: &str, create: bool) -> Result<Option<Self>, Failure> {
        let path = Self::path(live, name, id)?;
        let above_name = format!("tree.{name}");
        let Some(beside) = own_folder(live.parent.as_fd(), BESIDE, create)? else { return Ok(None) };
        let Some(above) = own_folder(beside.as_fd(), &above_name, create)? else { return Ok(None) };
        let Some(folder) = own_folder(above.as_fd(), id, create)? else { return Ok(None) };
        let parent = live.parent.try_clone().beside("open a folder")?;
        Ok(Some(Self { folder, path, above, above_name, beside, parent, id: id.to_owned() }))
    }

    pub fn node(&self, name: &str) -> Result<Option<Node>, Failure> {
        Node::at(&self.folder, name).beside("look at a copy")
    }

    /// Never follows a link that stands in the place of the folder.
    pub fn root(&self, name: &str) -> Result<OwnedFd, Failure> {
        open(&self.folder, name, OFlags::DIRECTORY).beside("open a copy")
    }

    pub fn sync(&self) -> Result<(), Failure> {
        rustix::fs::fsync(&self.folder).beside("write")
    }

    /// Takes the empty folder away, and those above it as far as they are empty.
    pub fn remove(self) -> Result<(), Failure> {
        let levels: [(&OwnedFd, &str); 3] =
            [(&self.above, &self.id), (&self.beside, &self.above_name), (&self.parent, BESIDE)];
        for (position, (folder, name)) in levels.into_iter().enumerate() {
            match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => rustix::fs::fsync(folder).beside("write")?,
                Err(Errno::NOTEMPTY | Errno::EXIST) if position > 0 => break,
                Err(e) => return Err(e).beside("remove a folder"),
            }
        }
        Ok(())
    }
}

/// A folder that only Backout's user may enter. One that somebody else has put there is refused: what is in it would be
/// trusted later.
fn own_folder(parent: BorrowedFd, name: &str, create: bool) -> Result<Option<OwnedFd>, Failure> {
    if create {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => rustix::fs::fsync(parent).beside("write")?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e).beside("make a folder"),
        }
    }
    let folder = match open(parent, name, OFlags::DIRECTORY) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(Failure::conflict(format!("`{name}` beside the tree is no folder: remove it")));
        }
        Err(e) => return Err(e).beside("open a folder"),
    };
    let stat = rustix::fs::fstat(&folder).beside("look at a folder")?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Failure::conflict(format!("`{name}` beside the tree belongs to another user: remove it")));
    }
    if stat.st_mode & 0o7777 != 0o700 {
        rustix::fs::fchmod(&folder, Mode::RWXU).beside("close a folder to others")?;
    }
    Ok(Some(folder))
}

/// Removes what `name` is, whole, and says how many bytes that freed. Links are removed, never followed; what lies on another
/// file system is not touched, and ends it.
pub fn remove_all(folder: BorrowedFd, name: &OsStr) -> io::Result<u64> {
    let device = rustix::fs::fstat(folder)?.st_dev;
    let mut removal = Removal { top: folder, device, moved: 0, freed: 0 };
    removal.remove(folder, name, 0)?;
    // What was nested too deep to keep a descriptor for each level came up, and goes the same way.
    let mut done = 0;
    while done < removal.moved {
        done += 1;
        removal.remove(folder, OsStr::new(&deep(done)), 0)?;
    }
    rustix::fs::fsync(folder)?;
    Ok(removal.freed)
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    device: u64,
    moved: u64,
    freed: u64,
}

fn deep(number: u64) -> String {
    format!("deep-{number}")
}

impl Removal<'_> {
    fn remove(&mut self, folder: BorrowedFd, name: &OsStr, depth: usize) -> io::Result<()> {
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        if stat.st_dev != self.device {
            return Err(io::Error::new(io::ErrorKind::CrossesDevices, "it reaches into another file system"));
        }
        if file_type(&stat) != FileType::Directory {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
            self.freed += if stat.st_nlink <= 1 { stat.st_blocks as u64 * 512 } else { 0 };
            return Ok(());
        }
        if depth > super::scan::MAX_DEPTH {
            // A name that is taken by an earlier, interrupted removal is passed over; that one is removed as well.
            loop {
                self.moved += 1;
                match rustix::fs::renameat_with(
                    folder,
                    name,
                    self.top,
                    deep(self.moved),
                    rustix::fs::RenameFlags::NOREPLACE,
                ) {
                    Err(Errno::EXIST) => {}
                    result => return Ok(result?),
                }
            }
        }
        let open = open_writable(folder, name)?;
        for child in super::scan::names(open.as_fd())? {
            self.remove(open.as_fd(), OsStr::from_bytes(child.as_bytes()), depth + 1)?;
        }
        rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
        Ok(())
    }
}

/// A folder in which its owner may work, even if its permissions say otherwise.
pub fn open_writable(folder: BorrowedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let opened = match open(folder, name, OFlags::DIRECTORY) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(folder, name, Mode::RWXU, AtFlags::empty())?;
            open(folder, name, OFlags::DIRECTORY)?
        }
        opened => opened?,
    };
    if !rustix::process::geteuid().is_root() {
        let mode = rustix::fs::fstat(&opened)?.st_mode & 0o7777;
        if mode & 0o700 != 0o700 {
            rustix::fs::fchmod(&opened, Mode::from_raw_mode(mode | 0o700))?;
        }
    }
    Ok(opened)
}
