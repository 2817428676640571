//! An archive that is one file: of a database, or what its tools write of it.
use super::{Archive, Contents};
use crate::resource::Failure;
use rustic_core::{
    ReadSource, ReadSourceEntry, RusticResult,
    jiff::Timestamp,
    repofile::{Metadata, Node, NodeType},
};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    iter::Once,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Read once, from its beginning to its end.
pub struct OneFile<R> {
    node: Node,
    content: Mutex<Option<R>>,
}

/// Whose it was, for whoever takes it out by restic.
#[derive(Clone, Copy, Default)]
pub struct Whose {
    pub user: u32,
    pub group: u32,
    /// The lowest nine bits.
    pub mode: u32,
}

impl<R> OneFile<R> {
    /// `size` 0: nobody knows yet.
    pub fn new(name: &str, size: u64, whose: Whose, content: R) -> Self {
        let now = Timestamp::now();
        let meta = Metadata {
            mode: Some(whose.mode & 0o777),
            mtime: Some(now),
            atime: Some(now),
            ctime: Some(now),
            uid: Some(whose.user),
            gid: Some(whose.group),
            size,
            links: 1,
            ..Metadata::default()
        };
        let node = Node::new_node(OsStr::new(name), NodeType::File, meta);
        Self { node, content: Mutex::new(Some(content)) }
    }
}

impl<R: Read + Send + 'static> ReadSource for OneFile<R> {
    type Open = R;
    type Iter = Once<RusticResult<ReadSourceEntry<R>>>;
    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }
    fn entries(&self) -> Self::Iter {
        let open = self.content.lock().unwrap_or_else(PoisonError::into_inner).take();
        let path = PathBuf::from(&*self.node.name());
        std::iter::once(Ok(ReadSourceEntry { path, node: self.node.clone(), open }))
    }
}

/// What came through: how much, and its SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bytes {
    pub size: u64,
    pub sha256: String,
}

/// Passes on, and counts.
pub struct Counted<T> {
    inner: T,
    size: u64,
    hash: Sha256,
}

impl<T> Counted<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, size: 0, hash: Sha256::new() }
    }
    pub fn end(self) -> (T, Bytes) {
        (self.inner, Bytes { size: self.size, sha256: format!("{:x}", self.hash.finalize()) })
    }
    fn count(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hash.update(bytes);
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Contents {
    /// Reads the one file of an archive, all of it.
    pub fn pour<W: Write>(&self, archive: &Archive, name: &str, out: W) -> Result<(W, Bytes), Failure> {
        super::panics("reading an archive", || {
            let mut top = self.top(archive)?.into_iter();
            let node = match (top.next(), top.next()) {
                (Some(node), None) if node.is_file() && *node.name() == *name => node,
                _ => return Err(Failure::unproven("the archive is none of this database")),
            };
            let mut counted = Counted::new(out);
            self.read(&node, &mut counted)?;
            Ok(counted.end())
        })
    }
}
