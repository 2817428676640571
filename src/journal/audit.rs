//! Whether a journal still is what was written: the chain from first to last entry, the lawful order, and what was signed.
use super::{
    chain::{self, Columns, Hash},
    entry::{Entry, Place, RunId},
    error::{Error, plain},
    file::{self, MARKED},
    glance,
    head::{self, Head},
    legal::History,
    writer::kind,
};
use rusqlite::{Connection, types::ValueRef};
use serde::de::IgnoredAny;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    sync::mpsc::{self, TrySendError},
    thread,
};

/// Told of one journal; what follows is counted.
const MOST: usize = 50;

/// A longer body is only looked at as JSON, for what it says could take many times its room.
const LONG_BODY: usize = 16 << 20;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// the number of the entry
    pub entry: Option<i64>,
    pub run: Option<i64>,
    /// `upgrade/install`
    pub place: Option<String>,
    pub what: String,
}

impl Finding {
    fn of_journal(what: impl Into<String>) -> Self {
        Self { entry: None, run: None, place: None, what: plain(&what.into()) }
    }

    fn of(columns: &Columns<'_>, what: impl Into<String>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let title = Place::new(text(columns.phase), false, text(columns.step), 0).title();
        let place = (!title.is_empty()).then(|| plain(&title));
        Self { entry: Some(columns.id), run: Some(columns.run), place, what: plain(&what.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.entry, self.run, &self.place) {
            (Some(entry), Some(run), Some(place)) => write!(f, "entry {entry} (run {run}, {place}): {}", self.what),
            (Some(entry), Some(run), None) => write!(f, "entry {entry} (run {run}): {}", self.what),
            (Some(entry), ..) => write!(f, "entry {entry}: {}", self.what),
            _ => f.write_str(&self.what),
        }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub struct Audit {
    pub entries: u64,
    pub runs: u64,
    /// The last entry that could be read, and its hash.
    pub last: Option<(i64, Hash)>,
    /// What was signed last, and kept beside the journal.
    pub head: Option<Head>,
    pub findings: Vec<Finding>,
    /// So many more were not told.
    pub more: u64,
}

impl Audit {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn found(&mut self, finding: Finding) {
        match self.findings.len() < MOST {
            true => self.findings.push(finding),
            false => self.more += 1,
        }
    }
}

/// Reads all of a journal, an entry at a time. `kept`: heads that were kept elsewhere. `Err`: there is nothing to audit, or this
/// Backout cannot.
pub fn audit(path: &Path, kept: &[Head]) -> Result<Audit, Error> {
    let mut audit = Audit::default();
    // Before the journal, which may grow meanwhile.
    match head::read(&head::head_path(path)) {
        Ok(head) => audit.head = head,
        Err(error) => audit.found(Finding::of_journal(error.to_string())),
    }
    let heads: Vec<Head> = audit.head.iter().chain(kept).cloned().collect();
    let db = match file::open_to_read(path) {
        Ok(db) => db,
        Err(error @ (Error::Altered { .. } | Error::Sqlite { .. })) => {
            audit.found(Finding::of_journal(error.to_string()));
            return Ok(audit);
        }
        Err(error) => return Err(error),
    };
    let mut check = Check::new(chain::genesis(), 0, heads.clone());
    let mut ended = false;
    if let Some(db) = &db {
        let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
        // What is verified is one state of the journal, whoever writes meanwhile.
        db.execute_batch("BEGIN").map_err(sqlite)?;
        // SQLite's own check needs nothing of the other.
        let (damage, read) = thread::scope(|scope| {
            let integrity = scope.spawn(|| integrity(path));
            let read = rows(db, &mut check);
            (integrity.join().unwrap_or(Err(Error::Closed)), read)
        });
        match damage {
            Ok(damage) => damage.into_iter().for_each(|said| check.audit.found(Finding::of_journal(said))),
            Err(error) => check.audit.found(Finding::of_journal(error.to_string())),
        }
        match read.map(|marked| unlike_index(db, marked)) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(what))) => check.audit.found(Finding::of_journal(what)),
            Ok(Err(error)) => check.audit.found(Finding::of_journal(format!("the file is damaged: {error}"))),
            Err(error) => {
                let from = check.id;
                check.audit.found(Finding::of_journal(format!("it cannot be read on behind entry {from}: {error}")));
            }
        }
        ended = check.over.iter().next().is_some();
    }
    let mut all = check.end();
    audit.findings.append(&mut all.findings);
    let audit = &mut Audit { head: audit.head, findings: audit.findings, ..all };
    keys(path, audit, kept, ended);
    Ok(std::mem::take(audit))
}

/// Who has signed.
fn keys(path: &Path, audit: &mut Audit, kept: &[Head], ended: bool) {
    let own = match head::public_key(path) {
        Ok(own) => own,
        Err(error) => return audit.found(Finding::of_journal(error.to_string())),
    };
    let signed_by = audit.head.as_ref().map(|head| head.key);
    if let (Some(own), Some(key)) = (own, signed_by)
        && own != key
    {
        audit.found(Finding::of_journal("the head beside the journal was not signed with the key beside it"));
    }
    if kept.iter().any(|head| signed_by.or(own).is_some_and(|key| key != head.key)) {
        audit.found(Finding::of_journal("the journal is signed with another key than the head that was kept"));
    }
    let is_there = head::head_path(path).symlink_metadata().is_ok();
    if ended && !is_there {
        let what =
            "there is no signed head beside the journal, although runs have ended: it was removed, or never written";
        audit.found(Finding::of_journal(what));
    }
}

/// All but whether the index fits: `unlike_index` tells, in half the time, what of that a query could come upon.
fn integrity(path: &Path) -> Result<Vec<String>, Error> {
    let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
    let Some(db) = file::open_to_read(path)? else { return Ok(Vec::new()) };
    let mut statement = db.prepare("PRAGMA quick_check(10)").map_err(sqlite)?;
    let said = statement.query_map([], |row| row.get::<_, String>(0)).map_err(sqlite)?;
    let said = said.filter(|said| !matches!(said, Ok(said) if said == "ok"));
    said.map(|said| said.map(|said| format!("the file is damaged: {said}")).map_err(sqlite)).collect()
}

/// The index of where runs begin and end has nothing that is not so in the table, and as much of it: `marked` entries.
fn unlike_index(db: &Connection, marked: i64) -> rusqlite::Result<Option<String>> {
    let index = format!("(SELECT id, run, kind FROM entry INDEXED BY entry_mark WHERE {MARKED})");
    let number = |sql: String| db.query_row(&sql, [], |row| row.get::<_, i64>(0));
    let held = number(format!("SELECT count(*) FROM {index}"))?;
    let fit = number(format!(
        "SELECT count(*) FROM {index} i JOIN entry e NOT INDEXED ON e.id = i.id AND e.run = i.run AND e.kind = i.kind"
    ))?;
    let unlike = (held, fit) != (marked, marked);
    Ok(unlike
        .then(|| format!("the file is damaged: its index has {held} entries, and {fit} of the {marked} in the table")))
}

/// The columns in the order of the chain, and the hash.
pub const SELECT: &str = "SELECT id, run, at, phase, rolled_back, step, attempt, seq, kind, body, hash FROM entry";

/// Entries that are handed on at once.
#[derive(Default)]
struct Batch {
    /// The entries' sums, one behind the other.
    sums: Vec<u8>,
    rows: Vec<Row>,
}

enum Row {
    /// Where its sum ends, its digest once that is reckoned, and the hash that stands beside it.
    Entry { end: usize, digest: Option<Hash>, stored: Option<Hash> },
    /// Its columns do not hold what belongs there.
    Strange { id: i64 },
}

impl Batch {
    /// Bytes of entries, unless one alone has more.
    const FULL: usize = 512 << 10;

    fn is_full(&self) -> bool {
        self.sums.len() >= Self::FULL || self.rows.len() >= Self::FULL / 256
    }

    /// Whether it is one that the index has.
    fn add(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<bool> {
        let Some(columns) = columns(row)? else {
            self.rows.push(Row::Strange { id: row.get(0).unwrap_or_default() });
            return Ok(false);
        };
        let stored = row.get_ref(10)?.as_blob().ok().and_then(|hash| Hash::try_from(hash).ok());
        columns.sum(&mut self.sums);
        self.rows.push(Row::Entry { end: self.sums.len(), digest: None, stored });
        Ok(file::MARKS.contains(&columns.kind))
    }

    /// Of all of them, unless it is done.
    fn digest(&mut self) {
        let mut begin = 0;
        for row in &mut self.rows {
            if let Row::Entry { end, digest, .. } = row {
                digest.get_or_insert_with(|| chain::digest(&self.sums[begin..*end]));
                begin = *end;
            }
        }
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.sums.clear();
        self.sums.shrink_to(2 * Self::FULL);
    }
}

/// One thread reads, another hashes, follows the chain and looks at what the entries say. How many are in the index.
fn rows(db: &Connection, check: &mut Check) -> rusqlite::Result<i64> {
    let (batches, inbox) = mpsc::sync_channel::<Batch>(2);
    let (emptied, empty) = mpsc::channel();
    // With what it moves in here the queue is closed, and the other thread ends.
    thread::scope(move |scope| {
        scope.spawn(move || {
            for mut batch in inbox {
                batch.digest();
                check.batch(&batch);
                batch.clear();
                // Once all is read nobody takes it.
                let _ = emptied.send(batch);
            }
        });
        let mut statement = db.prepare(&format!("{SELECT} ORDER BY id"))?;
        let mut rows = statement.query([])?;
        let mut marked = 0;
        let mut read = |batch: &mut Batch| -> rusqlite::Result<bool> {
            while !batch.is_full() {
                let Some(row) = rows.next()? else { return Ok(false) };
                marked += i64::from(batch.add(row)?);
            }
            Ok(true)
        };
        loop {
            let mut batch = empty.try_recv().unwrap_or_default();
            let more = read(&mut batch);
            let taken = match batches.try_send(batch) {
                // Whoever would wait takes that over.
                Err(TrySendError::Full(mut batch)) => {
                    batch.digest();
                    batches.send(batch).is_ok()
                }
                sent => sent.is_ok(),
            };
            match more {
                Ok(true) if taken => {}
                Ok(_) => return Ok(marked),
                Err(error) => return Err(error),
            }
        }
    })
}

/// `None`: they do not hold what belongs there.
pub fn columns<'r>(row: &'r rusqlite::Row<'_>) -> rusqlite::Result<Option<Columns<'r>>> {
    let number = |column| {
        row.get_ref(column).map(|value| match value {
            ValueRef::Integer(number) => Some(number),
            _ => None,
        })
    };
    let text = |column| {
        row.get_ref(column).map(|value| match value {
            ValueRef::Text(text) => Some(text),
            _ => None,
        })
    };
    let (id, run, at, rolled_back, attempt, seq) =
        (number(0)?, number(1)?, number(2)?, number(4)?, number(6)?, number(7)?);
    let (phase, step, kind, body) = (text(3)?, text(5)?, text(8)?, text(9)?);
    let read = || {
        Some(Columns {
            id: id?,
            run: run?,
            at: at?,
            phase: phase?,
            rolled_back: rolled_back?,
            step: step?,
            attempt: attempt?,
            seq: seq?,
            kind: kind?,
            body: body?,
        })
    };
    Ok(read())
}

/// Verifies one entry after the other.
pub struct Check {
    pub audit: Audit,
    heads: Vec<Head>,
    /// of the entry before
    hash: Hash,
    id: i64,
    /// Runs that can go on.
    open: BTreeMap<i64, History>,
    over: BTreeSet<i64>,
    /// Where something is missing, what follows is out of order too, and that is no finding of its own.
    broken: bool,
    /// Runs of whose order something was found already.
    confused: BTreeSet<i64>,
    /// of the entry before
    place: Place,
}

impl Check {
    /// From behind an entry with this hash and number.
    pub fn new(hash: Hash, id: i64, heads: Vec<Head>) -> Self {
        Self {
            audit: Audit::default(),
            heads,
            hash,
            id,
            open: BTreeMap::new(),
            over: BTreeSet::new(),
            broken: false,
            confused: BTreeSet::new(),
            place: Place::new("", false, "", 0),
        }
    }

    fn batch(&mut self, batch: &Batch) {
        let mut begin = 0;
        for row in &batch.rows {
            match *row {
                Row::Entry { end, digest, stored } => {
                    if let (Some(columns), Some(digest)) = (Columns::of_sum(&batch.sums[begin..end]), digest) {
                        self.summed(&columns, &digest, stored);
                    }
                    begin = end;
                }
                Row::Strange { id } => {
                    let what = "it cannot be read: its columns do not hold what belongs there";
                    self.audit.found(Finding { entry: Some(id), run: None, place: None, what: what.into() });
                    self.skip(id);
                }
            }
        }
    }

    /// The next one, with the hash that stands beside it.
    pub fn entry(&mut self, columns: &Columns<'_>, stored: Option<Hash>) {
        self.summed(columns, &columns.digest(), stored);
    }

    fn summed(&mut self, columns: &Columns<'_>, digest: &Hash, stored: Option<Hash>) {
        self.audit.entries += 1;
        self.gap(columns.id);
        let hash = chain::link(&self.hash, digest);
        if stored != Some(hash) && columns.id == self.id.saturating_add(1) {
            let what = "its hash does not fit: it was altered, moved or put in, or what stands before it was";
            self.audit.found(Finding::of(columns, what));
            self.broken = true;
        }
        // What follows is held against what stands here, so that one change is one finding.
        self.step(columns.id, stored.unwrap_or(hash));
        if let Err(what) = self.read(columns) {
            self.audit.found(Finding::of(columns, what));
        }
    }

    /// The next one, of which only the digest is known.
    pub fn foreign(&mut self, id: i64, digest: &Hash) {
        self.gap(id);
        let hash = chain::link(&self.hash, digest);
        self.step(id, hash);
    }

    /// One of which nothing is known but its number: what follows it is verified with it.
    fn skip(&mut self, id: i64) {
        self.broken = true;
        self.audit.entries += 1;
        self.gap(id);
        self.id = id;
    }

    fn gap(&mut self, id: i64) {
        let next = self.id.saturating_add(1);
        if id == next {
            return;
        }
        self.broken = true;
        let (entry, what) = match id.saturating_sub(1) {
            last if last < next => (id, "its number is out of order".to_owned()),
            last if last == next => (next, "it is gone".to_owned()),
            last => (next, format!("it is gone, and so are all up to entry {last}")),
        };
        self.audit.found(Finding { entry: Some(entry), run: None, place: None, what });
    }

    fn step(&mut self, id: i64, hash: Hash) {
        for head in self.heads.iter().filter(|head| head.entry == id && head.hash != hash) {
            let what =
                format!("it is not what was signed as entry {id}: it, or what stands before it, was written anew");
            self.audit.found(Finding { entry: Some(head.entry), run: None, place: None, what });
        }
        (self.id, self.hash) = (id, hash);
        self.audit.last = Some((id, hash));
    }

    /// What it says, and whether it may stand here.
    fn read(&mut self, columns: &Columns<'_>) -> Result<(), String> {
        let unreadable = |reason: String| format!("it cannot be read: {reason}");
        if columns.body.len() > LONG_BODY {
            return serde_json::from_slice::<IgnoredAny>(columns.body).map(drop).map_err(|e| unreadable(e.to_string()));
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|e| unreadable(e.to_string()));
        let number = |number: i64| u32::try_from(number).map_err(|_| unreadable(format!("{number} is out of range")));
        let glanced = glance::reads_as(columns.kind, columns.body);
        let entry = if glanced { None } else { Some(self.read_in_earnest(columns)?) };
        let run = RunId::try_from(columns.run).map_err(|_| unreadable(format!("there is no run {}", columns.run)))?;
        // Mostly it is the place of the entry before.
        if !self.is_at(columns) {
            self.place = Place {
                phase: text(columns.phase)?,
                rolled_back: columns.rolled_back != 0,
                step: text(columns.step)?,
                attempt: number(columns.attempt)?,
            };
        }
        let seq = number(columns.seq)?;
        if self.over.contains(&columns.run) {
            let told = self.broken || !self.confused.insert(columns.run);
            return if told { Ok(()) } else { Err(format!("it stands behind the end of run {run}")) };
        }
        let history = self.open.entry(columns.run).or_default();
        if matches!(entry, Some(Entry::RunStarted(_))) {
            self.audit.runs += 1;
        }
        let admitted = match &entry {
            Some(entry) => history.admit(run, &self.place, seq, entry),
            None => history.admit_kind(run, &self.place, seq, columns.kind).unwrap_or(Ok(())),
        };
        if admitted.is_err() && !self.broken && self.confused.insert(columns.run) {
            admitted.map_err(|error| format!("it is out of order: {error}"))?;
        }
        if history.is_over(run) {
            self.open.remove(&columns.run);
            self.over.insert(columns.run);
        }
        Ok(())
    }

    fn is_at(&self, columns: &Columns<'_>) -> bool {
        let Place { phase, rolled_back, step, attempt } = &self.place;
        (phase.as_bytes(), step.as_bytes()) == (columns.phase, columns.step)
            && (i64::from(*rolled_back), i64::from(*attempt)) == (columns.rolled_back, columns.attempt)
    }

    fn read_in_earnest(&self, columns: &Columns<'_>) -> Result<Entry, String> {
        let unreadable = |reason: String| format!("it cannot be read: {reason}");
        let entry: Entry = serde_json::from_slice(columns.body).map_err(|e| unreadable(e.to_string()))?;
        if columns.kind != kind(&entry).as_bytes() {
            let said = String::from_utf8_lossy(columns.kind);
            return Err(unreadable(format!("it is called `{said}`, and is `{}`", kind(&entry))));
        }
        Ok(entry)
    }

    /// Nothing follows, and everything is signed.
    pub fn end_with_head(mut self) -> Audit {
        if self.heads.iter().all(|head| head.entry < self.id) {
            self.audit.found(Finding::of_journal("what stands behind the signed head is not signed"));
        }
        self.end()
    }

    /// Nothing follows.
    pub fn end(mut self) -> Audit {
        for head in std::mem::take(&mut self.heads) {
            if head.entry > self.id {
                let what =
                    format!("entry {} was signed, and the journal ends with entry {}: cut off", head.entry, self.id);
                self.audit.found(Finding::of_journal(what));
            }
        }
        self.audit
    }
}
