//! Walks a tree without ever following a link: each step opens one name below a folder that is already open, so nobody who
//! exchanges folders meanwhile can lead it elsewhere.
use super::{
    content::{self, Content, Digest},
    listing::{Identity, Listing, Record, Time, What, file_type},
    path::{BESIDE, RelPath, is_temporary},
    work::{Work, failure_in},
};
use crate::resource::{Failure, tree::exclude::Excludes};
use rustix::{
    fs::{Advice, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::{BTreeSet, HashMap},
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Each level keeps one descriptor.
pub const MAX_DEPTH: usize = 128;

/// Which contents are read.
#[derive(Clone, Copy)]
pub enum Read<'a> {
    None,
    All,
    /// Where the other tree has a file of the same size, because only then they can be equal.
    Against(&'a Listing),
}

/// Digests that need not be computed again.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub listing: &'a Listing,
    /// Files that changed later are read again: a clock's tick is too long to tell two changes apart.
    pub before: Option<Time>,
    pub except: &'a BTreeSet<RelPath>,
}

pub struct Scan<'a> {
    pub excludes: &'a Excludes,
    pub read: Read<'a>,
    pub known: Option<Known<'a>>,
    /// What cannot be read is listed as different from everything, instead of ending the scan.
    pub tolerant: bool,
    /// Contents come from the disk, not from memory.
    pub from_disk: bool,
    pub work: &'a Work,
}

impl Scan<'_> {
    pub fn of(&self, root: BorrowedFd) -> Result<Listing, Failure> {
        let stat = rustix::fs::fstat(root).map_err(|e| cannot_read(e.into(), &RelPath::default()))?;
        let mut walk = Walk { scan: self, device: stat.st_dev, firsts: HashMap::new(), listing: Listing::default() };
        walk.folder(root, &stat, &RelPath::default(), 0)?;
        Ok(walk.listing)
    }
}

struct Walk<'a> {
    scan: &'a Scan<'a>,
    device: u64,
    /// Files with several names, by inode.
    firsts: HashMap<u64, RelPath>,
    listing: Listing,
}

impl Walk<'_> {
    fn folder(&mut self, folder: BorrowedFd, stat: &Stat, path: &RelPath, depth: usize) -> Result<(), Failure> {
        self.scan.work.go_on()?;
        let mut record = Record::new(What::Folder, stat);
        if depth > MAX_DEPTH {
            if self.scan.tolerant {
                self.listing.entries.insert(path.clone(), record);
                return Ok(());
            }
            return Err(Failure::failed(format!("{} is nested deeper than {MAX_DEPTH} folders", path.brief())));
        }
        if !matches!(self.scan.read, Read::None) {
            record.attributes =
                self.or_nothing(content::attributes(folder), path)?.and_then(|a| content::digest_of(&a));
        }
        self.listing.entries.insert(path.clone(), record);
        let names = self.or_nothing(names(folder), path)?.unwrap_or_default();
        for name in names {
            let child = path.join(name.as_bytes());
            if is_temporary(name.as_bytes()) {
                continue;
            }
            // Copies of what lies in this tree, another tree or a database, belong to that and follow it.
            if name.as_bytes() == BESIDE.as_bytes() || self.scan.excludes.matches(child.as_bytes()) {
                self.listing.excluded.push(child);
                continue;
            }
            let stat = match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It went away while the folder was read.
                Err(Errno::NOENT) => continue,
                Err(_) if self.scan.tolerant => continue,
                Err(e) => return Err(cannot_read(e.into(), &child)),
            };
            match file_type(&stat) {
                FileType::Directory if stat.st_dev == self.device => {
                    match open(folder, &name, OFlags::DIRECTORY) {
                        Ok(open) => {
                            let stat = rustix::fs::fstat(&open).map_err(|e| cannot_read(e.into(), &child))?;
                            self.folder(open.as_fd(), &stat, &child, depth + 1)?;
                        }
                        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                        Err(_) if self.scan.tolerant => {
                            self.listing.entries.insert(child, Record::new(What::Folder, &stat));
                        }
                        Err(e) => return Err(cannot_read(e.into(), &child)),
                    };
                }
                FileType::RegularFile => self.file(folder, &name, &stat, child)?,
                FileType::Symlink => match rustix::fs::readlinkat(folder, &name, Vec::new()) {
                    Ok(target) => {
                        let what = What::Link { target: RelPath::from_bytes(target.as_bytes()) };
                        self.listing.entries.insert(child, Record::new(what, &stat));
                    }
                    Err(Errno::NOENT | Errno::INVAL) => {}
                    Err(_) if self.scan.tolerant => {}
                    Err(e) => return Err(cannot_read(e.into(), &child)),
                },
                other => {
                    let what = What::Other { file_type: other.as_raw_mode(), device: stat.st_rdev };
                    self.listing.entries.insert(child, Record::new(what, &stat));
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: BorrowedFd, name: &CString, stat: &Stat, path: RelPath) -> Result<(), Failure> {
        let first = if stat.st_nlink > 1 { self.firsts.get(&stat.st_ino).cloned() } else { None };
        let (stat, content, attributes) = match first.as_ref().and_then(|first| self.listing.entries.get(first)) {
            Some(Record { what: What::File { content, .. }, attributes, .. }) => (*stat, *content, *attributes),
            _ => match self.look(folder, name, stat, &path)? {
                Some(seen) => seen,
                None => return Ok(()),
            },
        };
        if first.is_none() && stat.st_nlink > 1 {
            self.firsts.insert(stat.st_ino, path.clone());
        }
        let what = What::File { size: stat.st_size as u64, content, first };
        self.listing.entries.insert(path, Record { attributes, ..Record::new(what, &stat) });
        Ok(())
    }

    /// Content and attributes, with the state of the file from before they were read. `None`: it is gone.
    fn look(&self, folder: BorrowedFd, name: &CString, stat: &Stat, path: &RelPath) -> Result<Option<Seen>, Failure> {
        let scan = self.scan;
        let wanted = match scan.read {
            Read::None => false,
            Read::All => true,
            Read::Against(other) => {
                matches!(other.entries.get(path).map(|r| &r.what), Some(What::File { size, .. }) if *size == stat.st_size as u64)
            }
        };
        if !wanted {
            return Ok(Some((*stat, None, None)));
        }
        if let Some((content, attributes)) = scan.known.and_then(|known| known.of(path, &Identity::of(stat))) {
            return Ok(Some((*stat, Some(content), attributes)));
        }
        let file = match open(folder, name, OFlags::NONBLOCK) {
            Ok(file) => file,
            // It is no longer the file that was listed. What takes its place is seen by the next scan.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(_) if scan.tolerant => return Ok(Some((*stat, None, None))),
            Err(e) => return Err(cannot_read(e.into(), path)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| cannot_read(e.into(), path))?;
        if file_type(&stat) != FileType::RegularFile {
            return Ok(None);
        }
        if scan.from_disk {
            // Only advice: where it is not taken, the content comes from memory.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
        let attributes = self.or_nothing(content::attributes(file.as_fd()), path)?;
        let content = Content::of_file(file.as_fd(), stat.st_size as u64, &mut |bytes| scan.work.did(bytes));
        // Being given up is no trouble with a file.
        scan.work.go_on()?;
        let content = self.or_nothing(content, path)?;
        Ok(Some((stat, content, attributes.and_then(|a| content::digest_of(&a)))))
    }

    fn or_nothing<T>(&self, result: io::Result<T>, path: &RelPath) -> Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.scan.tolerant => Ok(None),
            Err(e) => Err(cannot_read(e, path)),
        }
    }
}

type Seen = (Stat, Option<Digest>, Option<Digest>);

impl Known<'_> {
    fn of(&self, path: &RelPath, identity: &Identity) -> Option<(Digest, Option<Digest>)> {
        let record = self.listing.entries.get(path).filter(|record| record.identity == *identity)?;
        match &record.what {
            What::File { content: Some(content), .. }
                if self.before.is_none_or(|before| identity.changed < before) && !self.except.contains(path) =>
            {
                Some((*content, record.attributes))
            }
            _ => None,
        }
    }
}

pub fn open(folder: impl AsFd, name: impl rustix::path::Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags, Mode::empty())
}

/// Sorted, without `.` and `..`.
pub fn names(folder: BorrowedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn cannot_read(error: io::Error, path: &RelPath) -> Failure {
    let plain = || Failure::unavailable(format!("{} cannot be read: {error}", path.brief()));
    failure_in(&error).unwrap_or_else(plain)
}
