use super::{
    chain::{self, Columns, Hash},
    entry::{Ending, Entry, Header, Place, Recorded, Resumption, RunId},
    error::{Error, told},
    file, head,
    legal::History,
    memory::Kept,
    reader::{self, Reader},
    room::Room,
};
use crate::crash;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// A note waits at most this long for a durable entry to ride with.
const PATIENCE: Duration = Duration::from_millis(200);

/// A durable entry waits for those of other steps half as long as a commit takes, within these bounds: long enough for a step
/// that was just answered to come again, too short to be noticed when it does not.
const COMPANY: [Duration; 2] = [Duration::from_micros(80), Duration::from_millis(2)];

/// Where a commit takes less than this, falling asleep and being woken would cost who waits for it as much again.
const QUICK: Duration = Duration::from_micros(300);

enum Message {
    Durable(Recorded, oneshot::Sender<Result<(), Error>>),
    Note(Recorded),
    Flush(oneshot::Sender<Result<(), Error>>),
}

/// Called with every entry, durable ones after they are.
pub type Listener = Arc<dyn Fn(&Recorded) + Send + Sync>;

/// The writing end.
pub struct Journal {
    path: PathBuf,
    /// When the run began, as its first entry says.
    began: i64,
    to: To,
    /// Microseconds that the last commit took.
    pace: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

enum To {
    Writer(mpsc::Sender<Message>),
    /// Of a simulated run.
    Memory(Kept),
}

impl Journal {
    /// Of a run in a simulated world, which leaves nothing behind.
    pub fn simulated(run: RunId, header: Header) -> Self {
        let started = Recorded::now(run, &Place::new("", false, "", 0), 0, Entry::RunStarted(header));
        let (began, kept) = (started.at, Kept::default());
        kept.keep(started);
        Self { path: PathBuf::new(), began, to: To::Memory(kept), pace: Arc::default(), thread: None }
    }

    /// What a simulated run has come to so far; nothing of any other.
    pub fn kept(&self) -> Vec<Arc<Recorded>> {
        match &self.to {
            To::Writer(_) => Vec::new(),
            To::Memory(kept) => kept.all(),
        }
    }

    /// A simulated run goes on from where it, or one that began alike, had come to this; any other stays as it is.
    pub fn go_back(&self, entries: Vec<Arc<Recorded>>) {
        if let To::Memory(kept) = &self.to {
            kept.go_back(entries);
        }
    }

    /// Opens or makes the file, and begins a run: its number is the next free one, its header is on disk on return.
    pub fn begin(path: &Path, header: Header, listener: Listener) -> Result<(Self, RunId), Error> {
        let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
        let mut db = file::open(path)?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        let run = next_run(&tx).map_err(sqlite)?.ok_or_else(|| Error::Illegal("another run".into()))?;
        let mut history = History::default();
        let started = first(&tx, run, Entry::RunStarted(header), &mut history, path)?;
        tx.commit().map_err(sqlite)?;
        sign(&db, path, started.id);
        listener(&started);
        Ok((Self::serve(db, path, run, history, listener, started.at)?, run))
    }

    /// Goes on with a run that has not come to its end.
    pub fn resume(path: &Path, run: RunId, resumption: Resumption, listener: Listener) -> Result<Self, Error> {
        let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
        let mut db = file::open(path)?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        let mut history = History::default();
        let mut began = None;
        for recorded in Reader::open(path)?.stream(run, 0) {
            let recorded = recorded?;
            history.admit(run, &recorded.place, recorded.seq, &recorded.entry)?;
            began = began.or(Some(recorded.at));
        }
        let began = began.ok_or(Error::NoRun(run))?;
        let resumed = first(&tx, run, Entry::RunResumed(resumption), &mut history, path)?;
        tx.commit().map_err(sqlite)?;
        sign(&db, path, resumed.id);
        listener(&resumed);
        Self::serve(db, path, run, history, listener, began)
    }

    /// Writes the end of a run whose process is gone, and which nobody goes on with.
    pub fn conclude(path: &Path, run: RunId, ending: Ending) -> Result<(), Error> {
        let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
        let mut db = file::open(path)?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        let mut history = History::default();
        for recorded in Reader::open(path)?.stream(run, 0) {
            let recorded = recorded?;
            history.admit(run, &recorded.place, recorded.seq, &recorded.entry)?;
        }
        let ended = first(&tx, run, Entry::RunEnded(ending), &mut history, path)?;
        crash::point("before the end of a run that was cut off");
        tx.commit().map_err(sqlite)?;
        crash::point("after the end of a run that was cut off");
        sign(&db, path, ended.id);
        Ok(())
    }

    fn serve(
        db: Connection,
        path: &Path,
        run: RunId,
        history: History,
        listener: Listener,
        began: i64,
    ) -> Result<Self, Error> {
        let (queue, inbox) = mpsc::channel();
        let pace = Arc::new(AtomicU64::new(u64::MAX));
        let last = Last { pace: pace.clone(), ..Last::default() };
        let file = path.to_owned();
        let thread = thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                let room = Room::of(&db);
                Writer { db, room, path: file, run, history, notes: Vec::new(), listener, last }.serve(&inbox);
            })
            .map_err(|_| Error::Closed)?;
        Ok(Self { path: path.to_owned(), began, to: To::Writer(queue), pace, thread: Some(thread) })
    }

    /// Returns when the entry is on disk, with the moment that stands in it.
    pub async fn append(&self, run: RunId, place: &Place, seq: u32, entry: Entry) -> Result<i64, Error> {
        let recorded = Recorded::now(run, place, seq, entry);
        let at = recorded.at;
        self.write(recorded).await.map(|()| at)
    }

    /// As `append`, of an entry whose writer remembers it too.
    pub async fn write(&self, entry: Recorded) -> Result<(), Error> {
        if let To::Memory(kept) = &self.to {
            kept.keep(entry);
            return Ok(());
        }
        let (reply, done) = oneshot::channel();
        self.send(Message::Durable(entry, reply))?;
        self.answer(done).await
    }

    /// Stays awake for an answer that will come soon.
    async fn answer(&self, mut done: oneshot::Receiver<Result<(), Error>>) -> Result<(), Error> {
        let usual = Duration::from_micros(self.pace.load(Ordering::Relaxed));
        let until = Instant::now() + if usual < QUICK { usual * 2 } else { Duration::ZERO };
        let mut looks = 0;
        while Instant::now() < until {
            match done.try_recv() {
                Ok(result) => return result,
                Err(TryRecvError::Closed) => return Err(Error::Closed),
                // First whoever else has something to do on this thread, other steps that append say; then the writer's thread.
                Err(TryRecvError::Empty) if looks < 4 => tokio::task::yield_now().await,
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
            looks += 1;
        }
        done.await.map_err(|_| Error::Closed)?
    }

    /// Becomes durable with the next `append`, or shortly after.
    pub fn note(&self, run: RunId, place: &Place, seq: u32, entry: Entry) {
        // A closed writer is found out by the next `append`.
        let noted = Recorded::now(run, place, seq, entry);
        match &self.to {
            To::Memory(kept) => kept.keep(noted),
            To::Writer(_) => drop(self.send(Message::Note(noted))),
        }
    }

    /// Everything that was noted is on disk.
    pub async fn flush(&self) -> Result<(), Error> {
        if let To::Memory(_) = &self.to {
            return Ok(());
        }
        let (reply, done) = oneshot::channel();
        self.send(Message::Flush(reply))?;
        done.await.map_err(|_| Error::Closed)?
    }

    /// The number of the entry with which an operation began, and what it wrote down before its point of no return.
    pub fn begun(&self, run: RunId, place: &Place, seq: u32) -> Result<(i64, Vec<serde_json::Value>), Error> {
        if let To::Memory(kept) = &self.to {
            return Ok((kept.begun(place, seq), Vec::new()));
        }
        let (mut number, mut evidence) = (0, Vec::new());
        for recorded in Reader::open(&self.path)?.stream(run, 0) {
            let recorded = recorded?;
            match recorded.entry {
                _ if recorded.place != *place || recorded.seq != seq => {}
                Entry::Intent(_) => number = recorded.id,
                Entry::Evidence { data } => evidence.push(data),
                _ => {}
            }
        }
        Ok((number, evidence))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn began(&self) -> i64 {
        self.began
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        match &self.to {
            To::Writer(queue) => queue.send(message).map_err(|_| Error::Closed),
            To::Memory(_) => Err(Error::Closed),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing the queue lets the writer commit what it holds and end.
        let (closed, _) = mpsc::channel();
        self.to = To::Writer(closed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The entry with which a process takes up a run, or writes its end.
fn first(db: &Connection, run: RunId, entry: Entry, history: &mut History, path: &Path) -> Result<Recorded, Error> {
    let place = Place::new("", false, "", 0);
    let mut recorded = Recorded::now(run, &place, 0, entry);
    history.admit(run, &place, 0, &recorded.entry)?;
    let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
    insert(db, std::slice::from_mut(&mut recorded)).map_err(sqlite)?;
    Ok(recorded)
}

pub fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::RunStarted(_) => "run-started",
        Entry::RunEnded(_) => "run-ended",
        Entry::RunResumed(_) => "run-resumed",
        Entry::TurnedBack { .. } => "turned-back",
        Entry::Assessed { .. } => "assessed",
        Entry::Planned { .. } => "planned",
        Entry::StepStarted => "step-started",
        Entry::StepEnded { .. } => "step-ended",
        Entry::Intent(_) => "intent",
        Entry::Evidence { .. } => "evidence",
        Entry::Decided { .. } => "decided",
        Entry::Outcome { .. } => "outcome",
        Entry::Observed { .. } => "observed",
        Entry::Denied { .. } => "denied",
        Entry::Printed { .. } => "printed",
        Entry::Telling { .. } => "telling",
        Entry::Told { .. } => "told",
        Entry::Said { .. } => "said",
    }
}

/// The head may lag behind the chain, so what keeps it from being written keeps nothing else from going on.
fn sign(db: &Connection, path: &Path, entry: i64) {
    match head::advance(db, path, entry) {
        Ok(()) => {}
        Err(error @ Error::Rewritten { .. }) => tracing::error!(%error, "the journal's head is not signed"),
        Err(error) => tracing::warn!(%error, "the journal's head is not signed"),
    }
}

fn next_run(db: &Connection) -> rusqlite::Result<Option<RunId>> {
    let sql = format!("SELECT max(run) FROM entry WHERE {} AND kind = 'run-started'", file::MARKED);
    let newest: Option<i64> = db.query_row(&sql, [], |r| r.get(0))?;
    Ok(newest.unwrap_or(0).checked_add(1).and_then(|run| RunId::try_from(run).ok()))
}

/// Within a transaction: other processes write to the chain too, so what comes next follows what stands there now.
fn insert(db: &Connection, entries: &mut [Recorded]) -> rusqlite::Result<()> {
    let last = db
        .prepare_cached("SELECT id, hash FROM entry ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Hash>(1)?)))
        .optional()?;
    let (mut id, mut hash) = last.unwrap_or_else(|| (0, chain::genesis()));
    let mut statement = db.prepare_cached(
        "INSERT INTO entry(id, run, at, phase, rolled_back, step, attempt, seq, kind, body, hash) \
         VALUES (?,?,?,?,?,?,?,?,?,?,?)",
    )?;
    for r in entries {
        let body = serde_json::to_string(&r.entry).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        id = id.checked_add(1).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, id))?;
        let columns = Columns {
            id,
            run: r.run as i64,
            at: r.at,
            phase: r.place.phase.as_bytes(),
            rolled_back: r.place.rolled_back.into(),
            step: r.place.step.as_bytes(),
            attempt: r.place.attempt.into(),
            seq: r.seq.into(),
            kind: kind(&r.entry).as_bytes(),
            body: body.as_bytes(),
        };
        hash = chain::link(&hash, &columns.digest());
        statement.execute(params![
            id,
            columns.run,
            r.at,
            r.place.phase,
            columns.rolled_back,
            r.place.step,
            columns.attempt,
            columns.seq,
            kind(&r.entry),
            body,
            hash
        ])?;
        r.id = id;
    }
    Ok(())
}

/// What the thread owns.
struct Writer {
    db: Connection,
    room: Room,
    path: PathBuf,
    run: RunId,
    history: History,
    /// Not on disk yet; listeners know them already.
    notes: Vec<Recorded>,
    listener: Listener,
    last: Last,
}

/// The last commit.
#[derive(Default)]
struct Last {
    took: Duration,
    /// The same, for those who wait for the next one.
    pace: Arc<AtomicU64>,
    /// How many durable entries it answered.
    answered: usize,
    /// What came while it was on its way.
    meanwhile: Vec<Message>,
}

/// What goes to the disk together.
#[derive(Default)]
struct Batch {
    entries: Vec<Recorded>,
    /// Positions of the durable ones, and who waits for them.
    durable: Vec<(usize, oneshot::Sender<Result<(), Error>>)>,
    flushed: Vec<oneshot::Sender<Result<(), Error>>>,
}

/// To fall asleep and be woken takes longer than a fast disk does.
const AWAKE: Duration = Duration::from_micros(100);

fn soon(inbox: &mpsc::Receiver<Message>) -> Option<Message> {
    let until = Instant::now() + AWAKE;
    loop {
        match inbox.try_recv() {
            Ok(message) => return Some(message),
            Err(_) if Instant::now() >= until => return None,
            Err(_) => thread::yield_now(),
        }
    }
}

impl Writer {
    /// Takes what waits, puts it into one transaction, answers when it is on disk.
    fn serve(mut self, inbox: &mpsc::Receiver<Message>) {
        let mut oldest_note = None;
        loop {
            let mut batch = Batch::default();
            let meanwhile = std::mem::take(&mut self.last.meanwhile);
            let (mut late, mut closed) = (false, false);
            let idle = meanwhile.is_empty();
            meanwhile.into_iter().for_each(|message| self.take(message, &mut batch));
            let expected = self.last.answered + batch.durable.len();
            // Of several that were just answered, one comes at once.
            let soon = if idle && self.last.answered > 1 { soon(inbox) } else { None };
            let idle = idle && soon.is_none();
            soon.into_iter().for_each(|message| self.take(message, &mut batch));
            if idle {
                let message = match oldest_note.map(|since: Instant| PATIENCE.saturating_sub(since.elapsed())) {
                    None => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                    Some(patience) => inbox.recv_timeout(patience),
                };
                closed = matches!(message, Err(mpsc::RecvTimeoutError::Disconnected));
                late = message.is_err();
                message.into_iter().for_each(|message| self.take(message, &mut batch));
            }
            inbox.try_iter().for_each(|message| self.take(message, &mut batch));
            self.company(expected, &mut batch, inbox);
            if late || !batch.durable.is_empty() || !batch.flushed.is_empty() {
                self.commit(batch, inbox);
            }
            if closed {
                return;
            }
            // A note that could not be written is tried again.
            oldest_note =
                if self.notes.is_empty() { None } else { oldest_note.filter(|_| !late).or(Some(Instant::now())) };
        }
    }

    /// Steps that append at once would else take turns, one waiting while the other's entry is on its way, and share nothing. A
    /// step appends one entry at a time, so at work are those that were just answered and those that came meanwhile.
    fn company(&mut self, expected: usize, batch: &mut Batch, inbox: &mpsc::Receiver<Message>) {
        let until = Instant::now() + (self.last.took / 2).clamp(COMPANY[0], COMPANY[1]);
        while !batch.durable.is_empty() && batch.durable.len() < expected && batch.flushed.is_empty() {
            if let Some(message) = soon(inbox) {
                self.take(message, batch);
                continue;
            }
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => self.take(message, batch),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, message: Message, batch: &mut Batch) {
        let (entry, reply) = match message {
            Message::Note(entry) => (entry, None),
            Message::Durable(entry, reply) => (entry, Some(reply)),
            Message::Flush(reply) => return batch.flushed.push(reply),
        };
        match (self.history.admit(entry.run, &entry.place, entry.seq, &entry.entry), reply) {
            (Ok(()), Some(reply)) => {
                // Notes that came before stand before.
                batch.entries.append(&mut self.notes);
                batch.durable.push((batch.entries.len(), reply));
                batch.entries.push(entry);
            }
            (Ok(()), None) => {
                (self.listener)(&entry);
                self.notes.push(entry);
            }
            (Err(error), Some(reply)) => {
                let _ = reply.send(Err(error));
            }
            (Err(error), None) => tracing::error!(%error, "a note does not fit the journal"),
        }
    }

    fn commit(&mut self, mut batch: Batch, inbox: &mpsc::Receiver<Message>) {
        batch.entries.append(&mut self.notes);
        let began = Instant::now();
        let written = insert_all(&mut self.db, &mut self.room, &mut batch.entries);
        // Looked for before anybody is answered, who would come again at once.
        let meanwhile = inbox.try_iter().collect();
        let took = began.elapsed();
        self.last.pace.store(took.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.last = Last { took, answered: batch.durable.len(), meanwhile, pace: self.last.pace.clone() };
        match written {
            Ok(()) => {
                if let Some(end) = batch.entries.iter().rfind(|r| matches!(r.entry, Entry::RunEnded(_))) {
                    sign(&self.db, &self.path, end.id);
                }
                for (position, reply) in batch.durable {
                    (self.listener)(&batch.entries[position]);
                    let _ = reply.send(Ok(()));
                }
                for reply in batch.flushed {
                    let _ = reply.send(Ok(()));
                }
            }
            Err(error) => {
                let path = self.path.display().to_string();
                // Whoever waits for it is told; a note is tried again.
                tracing::warn!(%error, path, "the journal cannot be written");
                let reason = told(&error);
                let unwritten = || Error::Unwritten { path: path.clone(), reason: reason.clone() };
                let lost: Vec<usize> = batch.durable.iter().map(|(position, _)| *position).collect();
                let notes = batch.entries.into_iter().enumerate().filter(|(n, _)| !lost.contains(n)).map(|(_, e)| e);
                self.go_back(notes.collect());
                for reply in batch.durable.into_iter().map(|(_, reply)| reply).chain(batch.flushed) {
                    let _ = reply.send(Err(unwritten()));
                }
            }
        }
    }

    /// After a failed commit: the history is what the disk says again, and the notes that still fit it wait on.
    fn go_back(&mut self, notes: Vec<Recorded>) {
        let on_disk = reader::select(&self.db, &self.path, &reader::of_run(), &[&(self.run as i64)]);
        // A journal that cannot be read either admits nothing more.
        self.history = on_disk.and_then(|entries| History::of(&entries)).unwrap_or_default();
        self.notes = notes;
        self.notes.retain(|n| self.history.admit(n.run, &n.place, n.seq, &n.entry).is_ok());
    }
}

fn insert_all(db: &mut Connection, room: &mut Room, entries: &mut [Recorded]) -> rusqlite::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    insert(&tx, entries)?;
    room.make();
    crash::point("before a commit");
    tx.commit()?;
    crash::point("after a commit");
    Ok(())
}
