//! Makes one tree equal to another: what differs is removed and copied again, what only has other marks gets them.
use super::{
    content,
    listing::{Listing, Record, Time, What, file_type},
    path::RelPath,
    place::open_writable,
    scan::open,
    work::{At, Work},
};
use crate::resource::{
    Failure,
    room::{self, Need},
};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// So many files are made durable one by one; for more, the whole file system is.
const FEW: usize = 64;

pub struct Copier<'a> {
    live: Cursor<'a>,
    copy: Cursor<'a>,
    work: &'a Work,
    copied: u64,
    /// Folders of the copy in which something was made or removed.
    touched: BTreeSet<RelPath>,
    written: Vec<RelPath>,
}

/// What `bring_up_to_date` would write fits on the file system, unless it can share blocks with what it is copied from.
pub fn check_room(live: (BorrowedFd, &Listing), copy: (BorrowedFd, &Listing)) -> Result<(), Failure> {
    let mut need = Need::default();
    let mut largest: Option<(&RelPath, u64)> = None;
    let (live_list, copy_list) = (live.1, copy.1);
    let takes_room = |record: &Record| !matches!(record.what, What::File { first: Some(_), .. } | What::Other { .. });
    let stays = |path: &RelPath, want: &Record| copy_list.entries.get(path).is_some_and(|have| want.same_thing(have));
    for (path, want) in live_list.entries.iter().filter(|(path, want)| takes_room(want) && !stays(path, want)) {
        need = Need { bytes: need.bytes + want.allocated, files: need.files + 1 };
        if matches!(want.what, What::File { .. }) && largest.is_none_or(|(_, bytes)| want.allocated > bytes) {
            largest = Some((path, want.allocated));
        }
    }
    let goes = |path: &RelPath, have: &Record| live_list.entries.get(path).is_none_or(|want| !want.same_thing(have));
    let given_back = copy_list.entries.iter().filter(|(path, have)| takes_room(have) && goes(path, have));
    let given_back = given_back
        .fold(Need::default(), |sum, (_, have)| Need { bytes: sum.bytes + have.allocated, files: sum.files + 1 });
    if largest.is_some_and(|(path, _)| shares_blocks(live.0, copy.0, path)) {
        need.bytes = 0;
    }
    room::check("a copy", need, given_back, copy.0)
}

fn shares_blocks(live: BorrowedFd, copy: BorrowedFd, path: &RelPath) -> bool {
    let mut live = Cursor { root: live, at: None, writable: false };
    let Ok(folder) = live.folder(&path.folder()) else { return false };
    let Ok(source) = open(folder, path.name(), OFlags::NONBLOCK) else { return false };
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let probe = rustix::fs::openat(copy, ".", flags, Mode::RUSR | Mode::WUSR);
    probe.is_ok_and(|probe| rustix::fs::ioctl_ficlone(probe, source).is_ok())
}

/// Both were listed before, so that only what differs is read again. What changes in `live` meanwhile is copied as it then is;
/// the comparison that follows finds it. Returns how many files and links were copied.
pub fn bring_up_to_date(
    work: &Work,
    live: (BorrowedFd, &Listing),
    copy: (BorrowedFd, &Listing),
) -> Result<u64, Failure> {
    let mut copier = Copier {
        live: Cursor { root: live.0, at: None, writable: false },
        copy: Cursor { root: copy.0, at: None, writable: true },
        work,
        copied: 0,
        touched: BTreeSet::new(),
        written: Vec::new(),
    };
    let (live_list, copy_list) = (live.1, copy.1);
    let kept = |path: &RelPath, have: &Record| live_list.entries.get(path).is_some_and(|want| want.same_thing(have));
    for (path, have) in copy_list.entries.iter().rev().filter(|(path, have)| !path.is_root() && !kept(path, have)) {
        copier.remove(path, have)?;
    }
    let stays = |path: &RelPath| copy_list.entries.get(path).filter(|have| kept(path, have));
    let new = || live_list.entries.iter().filter(|(path, _)| !path.is_root() && stays(path).is_none());
    let bytes = new().filter(|(_, want)| matches!(want.what, What::File { first: None, .. }));
    work.begin("copying", bytes.map(|(_, want)| want.allocated).fold(0, u64::saturating_add));
    for (path, want) in new() {
        copier.create(path, want)?;
    }
    for (path, want) in live_list.entries.iter().rev() {
        let have = stays(path).filter(|have| have.same_marks(want) && have.modified == want.modified);
        let done = have.is_some() && !copier.touched.contains(path);
        // A new file got its marks when it was made, from what it was made of.
        if want.is_folder() && !done || !want.is_folder() && !done && stays(path).is_some() {
            copier.mark(path, want)?;
        }
    }
    copier.settle(live_list)?;
    Ok(copier.copied)
}

impl Copier<'_> {
    fn remove(&mut self, path: &RelPath, have: &Record) -> Result<(), Failure> {
        let flags = if have.is_folder() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let folder = self.copy.folder(&path.folder()).at("open the copy of", path)?;
        match rustix::fs::unlinkat(folder, path.name(), flags) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e).at("remove the old copy of", path),
        }
        self.copy.forget(path);
        self.touched.insert(path.folder());
        Ok(())
    }

    fn create(&mut self, path: &RelPath, want: &Record) -> Result<(), Failure> {
        self.work.go_on()?;
        let made = match &want.what {
            What::Folder => self.make_folder(path),
            What::File { first: Some(first), .. } => self.copy.link_names(first, path),
            What::File { .. } => self.copy_file(path),
            What::Link { target } => self.copy.make_link(path, target, want),
            What::Other { .. } => return Ok(()),
        };
        match made {
            Ok(()) => {
                self.copied += u64::from(!want.is_folder());
                self.touched.insert(path.folder());
                self.written.push(path.clone());
                Ok(())
            }
            // It went away or became something else; the comparison will say so.
            Err(e) if gone(&e) => Ok(()),
            Err(e) => Err(e).at("copy", path),
        }
    }

    fn make_folder(&mut self, path: &RelPath) -> io::Result<()> {
        let folder = self.copy.folder(&path.folder())?;
        rustix::fs::mkdirat(folder, path.name(), Mode::RWXU)?;
        self.touched.insert(path.clone());
        Ok(())
    }

    fn copy_file(&mut self, path: &RelPath) -> io::Result<()> {
        let source = open(self.live.folder(&path.folder())?, path.name(), OFlags::NONBLOCK)?;
        let stat = rustix::fs::fstat(&source)?;
        if file_type(&stat) != FileType::RegularFile {
            return Ok(());
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = self.copy.folder(&path.folder())?;
        let target = rustix::fs::openat(folder, path.name(), flags, Mode::RUSR | Mode::WUSR)?;
        let size = stat.st_size as u64;
        if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
            self.work.did(stat.st_blocks as u64 * 512)?;
        } else {
            rustix::fs::ftruncate(&target, size)?;
            let mut from = 0;
            while let Some((begin, end)) = content::next_data(source.as_fd(), from, size)? {
                copy_range(source.as_fd(), target.as_fd(), begin, end, self.work)?;
                from = end;
            }
        }
        let marks = Marks { attributes: content::attributes(source.as_fd())?, ..Marks::of(&stat) };
        marks.set(target.as_fd())
    }

    /// Owner, permissions, attributes and times.
    fn mark(&mut self, path: &RelPath, want: &Record) -> Result<(), Failure> {
        self.written.push(path.clone());
        let marked = match want.what {
            What::Link { .. } => self.copy.folder(&path.folder()).and_then(|folder| mark_link(folder, path, want)),
            What::Other { .. } => Ok(()),
            What::Folder | What::File { .. } => self.mark_opened(path, want),
        };
        match marked {
            Err(e) if gone(&e) => Ok(()),
            marked => marked.at("set owner and permissions of the copy of", path),
        }
    }

    fn mark_opened(&mut self, path: &RelPath, want: &Record) -> io::Result<()> {
        let mut marks = Marks { mode: want.mode, owner: want.owner, group: want.group, ..Marks::default() };
        marks.modified = want.modified;
        if want.is_folder() {
            marks.attributes = content::attributes(self.live.folder(path)?)?;
            return marks.set(self.copy.folder(path)?);
        }
        let source = open(self.live.folder(&path.folder())?, path.name(), OFlags::NONBLOCK)?;
        marks.attributes = content::attributes(source.as_fd())?;
        marks.set(open(self.copy.folder(&path.folder())?, path.name(), OFlags::empty())?.as_fd())
    }

    fn settle(&mut self, live: &Listing) -> Result<(), Failure> {
        self.touched.append(&mut self.written.iter().cloned().collect());
        let touched = std::mem::take(&mut self.touched);
        if touched.len() > FEW {
            return rustix::fs::syncfs(self.copy.root).at("write the copy of", &RelPath::default());
        }
        for path in touched {
            let synced = match live.entries.get(&path).map(|record| &record.what) {
                Some(What::Folder) => self.copy.folder(&path).and_then(|folder| Ok(rustix::fs::fsync(folder)?)),
                Some(What::File { .. }) => self.sync_file(&path),
                _ => Ok(()),
            };
            match synced {
                Err(e) if gone(&e) => {}
                synced => synced.at("write the copy of", &path)?,
            }
        }
        Ok(())
    }

    fn sync_file(&mut self, path: &RelPath) -> io::Result<()> {
        let file = open(self.copy.folder(&path.folder())?, path.name(), OFlags::empty())?;
        Ok(rustix::fs::fsync(file)?)
    }
}

fn gone(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO))
}

/// Opens folders below a root one name at a time, and keeps the last one: neighbours follow each other.
pub struct Cursor<'a> {
    pub root: BorrowedFd<'a>,
    pub at: Option<(RelPath, OwnedFd)>,
    /// The folders belong to Backout, which may have to give itself the permission to work in them.
    pub writable: bool,
}

impl Cursor<'_> {
    pub fn folder(&mut self, path: &RelPath) -> io::Result<BorrowedFd<'_>> {
        if path.is_root() {
            return Ok(self.root);
        }
        if self.at.as_ref().is_none_or(|(at, _)| at != path) {
            let mut folder: Option<OwnedFd> = None;
            for name in path.names() {
                let parent = folder.as_ref().map_or(self.root, |f| f.as_fd());
                folder = Some(if self.writable {
                    open_writable(parent, name)?
                } else {
                    open(parent, name, OFlags::DIRECTORY)?
                });
            }
            self.at = folder.map(|folder| (path.clone(), folder));
        }
        Ok(self.at.as_ref().map_or(self.root, |(_, folder)| folder.as_fd()))
    }

    pub fn link_names(&mut self, first: &RelPath, path: &RelPath) -> io::Result<()> {
        let of = self.folder(&first.folder())?.try_clone_to_owned()?;
        let folder = self.folder(&path.folder())?;
        Ok(rustix::fs::linkat(of, first.name(), folder, path.name(), AtFlags::empty())?)
    }

    pub fn make_link(&mut self, path: &RelPath, target: &RelPath, want: &Record) -> io::Result<()> {
        let folder = self.folder(&path.folder())?;
        rustix::fs::symlinkat(target.as_bytes(), folder, path.name())?;
        mark_link(folder, path, want)
    }

    fn forget(&mut self, path: &RelPath) {
        self.at.take_if(|(at, _)| at == path);
    }
}

/// Owner, permissions, attributes and time of a file or folder, and the order in which they have to be set.
#[derive(Clone)]
pub struct Marks {
    pub mode: u32,
    pub owner: u32,
    pub group: u32,
    pub attributes: content::Attributes,
    pub modified: Time,
}

impl Default for Marks {
    fn default() -> Self {
        Self { mode: 0, owner: 0, group: 0, attributes: Vec::new(), modified: Time(0, 0) }
    }
}

impl Marks {
    pub fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
            group: stat.st_gid,
            attributes: Vec::new(),
            modified: Time(stat.st_mtime as _, stat.st_mtime_nsec as _),
        }
    }

    /// A new owner takes setuid bits and capabilities away, and an access list changes the permissions.
    pub fn set(&self, file: BorrowedFd) -> io::Result<()> {
        let stat = rustix::fs::fstat(file)?;
        if (stat.st_uid, stat.st_gid) != (self.owner, self.group) {
            rustix::fs::fchown(file, Some(Uid::from_raw(self.owner)), Some(Gid::from_raw(self.group)))
                .map_err(not_root)?;
        }
        content::set_attributes(file, &self.attributes)?;
        if rustix::fs::fstat(file)?.st_mode & 0o7777 != self.mode {
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        }
        Ok(rustix::fs::futimens(file, &times(self.modified))?)
    }
}

fn not_root(error: Errno) -> io::Error {
    match error {
        Errno::PERM => io::Error::new(io::ErrorKind::PermissionDenied, "only root can give a copy to its owner"),
        e => e.into(),
    }
}

fn times(modified: Time) -> Timestamps {
    let time = Timespec { tv_sec: modified.0, tv_nsec: modified.1 as _ };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ }, last_modification: time }
}

fn mark_link(folder: BorrowedFd, path: &RelPath, want: &Record) -> io::Result<()> {
    let stat = rustix::fs::statat(folder, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_uid, stat.st_gid) != (want.owner, want.group) {
        let (owner, group) = (Uid::from_raw(want.owner), Gid::from_raw(want.group));
        rustix::fs::chownat(folder, path.name(), Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(not_root)?;
    }
    Ok(rustix::fs::utimensat(folder, path.name(), &times(want.modified), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// In pieces, so that it can be given up and watched.
fn copy_range(source: BorrowedFd, target: BorrowedFd, begin: u64, end: u64, work: &Work) -> io::Result<()> {
    const PIECE: u64 = 8 << 20;
    let (mut from, mut to) = (begin, begin);
    while from < end {
        let want = usize::try_from((end - from).min(PIECE)).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), want) {
            // It was cut off meanwhile.
            Ok(0) => return Ok(()),
            Ok(bytes) => work.did(bytes as u64)?,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::TXTBSY) => {
                return copy_by_hand(source, target, from, end, work);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(source: BorrowedFd, target: BorrowedFd, begin: u64, end: u64, work: &Work) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = begin;
    while at < end {
        let want = usize::try_from((end - at).min(buffer.len() as u64)).unwrap_or(buffer.len());
        let got = match rustix::io::pread(source, &mut buffer[..want], at) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        write_all_at(target, &buffer[..got], at)?;
        at += got as u64;
        work.did(got as u64)?;
    }
    Ok(())
}

pub fn write_all_at(target: BorrowedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(target, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(put) => {
                bytes = &bytes[put..];
                at += put as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
