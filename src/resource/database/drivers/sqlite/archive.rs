//! A copy in a repository. It is made and proven as a stand-by, written into the repository, read back from there whole, and is gone
//! then; when it is needed it is brought back, proven once more, and exchanged as any other.
//!
//! Beside the database only `mark` stays, by which all archives of the copy are known in the repository. Whatever a killed process
//! leaves is found by it.
use super::{
    super::archives::{self, DETECTOR, Note, known, other_than_proven},
    connection::{self, STILL},
    exchange::{possible, uncounted},
    files::{self, Dress},
    held::held_by,
    loss,
    places::{Copy, Places, SIDES, beside},
    proof::{Look, Proof, Stand, prove, stand},
    standby::{can_exchange, durable, in_time, make, remove_all},
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    copies::{ARCHIVE, Fingerprint, Lost, Snapshot},
    holders::names,
    repository::{
        About, Archive, For, Opened, Repository,
        file::{Counted, OneFile, Whose},
        fresh_mark, id_of,
    },
    room::{self, Need},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Instant,
};

/// Where a copy of a database is archived, and how it is called there.
#[derive(Clone)]
pub struct Shelf {
    pub repository: Repository,
    pub name: String,
}

impl Shelf {
    fn resource(&self) -> String {
        format!("database.{}", self.name)
    }
    /// The file in the archive.
    fn file(&self) -> String {
        format!("{}.db", self.name)
    }
}

fn mark(copy: &Copy) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(copy.mark()) {
        // One that was cut off was written before any archive.
        Ok(text) => Ok((text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())).then_some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(files::told("read the mark of an archive", e)),
    }
}

fn write_mark(copy: &Copy, mark: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(copy.mark());
    let written = file.and_then(|mut file| file.write_all(mark.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|e| files::told("write the mark of an archive", e))?;
    files::sync_folder(&copy.folder)
}

pub fn take(places: &Places, id: &str, exclusive: bool, shelf: &Shelf, call: &CallCtx) -> Result<Snapshot, Failure> {
    archived(places, id, exclusive, true, shelf, call)
}

/// A new archive. The one before it stays until the copy is freed: the journal names it until this one is written down.
pub fn refresh(
    places: &Places,
    snapshot: &Snapshot,
    exclusive: bool,
    shelf: &Shelf,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    archived(places, &snapshot.id, exclusive, false, shelf, call)
}

fn archived(
    places: &Places,
    id: &str,
    exclusive: bool,
    first: bool,
    shelf: &Shelf,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    let live = places.live()?;
    // Before anything is read: it may be away, or its password another.
    let opened = shelf.repository.open(For::Writing)?;
    let copy = places.make_copy(id)?;
    if matches!(stand(&copy, Some(&live))?, Stand::Live { .. }) {
        return Err(Failure::conflict("the copy was exchanged, and is live; what was live before it is kept aside"));
    }
    if exclusive {
        possible(&live)?;
        can_exchange(&copy)?;
    }
    let known = mark(&copy)?;
    if let Some(known) = &known {
        // Of an earlier attempt. What was proven stays until all is freed: the journal may name it.
        opened.forget(&opened.unproven(known)?)?;
    }
    // Nobody else has a copy of this name beside the database.
    let mark = known.clone().unwrap_or_else(fresh_mark);
    if known.is_none() {
        write_mark(&copy, &mark)?;
    }
    let made = make(&live, &copy, call).and_then(|fingerprint| {
        let archive = store(&opened, &copy, &fingerprint, (id, &mark, &places.path()), shelf, call)?;
        Ok((archive, fingerprint))
    });
    let bytes = copy.standby().metadata().map_or(0, |file| file.len());
    let cleared = clear_standby(&copy);
    if made.is_err() && known.is_none() && opened.all_of(&mark).is_ok_and(|archives| archives.is_empty()) {
        // Nobody will ever ask for it.
        let _ = remove_all(&copy);
        places.tidy();
    }
    let (archive, fingerprint) = made?;
    cleared?;
    Ok(Snapshot {
        id: id.to_owned(),
        place: shelf.repository.place(&archive),
        method: ARCHIVE.to_owned(),
        bytes,
        proven: true,
        copied: if first { fingerprint.count() } else { archive.added() },
        fingerprint,
        detector: if first { "full compare" } else { DETECTOR }.to_owned(),
        position: None,
        chosen: None,
    })
}

/// A file that tells how far it is, and ends with its time.
struct Reading {
    file: File,
    done: u64,
    total: u64,
    call: CallCtx,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        in_time(&self.call)?;
        let read = self.file.read(buffer)?;
        self.done += read as u64;
        self.call.progress("archiving", self.done.min(self.total), self.total);
        Ok(read)
    }
}

/// The stand-by, which was proven, goes into the repository; what is read back from there is the same to the last bit.
fn store(
    opened: &Opened,
    copy: &Copy,
    fingerprint: &Fingerprint,
    (id, mark, live): (&str, &str, &Path),
    shelf: &Shelf,
    call: &CallCtx,
) -> Result<Archive, Failure> {
    let told = |e| files::told("read the copy", e);
    let path = copy.standby();
    let look = Look::at(&path).map_err(told)?;
    let mut counted = Counted::new(io::sink());
    io::copy(&mut Reading::of(&path, call).map_err(told)?, &mut counted).map_err(told)?;
    let (_, bytes) = counted.end();
    let dress = Dress::of(&path).map_err(told)?;
    let whose = Whose { user: dress.user, group: dress.group, mode: dress.mode };
    let size = bytes.size;
    let note = Note { bytes: Some(bytes), ..Note::new(fingerprint, dress)? };
    let resource = shelf.resource();
    let about = About { resource: &resource, id, mark, path: live, note: note.text()? };
    let source = OneFile::new(&shelf.file(), size, whose, Reading::of(&path, call).map_err(told)?);
    let archive = opened.write(&source, &about)?;
    // What could not be read is only missing there.
    let proven = timely(call).and_then(|()| {
        read_back(opened, &archive, &note, shelf, io::sink(), call)?;
        if Look::at(&path).map_err(told)? != look {
            return Err(Failure::unproven("somebody else changed the copy while it was archived"));
        }
        opened.proven(&archive)
    });
    if proven.is_err() {
        opened.forget(std::slice::from_ref(&archive))?;
    }
    proven
}

impl Reading {
    fn of(path: &Path, call: &CallCtx) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { total: file.metadata()?.len(), file, done: 0, call: call.clone() })
    }
}

fn size_of(note: &Note<Dress>) -> u64 {
    note.bytes.as_ref().map_or(0, |bytes| bytes.size)
}

fn timely(call: &CallCtx) -> Result<(), Failure> {
    if Instant::now() < call.deadline { Ok(()) } else { Err(Failure::timed_out("its time is over")) }
}

/// Where what is read back goes, as long as there is time.
struct Timely<'a, W> {
    inner: W,
    done: u64,
    total: u64,
    call: &'a CallCtx,
}

impl<W: Write> Write for Timely<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        timely(self.call).map_err(io::Error::other)?;
        let written = self.inner.write(bytes)?;
        self.done += written as u64;
        self.call.progress("reading the archive", self.done.min(self.total), self.total);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// All of it is read, and has to be what was written.
fn read_back<W: Write>(
    opened: &Opened,
    archive: &Archive,
    note: &Note<Dress>,
    shelf: &Shelf,
    out: W,
    call: &CallCtx,
) -> Result<W, Failure> {
    let out = Timely { inner: out, done: 0, total: size_of(note), call };
    let (out, bytes) = opened.contents()?.pour(archive, &shelf.file(), out)?;
    if note.bytes.as_ref() != Some(&bytes) {
        return Err(other_than_proven(archive));
    }
    Ok(out.inner)
}

fn find(snapshot: &Snapshot, shelf: &Shelf) -> Result<(Opened, Archive, Note<Dress>), Failure> {
    let opened = shelf.repository.open(For::Reading)?;
    let (archive, note) = archives::find(&opened, snapshot)?;
    Ok((opened, archive, note))
}

/// Half of a repository may be gone without anybody having noticed.
pub fn inspect(snapshot: &Snapshot, shelf: &Shelf, call: &CallCtx) -> Result<(), Failure> {
    let (opened, archive, note) = find(snapshot, shelf)?;
    read_back(&opened, &archive, &note, shelf, io::sink(), call).map(drop)
}

/// Whether the archive has not become a stand-by, which then is looked at as any other, and has not been one.
pub fn is_away(places: &Places, snapshot: &Snapshot) -> Result<bool, Failure> {
    if !snapshot.is_archived() {
        return Ok(false);
    }
    let copy = places.copy_of(snapshot)?;
    Ok(match stand(&copy, places.live().ok().as_ref())? {
        // A proof is written when the stand-by is complete and durable, and taken away before it is changed.
        Stand::By(_) => Proof::of(&copy).is_none_or(|proof| proof.fingerprint != snapshot.fingerprint),
        Stand::Live { .. } => false,
        Stand::Gone => true,
    })
}

/// What an exchange would set aside, before anything was brought back: for that it is brought into a file that is gone afterwards.
pub fn loss(places: &Places, snapshot: &Snapshot, shelf: &Shelf, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let live = places.live()?;
    let (opened, archive, note) = find(snapshot, shelf)?;
    let copy = places.make_copy(&snapshot.id)?;
    if let Err(failure) = has_room(&copy, &note) {
        return Ok(uncounted(&failure.message));
    }
    let path = copy.looked();
    let counted = bring(&opened, &archive, &note, shelf, &path, call).and_then(|()| {
        let live = connection::looking(&live.path, call).map_err(connection::told)?;
        loss::between(&live, &path, STILL, call).map_err(connection::told)
    });
    files::remove(&path)?;
    counted
}

fn has_room(copy: &Copy, note: &Note<Dress>) -> Result<(), Failure> {
    let folder = File::open(&copy.folder).map_err(|e| files::told("look into the folder for copies", e))?;
    let need = Need { bytes: size_of(note), files: 1 };
    room::check("what comes back from the archive", need, Need::default(), folder)
}

fn bring(
    opened: &Opened,
    archive: &Archive,
    note: &Note<Dress>,
    shelf: &Shelf,
    path: &Path,
    call: &CallCtx,
) -> Result<(), Failure> {
    files::remove(path)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|e| files::told("make a file for what comes back from the archive", e))?;
    let mut out = io::BufWriter::with_capacity(1 << 20, file);
    read_back(opened, archive, note, shelf, &mut out, call)?;
    out.flush().map_err(|e| files::told("write what comes back from the archive", e))
}

/// Brings the archive back beside the database, and proves it as a stand-by is proven. What is live is not touched. One that was cut
/// off starts over.
pub fn stage(places: &Places, snapshot: &Snapshot, shelf: &Shelf, call: &CallCtx) -> Result<(), Failure> {
    match places.live() {
        Ok(live) => {
            // Before anything is read: somebody who has it open keeps it from being exchanged.
            possible(&live)?;
            let holders = held_by(&live.path)?;
            if !holders.is_empty() {
                return Err(Failure::conflict(format!("the database is open in {}", names(&holders))));
            }
        }
        // An upgrade may have deleted it. That is no reason not to go back.
        Err(e) if e.kind == FailureKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let (opened, archive, note) = find(snapshot, shelf)?;
    let copy = places.make_copy(&snapshot.id)?;
    clear_standby(&copy)?;
    has_room(&copy, &note)?;
    let path = copy.standby();
    let staged = bring(&opened, &archive, &note, shelf, &path, call).and_then(|()| {
        note.of.put(&path).map_err(|e| files::told("give the copy the owner and mode of the database", e))?;
        durable(&path)?;
        prove(&copy, &snapshot.fingerprint, call)
    });
    if staged.is_err() {
        // It would only take room. What cannot be removed now goes when it starts over.
        let _ = clear_standby(&copy);
    }
    staged.map(drop)
}

/// What was set aside, if anything was, stays.
fn clear_standby(copy: &Copy) -> Result<(), Failure> {
    Proof::withdraw(copy)?;
    let path = copy.standby();
    for path in SIDES.map(|side| beside(&path, side)).into_iter().chain([path, copy.looked()]) {
        files::remove(&path)?;
    }
    files::sync_folder(&copy.folder)
}

/// Removes all archives of a copy from the repository.
pub fn discard(places: &Places, snapshot: &Snapshot, shelf: &Option<Shelf>) -> Result<(), Failure> {
    let mark = mark(&places.copy_of(snapshot)?)?;
    if mark.is_none() && !snapshot.is_archived() {
        return Ok(());
    }
    known(shelf.as_ref())?.repository.free(mark.as_deref(), id_of(&snapshot.place))
}
