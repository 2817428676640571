//! One run in one file, which another machine can verify without the journal that it comes from: the run's entries, of other runs'
//! entries in between their digests alone, a signed head at the end, and files that belong to the run.
use super::{
    audit::{self, Audit, Check},
    chain::{Columns, Hash, genesis},
    entry::RunId,
    error::Error,
    file::{self, MARKED},
    head::{self, Head},
    reader::Reader,
};
use crate::key::{from_hex, hex};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Component, Path, PathBuf},
};
use tar::{EntryType, Header};
use tempfile::TempDir;

const ABOUT: &str = "export.json";
const ENTRIES: &str = "entries.jsonl";

/// Bytes of what stands in `export.json`.
const MOST_ABOUT: u64 = 1 << 20;
/// Files beside the entries.
const MOST_FILES: usize = 1000;
/// Bytes of all of them.
const MOST_IN_FILES: u64 = 17 << 30;
/// Bytes of one entry, escaped once more.
const LONGEST_LINE: u64 = 512 << 20;
/// Bytes of all entries.
const MOST_ENTRIES: u64 = 16 << 30;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    format: u32,
    run: RunId,
    /// the run whose restore point it uses; its entries are there too. 0: none, or its own
    restore_point: RunId,
    /// number of the first entry
    first: i64,
    /// of the entry before the first
    before: String,
    head: String,
    /// names of the files, in the order in which they follow
    files: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Entry {
        id: i64,
        run: i64,
        at: i64,
        phase: String,
        rolled_back: i64,
        step: String,
        attempt: i64,
        seq: i64,
        kind: String,
        body: String,
        hash: String,
    },
    /// Of another run.
    Foreign { id: i64, digest: String },
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    pub entries: u64,
    pub foreign: u64,
    pub head: Head,
}

/// Writes the run to a new file, with these files of a folder. The journal should have been audited before: what is signed here is
/// what stands in it now.
pub fn export(journal: &Path, run: RunId, folder: &Path, files: &[PathBuf], to: &Path) -> Result<Exported, Error> {
    let failed = |error: io::Error| Error::Export { path: to.display().to_string(), reason: error.to_string() };
    let Some(db) = file::open_to_read(journal)? else { return Err(Error::NoRun(run)) };
    let sqlite = |cause| Error::Sqlite { path: journal.display().to_string(), cause };
    db.execute_batch("BEGIN").map_err(sqlite)?;
    let header = Reader::open(journal)?.run(run)?.header;
    let restore_point = if header.restore_point == run { 0 } else { header.restore_point };
    let number =
        |sql: &str, run: RunId| db.query_row(sql, [run as i64], |row| row.get::<_, Option<i64>>(0)).map_err(sqlite);
    let begin = format!("SELECT min(id) FROM entry WHERE {MARKED} AND kind = 'run-started' AND run = ?1");
    let own = number(&begin, run)?.ok_or(Error::NoRun(run))?;
    let first = number(&begin, restore_point)?.map_or(own, |first| first.min(own));
    let last = number("SELECT max(id) FROM entry WHERE run = ?1", run)?.ok_or(Error::NoRun(run))?;
    let hash = |id: i64| {
        db.query_row("SELECT hash FROM entry WHERE id = ?1", [id], |row| row.get::<_, Hash>(0)).map_err(sqlite)
    };
    let before = if first == 1 { genesis() } else { hash(first - 1)? };
    let head = head::sign(journal, last, hash(last)?)?;
    let names = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let (hash, signed) = (hex(&before), head.to_string());
    let about = About { format: 1, run, restore_point, first, before: hash, head: signed, files: names };
    let beside = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // How long it is has to be known before it can be put into the archive.
    let mut lines = tempfile::tempfile_in(beside).map_err(failed)?;
    let runs = [run as i64, restore_point as i64];
    let counts = write_lines(&db, runs, first..=last, &mut lines).map_err(|error| match error {
        Written::Sqlite(cause) => sqlite(cause),
        Written::Io(error) => failed(error),
    })?;
    let mut write = || -> io::Result<()> {
        let staging = tempfile::NamedTempFile::new_in(beside)?;
        let mut archive = tar::Builder::new(zstd::Encoder::new(staging, 3)?);
        let about = serde_json::to_vec_pretty(&about)?;
        archive.append(&named(ABOUT, about.len() as u64)?, about.as_slice())?;
        let length = lines.stream_position()?;
        lines.rewind()?;
        archive.append(&named(ENTRIES, length)?, &lines)?;
        let mut left = MOST_IN_FILES;
        for (n, path) in files.iter().enumerate() {
            let file = File::open(folder.join(path))?;
            let size = file.metadata()?.len();
            left = left.checked_sub(size).ok_or_else(|| wrong("the files of the run are too long to be exported"))?;
            archive.append(&named(&format!("files/{n}"), size)?, file)?;
        }
        let staging = archive.into_inner()?.finish()?;
        staging.as_file().sync_all()?;
        staging.persist_noclobber(to).map_err(|e| e.error)?;
        File::open(beside)?.sync_all()
    };
    write().map_err(failed)?;
    Ok(Exported { entries: counts.0, foreign: counts.1, head })
}

fn named(name: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

enum Written {
    Sqlite(rusqlite::Error),
    Io(io::Error),
}
impl From<rusqlite::Error> for Written {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn write_lines(
    db: &Connection,
    runs: [i64; 2],
    range: std::ops::RangeInclusive<i64>,
    to: &mut File,
) -> Result<(u64, u64), Written> {
    let (mut entries, mut foreign) = (0, 0);
    let mut to = BufWriter::new(to);
    let mut statement = db.prepare(&format!("{} WHERE id BETWEEN ?1 AND ?2 ORDER BY id", audit::SELECT))?;
    let mut rows = statement.query([range.start(), range.end()])?;
    while let Some(row) = rows.next()? {
        let damaged = || rusqlite::Error::InvalidQuery;
        let columns = audit::columns(row)?.ok_or_else(damaged)?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| damaged());
        let line = if runs.contains(&columns.run) {
            entries += 1;
            Line::Entry {
                id: columns.id,
                run: columns.run,
                at: columns.at,
                phase: text(columns.phase)?,
                rolled_back: columns.rolled_back,
                step: text(columns.step)?,
                attempt: columns.attempt,
                seq: columns.seq,
                kind: text(columns.kind)?,
                body: text(columns.body)?,
                hash: hex(&row.get::<_, Hash>(10)?),
            }
        } else {
            foreign += 1;
            Line::Foreign { id: columns.id, digest: hex(&columns.digest()) }
        };
        serde_json::to_writer(&mut to, &line).map_err(|e| Written::Io(e.into()))?;
        to.write_all(b"\n").map_err(Written::Io)?;
    }
    to.flush().map_err(Written::Io)?;
    Ok((entries, foreign))
}

/// An exported run, unpacked into a folder that goes with it.
pub struct Opened {
    pub run: RunId,
    /// the run whose restore point it uses, whose entries are there too; 0: none, or its own
    pub restore_point: RunId,
    /// signed when it was exported
    pub head: Head,
    /// Of what is in it.
    pub audit: Audit,
    folder: TempDir,
}

impl Opened {
    /// A journal of its own, with these runs alone.
    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }
    pub fn reader(&self) -> Result<Reader, Error> {
        Reader::open(&self.journal())
    }
    /// The files that belong to the run; an empty folder when there are none.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }
}

/// As `read`, of a file in which nothing may be wrong.
pub fn open(path: &Path) -> Result<Opened, Error> {
    let opened = read(path)?;
    match opened.audit.findings.first() {
        None => Ok(opened),
        Some(finding) => Err(Error::Export { path: path.display().to_string(), reason: finding.to_string() }),
    }
}

/// Reads a file by somebody whom nobody trusts; what is wrong with its entries is told by its audit.
pub fn read(path: &Path) -> Result<Opened, Error> {
    let failed =
        |reason: String| Error::Export { path: path.display().to_string(), reason: super::error::plain(&reason) };
    if !file::is_there(path).map_err(|_| failed("is no file".into()))? {
        return Err(failed("is not there".into()));
    }
    let file = File::open(path).map_err(|e| failed(e.to_string()))?;
    let folder = tempfile::Builder::new().prefix("backout-").tempdir().map_err(|e| failed(e.to_string()))?;
    match unpack(file, folder.path()) {
        Ok((about, head, audit)) => {
            Ok(Opened { run: about.run, restore_point: about.restore_point, head, audit, folder })
        }
        Err(Unpacked::Io(error)) => Err(failed(error.to_string())),
        Err(Unpacked::Journal(error)) => Err(failed(error.to_string())),
    }
}

enum Unpacked {
    Io(io::Error),
    Journal(Error),
}
impl From<io::Error> for Unpacked {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
impl From<Error> for Unpacked {
    fn from(error: Error) -> Self {
        Self::Journal(error)
    }
}

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}

fn unpack(file: File, folder: &Path) -> Result<(About, Head, Audit), Unpacked> {
    // A few bytes can become any number of them.
    let all = MOST_ABOUT + MOST_ENTRIES + MOST_IN_FILES + (MOST_FILES as u64 + 8) * 2048;
    let stream = zstd::Decoder::new(file)?.take(all);
    let mut archive = tar::Archive::new(stream);
    // Raw, because nothing but plain files with short names is in it.
    let mut parts = archive.entries()?.raw(true);
    let mut part = |name: &str| match parts.next() {
        Some(part) => {
            let part = part?;
            let header = part.header();
            let right = header.entry_type() == EntryType::Regular && *header.path_bytes() == *name.as_bytes();
            if right { Ok(part) } else { Err(wrong(format!("is no exported run: `{name}` is not where it belongs"))) }
        }
        None => Err(wrong(format!("is no whole exported run: it ends before `{name}`"))),
    };
    let about = part(ABOUT)?;
    if about.size() > MOST_ABOUT {
        return Err(wrong("is no exported run: what it says of itself is too long").into());
    }
    let about: About = serde_json::from_reader(about).map_err(|e| wrong(format!("is no exported run: {e}")))?;
    if about.format != 1 {
        return Err(wrong(format!("is of format {}, this Backout reads 1", about.format)).into());
    }
    let head: Head = about.head.parse().map_err(|reason| wrong(format!("its head {reason}")))?;
    let before = from_hex(&about.before).ok_or_else(|| wrong("is no exported run: `before` is no hash"))?;
    let lines = part(ENTRIES)?;
    if lines.size() > MOST_ENTRIES {
        return Err(wrong("its entries are too long").into());
    }
    let (first, runs) = (about.first, [about.run, about.restore_point]);
    let check = Check::new(before, first.saturating_sub(1), vec![head.clone()]);
    let audit = entries(BufReader::new(lines), check, runs, &folder.join("journal.db"))?;
    let files = folder.join("files");
    fs::create_dir(&files)?;
    if about.files.len() > MOST_FILES {
        return Err(wrong(format!("has more than {MOST_FILES} files")).into());
    }
    let (mut left, mut seen) = (MOST_IN_FILES, BTreeSet::new());
    for (n, path) in about.files.iter().enumerate() {
        let mut content = part(&format!("files/{n}"))?;
        left = left.checked_sub(content.size()).ok_or_else(|| wrong("its files are too long"))?;
        let path = inside(path).filter(|path| seen.insert(path.clone()));
        let path = path.ok_or_else(|| wrong(format!("the name of its file {n} cannot be one")))?;
        let to = files.join(path);
        if let Some(parent) = to.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        // Nothing that is there is ever opened: no name leads anywhere but to what stands in this archive.
        let size = content.size();
        let copied = io::copy(&mut content, &mut File::options().write(true).create_new(true).open(to)?)?;
        if copied != size {
            return Err(wrong(format!("ends in the middle of its file {n}")).into());
        }
    }
    if parts.next().is_some() {
        return Err(wrong("holds more than it says").into());
    }
    Ok((about, head, audit))
}

/// A path of plain names only.
fn inside(path: &str) -> Option<PathBuf> {
    let fits = |name: &Component<'_>| matches!(name, Component::Normal(name) if name.len() <= 255);
    let path = PathBuf::from(path);
    let count = path.components().count();
    (path.components().all(|name| fits(&name))
        && (1..=32).contains(&count)
        && !path.as_os_str().as_encoded_bytes().contains(&0))
    .then_some(path)
}

/// Verifies the entries, and puts those that are known into a journal of their own.
fn entries(mut lines: impl BufRead, mut check: Check, runs: [RunId; 2], journal: &Path) -> Result<Audit, Unpacked> {
    let sqlite = |cause| Error::Sqlite { path: "in it".into(), cause };
    let db = file::open(journal)?;
    // It goes with the process that made it.
    db.execute_batch("PRAGMA synchronous = OFF; BEGIN").map_err(sqlite)?;
    let mut insert = db
        .prepare(
            "INSERT INTO entry(id, run, at, phase, rolled_back, step, attempt, seq, kind, body, hash) \
             VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        )
        .map_err(sqlite)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        let no = |e: serde_json::Error| wrong(format!("a line of its entries cannot be read: {e}"));
        match serde_json::from_slice(&line).map_err(no)? {
            Line::Entry { id, run, at, phase, rolled_back, step, attempt, seq, kind, body, hash } => {
                if !runs.iter().any(|own| *own != 0 && i64::try_from(*own) == Ok(run)) {
                    return Err(wrong(format!("entry {id} is of another run")).into());
                }
                let columns = Columns {
                    id,
                    run,
                    at,
                    phase: phase.as_bytes(),
                    rolled_back,
                    step: step.as_bytes(),
                    attempt,
                    seq,
                    kind: kind.as_bytes(),
                    body: body.as_bytes(),
                };
                let hash: Option<Hash> = from_hex(&hash);
                check.entry(&columns, hash);
                let hash = hash.unwrap_or_default();
                insert
                    .execute(params![id, run, at, phase, rolled_back, step, attempt, seq, kind, body, hash])
                    .map_err(sqlite)?;
            }
            Line::Foreign { id, digest } => {
                let digest = from_hex(&digest).ok_or_else(|| wrong(format!("the digest of entry {id} is none")))?;
                check.foreign(id, &digest);
            }
        }
    }
    drop(insert);
    db.execute_batch("COMMIT").map_err(sqlite)?;
    Ok(check.end_with_head())
}
