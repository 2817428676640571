use super::{
    entry::{Entry, FORMAT, Header, Place, Recorded, RunId},
    error::Error,
    legal::History,
};
use rusqlite::{Connection, TransactionBehavior, params};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::oneshot;

/// Marks the file as a Backout journal ("bkot").
const APPLICATION_ID: i64 = 0x626b_6f74;
/// Notes wait this long for a durable entry to ride with.
const IDLE: Duration = Duration::from_millis(200);

const SCHEMA: &str = "
    CREATE TABLE run (id INTEGER PRIMARY KEY AUTOINCREMENT);
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES run(id), at INTEGER NOT NULL,
        phase TEXT NOT NULL, rolled_back INTEGER NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL,
        seq INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL) STRICT;
    CREATE INDEX entry_run ON entry(run, id);
    CREATE INDEX entry_kind ON entry(kind, run) WHERE kind IN ('run-started', 'run-ended', 'step-ended');";

pub fn open(path: &Path) -> Result<Connection, Error> {
    let sqlite = |source| Error::Sqlite { path: path.display().to_string(), source };
    let mut db = Connection::open(path).map_err(sqlite)?;
    db.busy_timeout(Duration::from_secs(10)).map_err(sqlite)?;
    // FULL: the write-ahead log reaches the disk at every commit.
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;")
        .map_err(sqlite)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
    let pragma = |name: &str| tx.query_row(&format!("PRAGMA {name}"), [], |r| r.get::<_, i64>(0)).map_err(sqlite);
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).map_err(sqlite)?;
    match (pragma("application_id")?, pragma("user_version")?) {
        (0, 0) if tables == 0 => {
            let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};");
            tx.execute_batch(SCHEMA).and_then(|()| tx.execute_batch(&stamp)).map_err(sqlite)?;
        }
        (APPLICATION_ID, FORMAT) => {}
        (APPLICATION_ID, found) if found > FORMAT => {
            return Err(Error::TooNew { path: path.display().to_string(), found });
        }
        (APPLICATION_ID, found) => return Err(Error::TooOld { path: path.display().to_string(), found }),
        _ => return Err(Error::Foreign { path: path.display().to_string() }),
    }
    tx.commit().map_err(sqlite)?;
    Ok(db)
}

enum Message {
    Durable(Recorded, oneshot::Sender<Result<(), String>>),
    Note(Recorded),
    Flush(oneshot::Sender<Result<(), String>>),
}

/// Called with every entry, durable ones after they are.
pub type Listener = Arc<dyn Fn(&Recorded) + Send + Sync>;

/// The writing end.
pub struct Journal {
    path: PathBuf,
    queue: mpsc::Sender<Message>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Journal {
    /// Opens or makes the file, and begins a run: its number is the next free one, its header is on disk on return.
    pub fn begin(path: &Path, header: Header, listener: Listener) -> Result<(Self, RunId), Error> {
        let mut db = open(path)?;
        let sqlite = |source| Error::Sqlite { path: path.display().to_string(), source };
        let mut history = History::default();
        let place = Place::new("", false, "", 0);
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        tx.execute("INSERT INTO run DEFAULT VALUES", []).map_err(sqlite)?;
        let run = RunId::try_from(tx.last_insert_rowid()).unwrap_or_default();
        let mut started = recorded(run, &place, 0, Entry::RunStarted(header));
        history.admit(run, &place, 0, &started.entry)?;
        started.id = insert(&tx, &started).map_err(sqlite)?;
        tx.commit().map_err(sqlite)?;
        listener(&started);
        let (queue, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("journal".into())
            .spawn(move || write(&mut db, &mut history, &inbox, &listener))
            .map_err(|_| Error::Closed)?;
        Ok((Self { path: path.to_owned(), queue, thread: Some(thread) }, run))
    }

    /// Returns when the entry is on disk.
    pub async fn append(&self, run: RunId, place: &Place, seq: u32, entry: Entry) -> Result<(), Error> {
        let (reply, done) = oneshot::channel();
        self.send(Message::Durable(recorded(run, place, seq, entry), reply))?;
        done.await.map_err(|_| Error::Closed)?.map_err(Error::Illegal)
    }

    /// Becomes durable with the next `append`, or shortly after.
    pub fn note(&self, run: RunId, place: &Place, seq: u32, entry: Entry) {
        // A closed writer is found out by the next `append`.
        let _ = self.send(Message::Note(recorded(run, place, seq, entry)));
    }

    /// Everything that was noted is on disk.
    pub async fn flush(&self) -> Result<(), Error> {
        let (reply, done) = oneshot::channel();
        self.send(Message::Flush(reply))?;
        done.await.map_err(|_| Error::Closed)?.map_err(Error::Illegal)
    }

    /// What an operation wrote down before its point of no return.
    pub fn evidence(&self, run: RunId, place: &Place, seq: u32) -> Result<Vec<serde_json::Value>, Error> {
        let entries = super::Reader::open(&self.path)?.entries(run)?;
        Ok(entries
            .into_iter()
            .filter(|r| r.place == *place && r.seq == seq)
            .filter_map(|r| match r.entry {
                Entry::Evidence { data } => Some(data),
                _ => None,
            })
            .collect())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.queue.send(message).map_err(|_| Error::Closed)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing the queue lets the writer commit what it holds and end.
        let (closed, _) = mpsc::channel();
        self.queue = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn recorded(run: RunId, place: &Place, seq: u32, entry: Entry) -> Recorded {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Recorded { id: 0, run, at: i64::try_from(now.as_millis()).unwrap_or(i64::MAX), place: place.clone(), seq, entry }
}

pub fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::RunStarted(_) => "run-started",
        Entry::RunEnded(_) => "run-ended",
        Entry::Assessed { .. } => "assessed",
        Entry::Planned { .. } => "planned",
        Entry::StepStarted => "step-started",
        Entry::StepEnded { .. } => "step-ended",
        Entry::Intent(_) => "intent",
        Entry::Evidence { .. } => "evidence",
        Entry::Outcome { .. } => "outcome",
        Entry::Observed { .. } => "observed",
        Entry::Denied { .. } => "denied",
        Entry::Said { .. } => "said",
    }
}

fn insert(db: &Connection, r: &Recorded) -> rusqlite::Result<i64> {
    let body = serde_json::to_string(&r.entry).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    db.prepare_cached(
        "INSERT INTO entry(run, at, phase, rolled_back, step, attempt, seq, kind, body) VALUES (?,?,?,?,?,?,?,?,?)",
    )?
    .execute(params![
        r.run as i64,
        r.at,
        r.place.phase,
        r.place.rolled_back,
        r.place.step,
        r.place.attempt,
        r.seq,
        kind(&r.entry),
        body
    ])?;
    Ok(db.last_insert_rowid())
}

/// Takes what waits, puts it into one transaction, answers when it is on disk.
fn write(db: &mut Connection, history: &mut History, inbox: &mpsc::Receiver<Message>, listener: &Listener) {
    let mut notes: Vec<Recorded> = Vec::new();
    loop {
        let first = match inbox.recv_timeout(IDLE) {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let _ = commit(db, &mut notes, Vec::new(), listener);
                return;
            }
        };
        let mut durable = Vec::new();
        let mut waiting = Vec::new();
        let idle = first.is_none();
        for message in first.into_iter().chain(inbox.try_iter()) {
            let (entry, reply) = match message {
                Message::Note(entry) => (Some(entry), None),
                Message::Durable(entry, reply) => (Some(entry), Some(reply)),
                Message::Flush(reply) => (None, Some(reply)),
            };
            let Some(entry) = entry else {
                waiting.extend(reply);
                continue;
            };
            match (history.admit(entry.run, &entry.place, entry.seq, &entry.entry), reply) {
                (Ok(()), Some(reply)) => {
                    // Notes that came before must stand before.
                    durable.extend(notes.drain(..).map(|n| (n, true)));
                    durable.push((entry, false));
                    waiting.push(reply);
                }
                (Ok(()), None) => {
                    listener(&entry);
                    notes.push(entry);
                }
                (Err(error), Some(reply)) => {
                    let _ = reply.send(Err(error.to_string()));
                }
                (Err(error), None) => tracing::error!(%error, "a note does not fit the journal"),
            }
        }
        if waiting.is_empty() && !(idle && !notes.is_empty()) {
            continue;
        }
        let result = commit(db, &mut notes, durable, listener);
        for reply in waiting {
            let _ = reply.send(result.clone());
        }
    }
}

fn commit(
    db: &mut Connection,
    notes: &mut Vec<Recorded>,
    mut durable: Vec<(Recorded, bool)>,
    listener: &Listener,
) -> Result<(), String> {
    durable.extend(notes.drain(..).map(|n| (n, true)));
    if durable.is_empty() {
        return Ok(());
    }
    let mut all = || -> rusqlite::Result<()> {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (entry, _) in &mut durable {
            entry.id = insert(&tx, entry)?;
        }
        tx.commit()
    };
    all().map_err(|e| e.to_string())?;
    for (entry, told) in &durable {
        if !told {
            listener(entry);
        }
    }
    Ok(())
}
