//! An archive as it can be read: listed, read whole, or brought onto the disk.
use super::{
    super::{
        content::{self, Poured},
        copy::{Cursor, Marks, write_all_at},
        listing::{Listing, Record, What},
        path::RelPath,
        scan::MAX_DEPTH,
        work::{At, Work},
    },
    nodes,
};
use crate::resource::{
    Failure,
    repository::{Archive, Contents, panics},
};
use rustic_core::repofile::Node;
use rustix::fs::{Mode, OFlags};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// What is read at the same time: it is decrypted and unpacked, which takes more than a disk does.
const MOST_AT_ONCE: usize = 4;

pub struct Held<'a> {
    contents: &'a Contents,
    pieces: Vec<Piece>,
}

struct Piece {
    path: RelPath,
    node: Node,
    record: Record,
}

impl<'a> Held<'a> {
    /// Reads no contents of files.
    pub fn list(contents: &'a Contents, archive: &Archive, name: &str, work: &Work) -> Result<Self, Failure> {
        let mut listed = Self { contents, pieces: Vec::new() };
        let top = panics("reading an archive", || contents.top(archive))?;
        let mut top = top.into_iter();
        match (top.next(), top.next()) {
            (Some(root), None) if root.is_dir() && *root.name() == *name => {
                listed.folder(root, RelPath::default(), &mut BTreeMap::new(), 0, work)?;
            }
            _ => return Err(Failure::unproven("the archive is none of this tree")),
        }
        Ok(listed)
    }

    fn folder(
        &mut self,
        folder: Node,
        path: RelPath,
        firsts: &mut BTreeMap<u64, RelPath>,
        depth: usize,
        work: &Work,
    ) -> Result<(), Failure> {
        work.go_on()?;
        if depth > MAX_DEPTH {
            return Err(Failure::unproven(format!("the archive is nested deeper than {MAX_DEPTH} folders")));
        }
        let nodes = panics("reading an archive", || self.contents.below(&folder))?;
        let record = nodes::record(&folder, None)?;
        self.pieces.push(Piece { path: path.clone(), node: folder, record });
        for node in nodes {
            let path = path.join(&nodes::name(&node)?);
            if node.is_dir() {
                self.folder(node, path, firsts, depth + 1, work)?;
                continue;
            }
            let first = match node.is_file() && node.meta.links > 1 {
                true => firsts.get(&node.meta.inode).cloned(),
                false => None,
            };
            if first.is_none() && node.is_file() && node.meta.links > 1 {
                firsts.insert(node.meta.inode, path.clone());
            }
            let record = nodes::record(&node, first)?;
            self.pieces.push(Piece { path, node, record });
        }
        Ok(())
    }

    /// What it holds, every byte of it read.
    pub fn read(self, work: &Work) -> Result<Listing, Failure> {
        let bytes = self.pieces.iter().map(|piece| piece.record.identity.size).fold(0, u64::saturating_add);
        work.begin("reading the archive", bytes);
        let read = self.each_file(|piece| {
            let mut allocated = 0;
            let mut poured = Poured::new(|_, block: &[u8]| {
                allocated += if content::is_zero(block) { 0 } else { (block.len() as u64).next_multiple_of(4096) };
                work.did(block.len() as u64)
            });
            self.contents.read(&piece.node, &mut poured)?;
            let (digest, size) = poured.end().at("read from the archive", &piece.path)?;
            Ok((digest, size, allocated))
        })?;
        let mut listing = Listing::default();
        let mut known: BTreeMap<RelPath, content::Digest> = BTreeMap::new();
        for (number, mut piece) in self.pieces.into_iter().enumerate() {
            if let What::File { size, content, first } = &mut piece.record.what {
                match (read.get(&number), first) {
                    (Some((digest, read, allocated)), None) => {
                        (*size, *content, piece.record.allocated) = (*read, Some(*digest), *allocated);
                        known.insert(piece.path.clone(), *digest);
                    }
                    (_, Some(first)) => *content = known.get(first).copied(),
                    (None, None) => {}
                }
            }
            listing.entries.insert(piece.path, piece.record);
        }
        Ok(listing)
    }

    /// Into a folder that is empty, and closed to others until it is complete. Durable when it returns.
    pub fn unpack(&self, into: BorrowedFd, work: &Work) -> Result<(), Failure> {
        let bytes = self.pieces.iter().map(|piece| piece.record.identity.size).fold(0, u64::saturating_add);
        work.begin("restoring from the archive", bytes);
        let mut cursor = Cursor { root: into, at: None, writable: true };
        for piece in self.pieces.iter().filter(|piece| piece.record.is_folder() && !piece.path.is_root()) {
            let made = cursor
                .folder(&piece.path.folder())
                .and_then(|folder| Ok(rustix::fs::mkdirat(folder, piece.path.name(), Mode::RWXU)?));
            made.at("restore", &piece.path)?;
        }
        self.each_file(|piece| self.unpack_file(piece, into, work))?;
        for piece in &self.pieces {
            work.go_on()?;
            match &piece.record.what {
                What::Link { target } => cursor.make_link(&piece.path, target, &piece.record),
                What::File { first: Some(first), .. } => cursor.link_names(first, &piece.path),
                _ => Ok(()),
            }
            .at("restore", &piece.path)?;
        }
        for piece in self.pieces.iter().rev().filter(|piece| piece.record.is_folder()) {
            let marked = cursor.folder(&piece.path).and_then(|folder| piece.marks().set(folder));
            marked.at("set owner and permissions of", &piece.path)?;
        }
        rustix::fs::syncfs(into).at("write", &RelPath::default())
    }

    fn unpack_file(&self, piece: &Piece, into: BorrowedFd, work: &Work) -> Result<(), Failure> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut cursor = Cursor { root: into, at: None, writable: true };
        let file = cursor
            .folder(&piece.path.folder())
            .and_then(|folder| Ok(rustix::fs::openat(folder, piece.path.name(), flags, Mode::RUSR | Mode::WUSR)?));
        let file = file.at("restore", &piece.path)?;
        let mut poured = Poured::new(|at, block: &[u8]| -> io::Result<()> {
            if !content::is_zero(block) {
                write_all_at(file.as_fd(), block, at)?;
            }
            work.did(block.len() as u64)
        });
        self.contents.read(&piece.node, &mut poured)?;
        let (_, size) = poured.end().at("restore", &piece.path)?;
        // What ends with a hole has its length only by this.
        rustix::fs::ftruncate(&file, size).at("restore", &piece.path)?;
        piece.marks().set(file.as_fd()).at("set owner and permissions of", &piece.path)
    }

    /// Does something with the content of every file, several at a time; what came of it, by the file's number.
    fn each_file<T: Send>(
        &self,
        work: impl Fn(&Piece) -> Result<T, Failure> + Sync,
    ) -> Result<BTreeMap<usize, T>, Failure> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let one = || -> Result<Vec<(usize, T)>, Failure> {
            let mut done = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = self.pieces.get(number) else { break };
                if !matches!(piece.record.what, What::File { first: None, .. }) {
                    continue;
                }
                let result = panics("reading an archive", || work(piece));
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                done.push((number, result?));
            }
            Ok(done)
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let mut all = BTreeMap::new();
        for result in results {
            all.extend(result.map_err(|_| Failure::failed("reading the archive broke off"))??);
        }
        Ok(all)
    }
}

impl Piece {
    fn marks(&self) -> Marks {
        let Record { mode, owner, group, modified, .. } = self.record;
        Marks { mode, owner, group, modified, attributes: nodes::attributes(&self.node) }
    }
}
