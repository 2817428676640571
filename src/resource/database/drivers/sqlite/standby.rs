//! Stand-by copies: made while the product serves, brought up to date under the fence, thrown away.
use super::{
    connection,
    exchange::possible,
    files::{self, Kind},
    fingerprint::fingerprint,
    held::{Held, Hold, hold},
    pages::Pages,
    places::{Copy, Live, Places},
    proof::{self, Look, Proof, Stand, prove, stand},
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Fingerprint, Snapshot},
    room::{self, Need},
};
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    slice,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

pub fn take(places: &Places, id: &str, exclusive: bool, call: &CallCtx) -> Result<Snapshot, Failure> {
    let live = places.live()?;
    let copy = places.make_copy(id)?;
    if matches!(stand(&copy, Some(&live))?, Stand::Live { .. }) {
        return Err(Failure::conflict("this snapshot is live; what was live before it is still kept aside"));
    }
    if exclusive {
        possible(&live)?;
        can_exchange(&copy)?;
    }
    let made = make(&live, &copy, call);
    if made.is_err() {
        // Nobody can use a copy that is not proven, and it takes room.
        let _ = remove_all(&copy);
        places.tidy();
    }
    let fingerprint = made?;
    snapshot(id, &copy, fingerprint.count(), fingerprint, "full compare")
}

fn snapshot(id: &str, copy: &Copy, copied: u64, fingerprint: Fingerprint, detector: &str) -> Result<Snapshot, Failure> {
    let path = copy.standby();
    Ok(Snapshot {
        id: id.to_owned(),
        bytes: path.metadata().map_err(|e| files::told("look at the copy", e))?.len(),
        place: path.to_string_lossy().into_owned(),
        method: "stand-by".to_owned(),
        proven: true,
        fingerprint,
        copied,
        detector: detector.to_owned(),
        position: None,
        chosen: None,
    })
}

/// Copies and compares inside one read transaction of the source, so both see the same moment, whatever the product writes
/// meanwhile. In WAL mode writers go on, and what they write stays in the WAL until the transaction ends. In the other
/// journal modes a reader keeps commits waiting; that is how they work, and the price of a copy of one moment.
pub fn make(live: &Live, copy: &Copy, call: &CallCtx) -> Result<Fingerprint, Failure> {
    let source = connection::reading(&live.path, call).map_err(connection::unproven)?;
    source.execute_batch("BEGIN").and_then(|()| tables_seen(&source)).map_err(connection::unproven)?;
    let pages: u64 = pragma(&source, "page_count")?;
    let page_size: u64 = pragma(&source, "page_size")?;
    let size = pages * page_size;
    // Some more, for the database grows until the copy is brought up to date.
    has_room("a copy", copy, size + size / 20)?;
    clear(copy)?;

    let path = copy.standby();
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| files::told("make the copy", e))?;
    let mut target = connection::writing(&path, call).map_err(connection::told)?;
    // What breaks off here is thrown away as a whole, and the file is made durable at the end.
    target
        .execute_batch("PRAGMA locking_mode = exclusive; PRAGMA journal_mode = off; PRAGMA synchronous = off")
        .map_err(connection::told)?;
    copy_pages(&source, &mut target, page_size, call)?;
    target.close().map_err(|(_, e)| connection::told(e))?;
    let expected = fingerprint(&source, "reading the database", call).map_err(connection::unproven)?;
    drop(source);

    files::dress(&path, &live.path)?;
    durable(&path)?;
    prove(copy, &expected, call)
}

/// The first read is what starts the transaction.
fn tables_seen(source: &Connection) -> rusqlite::Result<()> {
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map(|_: i64| ())
}

fn pragma(connection: &Connection, name: &str) -> Result<u64, Failure> {
    connection.pragma_query_value(None, name, connection::number).map_err(connection::unproven)
}

fn copy_pages(source: &Connection, target: &mut Connection, page_size: u64, call: &CallCtx) -> Result<(), Failure> {
    const STEP: i32 = 1_024;
    let backup = Backup::new(source, target).map_err(connection::told)?;
    loop {
        let step = backup.step(STEP).map_err(connection::unproven)?;
        let progress = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or_default() * page_size;
        call.progress("copying", bytes(progress.pagecount - progress.remaining), bytes(progress.pagecount));
        match step {
            StepResult::Done => return Ok(()),
            _ if Instant::now() >= call.deadline => {
                return Err(Failure::timed_out("copying took longer than its time"));
            }
            StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
    }
}

/// Counts what the present copy takes as free, because it gives way.
fn has_room(what: &str, copy: &Copy, bytes: u64) -> Result<(), Failure> {
    let folder = File::open(&copy.folder).map_err(|e| files::told("look into the folder for copies", e))?;
    let present = copy.standby().symlink_metadata().map_or(0, |file| file.blocks() * 512);
    room::check(what, Need { bytes, files: 0 }, Need { bytes: present, files: 0 }, folder)
}

pub fn durable(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| files::told("make the copy durable", e))?;
    files::sync_parents(&[path])
}

/// Tries on two files of no meaning, so that a rollback does not find out.
pub fn can_exchange(copy: &Copy) -> Result<(), Failure> {
    let [one, other] = copy.trial();
    let made = File::create(&one).and_then(|_| File::create(&other));
    let result = made.map_err(|e| files::told("make a file", e)).and_then(|_| files::exchange(&one, &other));
    files::remove(&one)?;
    files::remove(&other)?;
    result
}

/// Brings a stand-by up to date with what is live.
///
/// When nobody else can write, every byte of both files is compared and the pages that differ are copied: no counter or file
/// time has to be believed. That is sound in WAL mode too, because the WAL was taken into the file before. When the database
/// is in use, a new copy is made as in `take`.
pub fn refresh(places: &Places, snapshot: &Snapshot, exclusive: bool, call: &CallCtx) -> Result<Snapshot, Failure> {
    let live = places.live()?;
    let copy = places.copy_of(snapshot)?;
    let by = match stand(&copy, Some(&live))? {
        Stand::By(path) => path,
        Stand::Live { .. } => return Err(Failure::conflict("the copy was exchanged and is live now")),
        Stand::Gone => return take(places, &snapshot.id, exclusive, call),
    };
    if by != copy.standby() {
        files::put(&by, &copy.standby())?;
        files::sync_folder(&copy.folder)?;
    }
    let held = match hold(&live.path, call)? {
        Hold::Held(held) => held,
        Hold::Busy => return take(places, &snapshot.id, exclusive, call),
        Hold::Full(_, failure) => return Err(failure),
        Hold::Damaged(words) => return Err(Failure::unproven(words)),
    };
    held.clear_sides()?;
    by_pages(&live, held, &copy, snapshot, call)
}

/// People wait for this under a fence, so what the processors do and what the disk does goes on side by side: while the pages
/// are brought over, made durable and read again from the disk, structure and content of the *database* are read. They are
/// the copy's as well, because
///
/// 1. nobody writes the database meanwhile: its lock is held, and it looks at the end as it did before the first read;
/// 2. the copy is the same to the last bit, header and length included. All of it is compared, and what is written to it is
///    read again from the disk once it is durable. All of it is read from there when it did not look before as it did when
///    it was proven, for then the disk has not been asked about the rest;
/// 3. nobody else writes the copy until it is proven: it looks as it did when it was proven until its first page is written,
///    and as it did when the last one was durable from then on.
fn by_pages(live: &Live, held: Held, copy: &Copy, old: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
    let told = |e| files::told("compare copy and database", e);
    let path = copy.standby();
    // Closing this descriptor gives up the lock, so it is closed together with the connection.
    let source = (File::open(&live.path).map_err(told)?, held);
    let target = OpenOptions::new().read(true).write(true).open(&path).map_err(told)?;
    let pages = Pages::of(&source.0, &target).map_err(told)?;

    let same_look = |proof: &Proof| Look::at(&path).is_ok_and(|look| proof.look == look);
    let proven = Proof::of(copy).filter(|proof| proof.fingerprint == old.fingerprint && same_look(proof));
    let done = AtomicU64::new(0);
    let tell = |bytes| {
        call.progress("comparing pages", done.fetch_add(bytes, Ordering::Relaxed) + bytes, pages.total);
        in_time(call)
    };
    let differences = pages.differences(&tell).map_err(told)?;
    let proven = proven.filter(same_look);
    if let Some(proof) = &proven
        && differences.pages == 0
    {
        return snapshot(&old.id, copy, 0, proof.fingerprint.clone(), DETECTOR);
    }
    has_room("bringing the copy up to date", copy, pages.total)?;
    // From here until it is proven again the stand-by is none.
    Proof::withdraw(copy)?;

    let database = Look::settled(&live.path).map_err(told)?;
    let read = proof::read(&live.path, "reading the database", call, |others| {
        let tell = |_| if others.failed() { Err(io::ErrorKind::Interrupted.into()) } else { in_time(call) };
        pages.bring_over(&differences.places, &tell).map_err(|e| files::told("bring the copy up to date", e))?;
        files::dress(&path, &live.path)?;
        target.sync_all().map_err(told)?;
        files::sync_folder(&copy.folder)?;
        let look = Look::settled(&path).map_err(told)?;
        let whole = pages.whole();
        let again = if proven.is_some() { &differences.places[..] } else { slice::from_ref(&whole) };
        if pages.same(again, &tell).map_err(told)? {
            Ok(look)
        } else {
            Err(Failure::unproven("the copy does not keep what is written to it"))
        }
    });
    if Look::at(&live.path).map_err(told)? != database {
        return Err(Failure::unproven("somebody wrote to the database although it was locked"));
    }
    let (fingerprint, look) = read?;
    proof::renewed(copy, &fingerprint, look)?;
    drop(source);
    snapshot(&old.id, copy, differences.pages, fingerprint, DETECTOR)
}

pub const DETECTOR: &str = "page difference";

pub fn in_time(call: &CallCtx) -> io::Result<()> {
    if Instant::now() < call.deadline {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::TimedOut, "its time is over"))
    }
}

/// Frees stand-by and aside of a snapshot. Bytes that became free.
pub fn discard(places: &Places, snapshot: &Snapshot) -> Result<u64, Failure> {
    let copy = places.copy_of(snapshot)?;
    let live = places.live().ok();
    for path in [copy.standby(), copy.aside()] {
        if let (Ok(Kind::File(file)), Some(live)) = (Kind::of(&path), &live)
            && (file.dev(), file.ino()) == (live.file.dev(), live.file.ino())
        {
            return Err(Failure::conflict("the live file and the copy are one and the same file"));
        }
    }
    let bytes = remove_all(&copy)?;
    places.tidy();
    Ok(bytes)
}

pub fn remove_all(copy: &Copy) -> Result<u64, Failure> {
    let bytes = clear(copy)?;
    files::remove(&copy.mark())?;
    match std::fs::remove_dir(&copy.folder) {
        Ok(()) => files::sync_parents(&[&copy.folder])?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // Somebody has put something there; it is not ours to remove.
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => files::sync_folder(&copy.folder)?,
        Err(e) => return Err(files::told("remove the folder of the copy", e)),
    }
    Ok(bytes)
}

fn clear(copy: &Copy) -> Result<u64, Failure> {
    let mut bytes = 0;
    // The proof goes first: what is left of a snapshot in between must not look proven.
    Proof::withdraw(copy)?;
    for path in copy.all() {
        let size = path.symlink_metadata().map_or(0, |file| file.blocks() * 512);
        if files::remove(&path)? {
            bytes += size;
        }
    }
    Ok(bytes)
}
