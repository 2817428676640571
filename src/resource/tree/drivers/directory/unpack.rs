//! Reads a payload: a tar archive, plain or zstd, by somebody whom nobody trusts. Nothing is taken from it but files, folders and
//! links that stay inside; everything is counted before it is written.
use super::{
    content::{Content, Digest, is_zero},
    copy::{Cursor, write_all_at},
    listing::{Listing, What},
    path::{BESIDE, RelPath, shown},
    scan::MAX_DEPTH,
    work::{Work, failure_in},
};
use crate::resource::{Failure, room, tree::Archive};
use rustix::fs::{AtFlags, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};
use tar::EntryType;

/// Of a long name or of the extensions of one entry.
const MAX_EXTENSION: u64 = 64 * 1024;

/// Of all names and targets together: they are kept in memory until all is unpacked.
const MAX_NAMES: usize = 64 << 20;

/// What comes out of an archive.
#[derive(Default)]
pub struct Payload {
    pub entries: BTreeMap<RelPath, Piece>,
}

pub struct Piece {
    pub what: What,
    pub mode: u32,
    /// seconds since 1970
    pub modified: i64,
    /// Only what lies in it was named.
    implied: bool,
}

impl Payload {
    /// Whether a folder holds exactly this. Which names belong to one file does not matter, nor who owns them.
    pub fn is(&self, folder: &Listing) -> bool {
        let same = |path: &RelPath, piece: &Piece| {
            folder.entries.get(path).is_some_and(|record| match (&piece.what, &record.what) {
                (What::File { size, content, .. }, What::File { size: s, content: c, .. }) => {
                    (size, content) == (s, c) && c.is_some() && piece.mode == record.mode
                }
                (What::Folder, What::Folder) => piece.mode == record.mode,
                (a, b) => a == b,
            })
        };
        self.entries.len() == folder.entries.len() && self.entries.iter().all(|(path, piece)| same(path, piece))
    }
}

/// Reads all of an archive, and writes it below `into`, if given. Whether it is the right archive is known at the end; before
/// that nothing may be done with what was written.
pub fn unpack(archive: &Archive, into: Option<BorrowedFd>, work: &Work) -> Result<Payload, Failure> {
    let file =
        File::open(&archive.path).map_err(|e| Failure::unavailable(format!("the payload cannot be opened: {e}")))?;
    work.begin("unpacking", file.metadata().map(|m| m.len()).unwrap_or(0));
    let hash = Rc::new(RefCell::new(Sha256::new()));
    let source = Hashed { file, hash: hash.clone(), work };
    let mut unpacking = Unpacking {
        archive,
        into: into.map(|root| Cursor { root, at: None, writable: true }),
        payload: Payload::default(),
        seen: 0,
        bytes: 0,
        names: 0,
    };
    let folder = Piece { what: What::Folder, mode: 0o755, modified: 0, implied: true };
    unpacking.payload.entries.insert(RelPath::default(), folder);
    unpacking.all(source).map_err(|e| match failure_in(&e) {
        Some(failure) => failure,
        None if room::is_none(&e) => room::none("there is no room for the payload on the file system of the tree"),
        // Some errors quote what the archive holds.
        None => {
            let why: String = shown(e.to_string().as_bytes()).chars().take(200).collect();
            Failure::invalid(format!("the payload cannot be unpacked: {why}"))
        }
    })?;
    let digest = format!("{:x}", hash.borrow_mut().finalize_reset());
    if digest != archive.sha256 {
        return Err(Failure::conflict("the payload has changed since the package was opened"));
    }
    Ok(unpacking.payload)
}

struct Hashed<'a> {
    file: File,
    hash: Rc<RefCell<Sha256>>,
    work: &'a Work,
}
impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.hash.borrow_mut().update(&buffer[..got]);
        self.work.did(got as u64)?;
        Ok(got)
    }
}

enum Stream<'a> {
    Plain(BufReader<Hashed<'a>>),
    Zstd(zstd::Decoder<'static, BufReader<Hashed<'a>>>),
}
impl<'a> Stream<'a> {
    fn source(self) -> BufReader<Hashed<'a>> {
        match self {
            Self::Plain(source) => source,
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}
impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// A few bytes can become any number of them.
struct Bounded<R> {
    inner: R,
    left: u64,
}
impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        match self.left.checked_sub(got as u64) {
            Some(left) => self.left = left,
            None => return Err(refused("the payload unpacks to more than it may")),
        }
        Ok(got)
    }
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::other(Failure::invalid(why))
}

struct Unpacking<'a> {
    archive: &'a Archive,
    into: Option<Cursor<'a>>,
    payload: Payload,
    seen: u64,
    bytes: u64,
    /// bytes of names and targets
    names: usize,
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Unpacking<'_> {
    fn all(&mut self, source: Hashed) -> io::Result<()> {
        let mut source = BufReader::with_capacity(256 * 1024, source);
        let is_zstd = source.fill_buf()?.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        let stream = if is_zstd { Stream::Zstd(zstd::Decoder::with_buffer(source)?) } else { Stream::Plain(source) };
        // Headers and padding come to what the files hold.
        let left = self.archive.max_entries.saturating_mul(2048).saturating_add(self.archive.max_unpacked) + (1 << 20);
        let mut archive = tar::Archive::new(Bounded { inner: stream, left });
        let mut extensions = Extensions::default();
        // Raw, because the crate would read a long name of any length into memory.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            self.count()?;
            let kind = entry.header().entry_type();
            match kind {
                EntryType::GNULongName => extensions.path = Some(long(&mut entry)?),
                EntryType::GNULongLink => extensions.target = Some(long(&mut entry)?),
                EntryType::XHeader => extensions.read(&mut entry)?,
                EntryType::XGlobalHeader => drop(extension(&mut entry)?),
                _ => self.entry(&mut entry, kind, std::mem::take(&mut extensions))?,
            }
        }
        if self.seen == 0 {
            return Err(refused("the payload is no tar archive, or an empty one"));
        }
        // The digest is of the whole file.
        let mut rest = archive.into_inner().inner.source();
        io::copy(&mut rest, &mut io::sink())?;
        Ok(())
    }

    fn count(&mut self) -> io::Result<()> {
        self.seen += 1;
        if self.seen > self.archive.max_entries {
            return Err(refused(format!("the payload has more than {} entries", self.archive.max_entries)));
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<R>, kind: EntryType, said: Extensions) -> io::Result<()> {
        let header = entry.header();
        let size = header.entry_size()?;
        if said.size.is_some_and(|said| said != size) {
            return Err(refused("two sizes are given for one entry of the payload"));
        }
        let name = said.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = said.target.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let mode = header.mode()?;
        let modified = i64::try_from(header.mtime()?).unwrap_or(0);
        let path = path_of(&name)?;
        // Archives from before there was a type for folders.
        let folder = kind.is_dir() || kind.is_file() && name.ends_with(b"/") && size == 0;
        if path.is_root() && !folder {
            return Err(refused("an entry of the payload has no name"));
        }
        self.parents_of(&path)?;
        match self.payload.entries.get(&path) {
            Some(piece) if folder && piece.implied && piece.what == What::Folder => {}
            Some(_) => return Err(refused(format!("the payload has {} twice", path.brief()))),
            None if folder => self.make_folder(&path)?,
            None => {}
        }
        let piece = |what, mode| Piece { what, mode, modified, implied: false };
        let piece = match kind {
            _ if folder => piece(What::Folder, 0o700 | mode & 0o755),
            EntryType::Regular => {
                let (content, size) = self.file(&path, entry, size)?;
                piece(What::File { size, content: Some(content), first: None }, 0o600 | mode & 0o755)
            }
            EntryType::Link => self.second_name(&path, &path_of(&target.unwrap_or_default())?, modified)?,
            EntryType::Symlink => piece(What::Link { target: self.link(&path, &target.unwrap_or_default())? }, 0o777),
            _ => return Err(refused(format!("{} in the payload is neither file, folder nor link", path.brief()))),
        };
        self.keep(path, piece)
    }

    fn keep(&mut self, path: RelPath, piece: Piece) -> io::Result<()> {
        let more = match &piece.what {
            What::Link { target } => target.as_bytes().len(),
            What::File { first: Some(first), .. } => first.as_bytes().len(),
            _ => 0,
        };
        self.names += path.as_bytes().len() + more;
        if self.names > MAX_NAMES {
            return Err(refused(format!("the names in the payload have more than {} MiB together", MAX_NAMES >> 20)));
        }
        self.payload.entries.insert(path, piece);
        Ok(())
    }

    /// Folders that only follow from what lies in them. Nothing lies in a link or a file.
    fn parents_of(&mut self, path: &RelPath) -> io::Result<()> {
        let mut parent = RelPath::default();
        let folder = path.folder();
        for name in folder.names() {
            parent = parent.join(name.as_encoded_bytes());
            match self.payload.entries.get(&parent).map(|piece| &piece.what) {
                Some(What::Folder) => {}
                Some(_) => {
                    return Err(refused(format!(
                        "{} in the payload lies in something that is no folder",
                        path.brief()
                    )));
                }
                None => {
                    self.count()?;
                    self.make_folder(&parent)?;
                    let piece = Piece { what: What::Folder, mode: 0o755, modified: 0, implied: true };
                    self.keep(parent.clone(), piece)?;
                }
            }
        }
        Ok(())
    }

    fn make_folder(&mut self, path: &RelPath) -> io::Result<()> {
        if let Some(cursor) = &mut self.into {
            rustix::fs::mkdirat(cursor.folder(&path.folder())?, path.name(), Mode::RWXU)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &RelPath, stream: &mut dyn Read, size: u64) -> io::Result<(Digest, u64)> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.archive.max_unpacked {
            return Err(refused(format!("the payload unpacks to more than {} bytes", self.archive.max_unpacked)));
        }
        let target = match &mut self.into {
            Some(cursor) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = cursor.folder(&path.folder())?;
                let file = rustix::fs::openat(folder, path.name(), flags, Mode::RUSR | Mode::WUSR)?;
                rustix::fs::ftruncate(&file, size)?;
                Some(file)
            }
            None => None,
        };
        let (content, got) = Content::of_stream(stream, &mut |at, bytes| match &target {
            Some(file) if !is_zero(bytes) => write_all_at(file.as_fd(), bytes, at),
            _ => Ok(()),
        })?;
        if got != size {
            return Err(refused("the payload ends in the middle of a file"));
        }
        Ok((content, size))
    }

    /// A hard link, to a file that came before it.
    fn second_name(&mut self, path: &RelPath, first: &RelPath, modified: i64) -> io::Result<Piece> {
        let piece = match self.payload.entries.get(first) {
            Some(Piece { what: What::File { size, content, .. }, mode, .. }) => Piece {
                what: What::File { size: *size, content: *content, first: Some(first.clone()) },
                mode: *mode,
                modified,
                implied: false,
            },
            _ => return Err(refused(format!("{} in the payload is another name of no file in it", path.brief()))),
        };
        if let Some(cursor) = &mut self.into {
            let from = cursor.folder(&first.folder())?.try_clone_to_owned()?;
            rustix::fs::linkat(from, first.name(), cursor.folder(&path.folder())?, path.name(), AtFlags::empty())?;
        }
        Ok(piece)
    }

    /// Where links lead through other links is looked at when all are there.
    fn link(&mut self, path: &RelPath, target: &[u8]) -> io::Result<RelPath> {
        let leads_out = || refused(format!("the link {} in the payload leads out of it", path.brief()));
        if target.is_empty() || target.len() >= 4096 || target.contains(&0) {
            return Err(refused(format!("the link {} in the payload has no target", path.brief())));
        }
        if target.starts_with(b"/") {
            return Err(leads_out());
        }
        let mut depth = path.folder().names().count();
        for name in target.split(|b| *b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => depth = depth.checked_sub(1).ok_or_else(leads_out)?,
                _ => depth += 1,
            }
        }
        if let Some(cursor) = &mut self.into {
            rustix::fs::symlinkat(target, cursor.folder(&path.folder())?, path.name())?;
        }
        Ok(RelPath::from_bytes(target))
    }
}

impl Extensions {
    fn read(&mut self, entry: &mut impl Read) -> io::Result<()> {
        let bytes = extension(entry)?;
        for pair in tar::PaxExtensions::new(&bytes) {
            let pair = pair?;
            match pair.key_bytes() {
                b"path" => self.path = Some(pair.value_bytes().to_owned()),
                b"linkpath" => self.target = Some(pair.value_bytes().to_owned()),
                b"size" => {
                    let size = pair.value().ok().and_then(|value| value.parse().ok());
                    self.size = Some(size.ok_or_else(|| refused("an entry of the payload has no size"))?);
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(refused("the payload holds sparse files: make it without `--sparse`"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn extension(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(MAX_EXTENSION + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_EXTENSION {
        return Err(refused("a header of the payload is too long"));
    }
    Ok(bytes)
}

fn long(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut name = extension(entry)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// Relative, without `..`, without a name that Backout keeps for itself.
fn path_of(name: &[u8]) -> io::Result<RelPath> {
    let named = || RelPath::from_bytes(name).brief();
    if name.starts_with(b"/") {
        return Err(refused(format!("{} in the payload is an absolute path", named())));
    }
    if name.len() > 4096 || name.contains(&0) || std::str::from_utf8(name).is_err() {
        return Err(refused(format!("{} in the payload is no path", named())));
    }
    let mut path = RelPath::default();
    for name in name.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." {
            return Err(refused(format!("{} in the payload leads out of it", named())));
        }
        if name.len() > 255 || name.starts_with(BESIDE.as_bytes()) {
            return Err(refused(format!("{} in the payload cannot be the name of a file", named())));
        }
        path = path.join(name);
    }
    if path.names().count() > MAX_DEPTH {
        return Err(refused(format!("{} in the payload is nested too deep", named())));
    }
    Ok(path)
}
