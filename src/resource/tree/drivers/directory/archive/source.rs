//! A tree as the writer of an archive reads it: what was listed, each file opened one name at a time below the tree's own folder, so
//! that nobody who exchanges folders meanwhile has it read something else. Everything is in one folder, which bears the tree's name
//! and its marks.
use super::{
    super::{
        content::{self, Attributes},
        listing::{Listing, Record, What, file_type},
        path::RelPath,
        scan::open,
        work::Work,
    },
    nodes,
};
use crate::resource::repository::unreadable;
use rustic_core::{ReadSource, ReadSourceEntry, ReadSourceOpen, RusticResult};
use rustix::{fs::FileType, fs::OFlags, io::Errno};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Clone)]
pub struct Source {
    root: Arc<OwnedFd>,
    name: PathBuf,
    entries: Arc<Vec<Entry>>,
    work: Work,
}

struct Entry {
    path: RelPath,
    record: Record,
    /// Of a file: how many are in the tree.
    names: u64,
}

impl Source {
    pub fn new(root: OwnedFd, name: &str, listing: &Listing, work: &Work) -> Self {
        let mut names: BTreeMap<&RelPath, u64> = BTreeMap::new();
        for (path, record) in &listing.entries {
            if let What::File { first, .. } = &record.what {
                *names.entry(first.as_ref().unwrap_or(path)).or_default() += 1;
            }
        }
        let entry = |(path, record): (&RelPath, &Record)| {
            let first = match &record.what {
                What::File { first: Some(first), .. } => first,
                _ => path,
            };
            let names = names.get(first).copied().unwrap_or(1);
            Entry { path: path.clone(), record: record.clone(), names }
        };
        let entries = listing.entries.iter().map(entry).collect();
        Self { root: Arc::new(root), name: PathBuf::from(name), entries: Arc::new(entries), work: work.clone() }
    }

    fn open(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        let mut at = open(&*self.root, ".", OFlags::DIRECTORY)?;
        let mut names = path.names().peekable();
        while let Some(name) = names.next() {
            let flags = if names.peek().is_some() { OFlags::DIRECTORY } else { flags };
            at = open(&at, name, flags)?;
        }
        Ok(at)
    }

    fn attributes(&self, entry: &Entry) -> io::Result<Attributes> {
        if entry.record.attributes.is_none() {
            return Ok(Attributes::new());
        }
        let flags = if entry.record.is_folder() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        content::attributes(self.open(&entry.path, flags)?.as_fd())
    }

    fn entry(&self, entry: &Entry) -> RusticResult<ReadSourceEntry<Live>> {
        let attributes = self.attributes(entry).map_err(unreadable)?;
        let (path, name) = if entry.path.is_root() {
            (self.name.clone(), self.name.as_os_str())
        } else {
            (self.name.join(Path::new(OsStr::from_bytes(entry.path.as_bytes()))), entry.path.name())
        };
        let node = nodes::node(name, &entry.record, entry.names, attributes);
        let file = matches!(entry.record.what, What::File { .. });
        let open = file.then(|| Live { source: self.clone(), path: entry.path.clone() });
        Ok(ReadSourceEntry { path, node, open })
    }
}

impl ReadSource for Source {
    type Open = Live;
    type Iter = Entries;
    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }
    fn entries(&self) -> Entries {
        Entries { source: self.clone(), next: 0 }
    }
}

pub struct Entries {
    source: Source,
    next: usize,
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Live>>;
    fn next(&mut self) -> Option<Self::Item> {
        // Nobody waits for the rest.
        self.source.work.go_on().ok()?;
        let entry = self.source.entries.get(self.next)?;
        self.next += 1;
        Some(self.source.entry(entry))
    }
}

/// A file that has still to be opened.
pub struct Live {
    source: Source,
    path: RelPath,
}

impl ReadSourceOpen for Live {
    type Reader = Reading;
    fn open(self) -> RusticResult<Reading> {
        let opened = || -> io::Result<File> {
            let file = self.source.open(&self.path, OFlags::NONBLOCK)?;
            match file_type(&rustix::fs::fstat(&file)?) {
                FileType::RegularFile => Ok(File::from(file)),
                _ => Err(Errno::NXIO.into()),
            }
        };
        Ok(Reading { file: opened().map_err(unreadable)?, work: self.source.work })
    }
}

pub struct Reading {
    file: File,
    work: Work,
}

impl io::Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.work.did(read as u64)?;
        Ok(read)
    }
}
