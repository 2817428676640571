//! A copy in a repository. A stand-by is made and proven as ever, written into the repository as statements that make it again, and
//! dropped; what they make when they are read back from there is compared with what the stand-by held, and dropped as well. When it is
//! needed it is made once more, compared again, and exchanged as any other.
//!
//! On the server only a row stays, in `backout.archives`: the mark by which all archives of the copy are known in the repository.
//! Whatever a killed process leaves is found by it.
//!
//! Before each statement stands how long it is, in a comment: so the server's own client reads the file as well as Backout, which
//! looks into none of it.
use super::super::{
    super::archives::{self, Note, joined, known, open},
    MariaDb,
    connection::{OWN, Session, Use, literal, quoted},
    error::told,
    own::{self, Copy, Phase},
};
use super::{
    content::{self, News, values},
    declared,
    exchange::nobody,
    inspect as inspect_standby, of, proven,
    standby::{self, alone, drop_copy, warm},
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Fingerprint, Lost, Snapshot},
    process::blocking,
    repository::{Archive, For, Opened, Repository, file::Bytes, id_of},
};
use mysql_async::prelude::Queryable;
use std::{
    io::{self, Read, Write},
    sync::Arc,
};
use tokio::sync::mpsc;

/// Statements on their way.
const AT_ONCE: usize = 4;
/// What one statement brings. A longer row comes alone.
const ENOUGH: usize = 1 << 20;

async fn mark_of(session: &mut Session, live: &str, id: &str) -> Result<Option<String>, Failure> {
    let (of, id) = (literal(live), literal(id));
    session.one(format!("SELECT mark FROM backout.archives WHERE of = {of} AND id = {id}")).await
}

async fn ready(session: &mut Session) -> Result<(), Failure> {
    let table = "CREATE TABLE IF NOT EXISTS backout.archives (of VARCHAR(64) NOT NULL, id VARCHAR(255) NOT NULL, \
        mark VARCHAR(64) NOT NULL, PRIMARY KEY (of, id)) ENGINE=InnoDB";
    session.run(table).await.map(|_| ())
}

async fn write_mark(session: &mut Session, live: &str, id: &str, mark: &str) -> Result<(), Failure> {
    let values = [live, id, mark].map(literal).join(", ");
    session.run(format!("INSERT INTO backout.archives (of, id, mark) VALUES ({values})")).await.map(|_| ())
}

async fn drop_mark(session: &mut Session, live: &str, id: &str) -> Result<(), Failure> {
    let (of, id) = (literal(live), literal(id));
    session.run(format!("DELETE FROM backout.archives WHERE of = {of} AND id = {id}")).await.map(|_| ())
}

/// `again`: the journal names an earlier archive until this one is written down, so that stays until the copy is freed.
pub async fn take(
    maria: &MariaDb,
    id: &str,
    again: bool,
    repository: &Repository,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    // Before anything is read: it may be away, or its password another.
    let opened = open(repository, For::Writing).await?;
    let live = &maria.server.database;
    let mut session = alone(maria, call).await?;
    ready(&mut session).await?;
    let before = mark_of(&mut session, live, id).await?;
    let fresh = before.is_none();
    let mark = archives::marked(&opened, before).await?;
    if fresh {
        write_mark(&mut session, live, id, &mark).await?;
    }
    session.close().await;
    let taken = Box::pin(standby::take(maria, id, call)).await;
    let mut session = alone(maria, call).await?;
    let made = match taken {
        Ok(taken) => {
            let made = Box::pin(make(maria, &mut session, &opened, &mark, &taken, call)).await;
            made.map(|archive| (archive, taken))
        }
        Err(failure) => Err(failure),
    };
    let dropped = drop_standby(&mut session, live, id).await;
    if made.is_err() && fresh && archives::none_left(&opened, &mark).await {
        drop_mark(&mut session, live, id).await?;
    }
    session.close().await;
    let (archive, taken) = made?;
    dropped?;
    Ok(archives::snapshot(taken, &archive, repository, again))
}

/// What is live, or aside, stays.
async fn drop_standby(session: &mut Session, live: &str, id: &str) -> Result<(), Failure> {
    if let Some(copy) = own::copy(session, live, id).await?
        && matches!(copy.phase, Phase::Making | Phase::StandBy)
    {
        drop_copy(session, &copy.standby).await?;
        own::forget(session, live, id).await?;
    }
    Ok(())
}

/// Writes the stand-by, and has it made again by what is read back.
async fn make(
    maria: &MariaDb,
    session: &mut Session,
    opened: &Arc<Opened>,
    mark: &str,
    taken: &Snapshot,
    call: &CallCtx,
) -> Result<Archive, Failure> {
    let live = &maria.server.database;
    let copy = own::copy(session, live, &taken.id).await?.ok_or_else(|| Failure::unproven("the copy is gone"))?;
    let standby = copy.standby.clone();
    let note = Note::new(&taken.fingerprint, copy)?;
    let (sender, receiver) = mpsc::channel(AT_ONCE);
    let received = Received { receiver, statement: Vec::new(), read: 0 };
    let writing = archives::writing(opened, &file(live), (live, &taken.id, mark, note.text()?), received);
    let sent = send(maria, &standby, &sender, call).await;
    drop(sender);
    let archive = archives::written(opened, writing, sent).await?;
    // In its place, so that both never need room at once.
    let back = match drop_standby(session, live, &taken.id).await {
        Ok(()) => bring_back(maria, session, opened, (&archive, &note.of, taken), call).await,
        Err(failure) => Err(failure),
    };
    archives::proven(opened, &archive, note, back).await
}

fn file(live: &str) -> String {
    format!("{live}.sql")
}

fn framed(statement: &[u8]) -> Vec<u8> {
    let mut framed = format!("-- {}\n", statement.len()).into_bytes();
    framed.extend_from_slice(statement);
    framed.extend_from_slice(b";\n");
    framed
}

/// What comes through a channel, for one who reads.
struct Received {
    receiver: mpsc::Receiver<Vec<u8>>,
    statement: Vec<u8>,
    read: usize,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.statement.len() {
            match self.receiver.blocking_recv() {
                Some(statement) => (self.statement, self.read) = (statement, 0),
                None => return Ok(0),
            }
        }
        let rest = self.statement.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        Ok(count)
    }
}

/// All of a database that nobody writes, as statements.
async fn send(maria: &MariaDb, schema: &str, sender: &mpsc::Sender<Vec<u8>>, call: &CallCtx) -> Result<(), Failure> {
    let mut reader = maria.connect(Use::Looking, call).await?;
    let most = reader.number("SELECT @@GLOBAL.max_allowed_packet").await?;
    let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(1 << 10);
    let gone = |_| Failure::failed("the repository takes no more");
    let begin = [format!("SET NAMES utf8mb4, {OWN}")].into_iter();
    let texts = declared::tables(&mut reader, schema).await?.into_iter().map(|(_, text)| text);
    for statement in begin.chain(texts).chain(["SET NAMES binary".to_owned()]) {
        sender.send(framed(statement.as_bytes())).await.map_err(gone)?;
    }
    let tables = content::tables(&mut reader, schema).await?;
    content::moment(&mut reader).await?;
    let mut news = News::new("archiving", &tables, call);
    for table in &tables {
        let begin = format!("INSERT INTO {} ({}) VALUES ", quoted(&table.name), table.names());
        let mut statement = Vec::new();
        let mut rows = reader.raw().query_iter(table.select(schema)).await.map_err(told)?;
        while let Some(row) = rows.next().await.map_err(told)? {
            let mut values = values(row);
            news.read(&values);
            // A table whose columns are all computed was read by a number.
            values.truncate(table.columns.len());
            let mut tuple = Vec::new();
            table.tuple(&values, &mut tuple);
            if begin.len() + tuple.len() > most {
                let long = format!("a row of {} is too long for a statement, so it cannot be archived", table.name);
                return Err(Failure::failed(long).hint("set max_allowed_packet of the server to twice its length"));
            }
            if !statement.is_empty() && statement.len() + tuple.len() > ENOUGH.min(most) {
                sender.send(framed(&std::mem::take(&mut statement))).await.map_err(gone)?;
            }
            statement.extend_from_slice(if statement.is_empty() { begin.as_bytes() } else { b"," });
            statement.extend_from_slice(&tuple);
        }
        drop(rows);
        if !statement.is_empty() {
            sender.send(framed(&statement)).await.map_err(gone)?;
        }
    }
    reader.close().await;
    Ok(())
}

/// What is written is taken apart into statements again, and sent to one who may have heard enough.
struct Apart {
    sender: Option<mpsc::Sender<Vec<u8>>>,
    begun: Vec<u8>,
}

impl Apart {
    /// One that is whole, and how long it is with what stands around it.
    fn first(&self) -> io::Result<Option<(&[u8], usize)>> {
        const LONGEST: usize = 32;
        let Some(line) = self.begun.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
            return if self.begun.len() < LONGEST { Ok(None) } else { Err(io::ErrorKind::InvalidData.into()) };
        };
        let length = self.begun.get(..line).and_then(|line| std::str::from_utf8(line).ok()?.strip_prefix("-- "));
        let length: usize = length.and_then(|length| length.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let end = (line + 1).saturating_add(length);
        match self.begun.get(end..end.saturating_add(2)) {
            None => Ok(None),
            Some(b";\n") => Ok(self.begun.get(line + 1..end).map(|statement| (statement, end + 2))),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Write for Apart {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some((statement, length)) = self.first()? {
            let statement = statement.to_vec();
            self.begun.drain(..length);
            if self.sender.as_ref().is_some_and(|sender| sender.blocking_send(statement).is_err()) {
                self.sender = None;
            }
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the stand-by, which is not there, and proves it. What is live is not touched.
async fn bring_back(
    maria: &MariaDb,
    session: &mut Session,
    opened: &Arc<Opened>,
    (archive, copy, snapshot): (&Archive, &Copy, &Snapshot),
    call: &CallCtx,
) -> Result<Bytes, Failure> {
    let live = &maria.server.database;
    let mut copy = Copy { phase: Phase::Making, ..copy.clone() };
    // First, so that nothing is there of which nobody knows.
    own::put(session, live, &snapshot.id, &copy).await?;
    let (name, charset, collation) =
        (quoted(&copy.standby), quoted(&copy.declared.charset), quoted(&copy.declared.collation));
    session.run(format!("CREATE DATABASE {name} CHARACTER SET {charset} COLLATE {collation}")).await?;
    let mut writer = maria.connect(Use::Writing, call).await?;
    writer.run(format!("USE {name}")).await?;
    call.progress("restoring from the archive", 0, 0);
    let (sender, mut receiver) = mpsc::channel(AT_ONCE);
    let (wanted, archive, opened) = (file(live), archive.clone(), opened.clone());
    let pouring = tokio::spawn(blocking(move || {
        let apart = Apart { sender: Some(sender), begun: Vec::new() };
        let (apart, bytes) = opened.contents()?.pour(&archive, &wanted, apart)?;
        // With it ends what it sends to.
        Ok((apart.begun.is_empty(), bytes))
    }));
    let mut failed = None;
    while let Some(statement) = receiver.recv().await {
        if let Err(failure) = writer.run(statement).await {
            failed = Some(failure);
            break;
        }
    }
    drop(receiver);
    // The repository's words come first: a statement may have been cut off.
    let (whole, bytes) = joined(pouring.await)?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if !whole {
        return Err(Failure::unproven("the archive ends in the middle of a statement"));
    }
    writer.close().await;
    let mut looking = maria.connect(Use::Looking, call).await?;
    let tables = content::tables(&mut looking, &copy.standby).await?;
    warm(session, &copy.standby, &tables.iter().collect::<Vec<_>>()).await?;
    let now: Fingerprint = of(&mut looking, &copy.standby, &copy.declared, "proving the copy", call).await?;
    looking.close().await;
    proven(&now, &snapshot.fingerprint)?;
    copy.phase = Phase::StandBy;
    own::put(session, live, &snapshot.id, &copy).await?;
    Ok(bytes)
}

/// Whether the archive has not become a stand-by, which then is looked at as any other, and has not been one.
pub async fn is_away(maria: &MariaDb, snapshot: &Snapshot, call: &CallCtx) -> Result<bool, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let copy = own::copy(&mut session, &maria.server.database, &snapshot.id).await?;
    session.close().await;
    Ok(copy.is_none_or(|copy| copy.phase == Phase::Making))
}

pub async fn inspect(maria: &MariaDb, snapshot: &Snapshot, repository: &Repository) -> Result<(), Failure> {
    archives::inspect::<Copy>(repository, snapshot, file(&maria.server.database)).await
}

pub async fn loss(maria: &MariaDb, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    Ok(archives::loss(&super::fingerprint(maria, call).await?, &snapshot.fingerprint))
}

/// Makes the stand-by of the archive, where there is none.
pub async fn stage(
    maria: &MariaDb,
    snapshot: &Snapshot,
    repository: Option<&Repository>,
    call: &CallCtx,
) -> Result<(), Failure> {
    let live = &maria.server.database;
    let mut session = alone(maria, call).await?;
    match own::copy(&mut session, live, &snapshot.id).await?.map(|copy| copy.phase) {
        Some(Phase::Exchanging | Phase::Exchanged) => return Ok(()),
        Some(Phase::StandBy) if inspect_standby(maria, snapshot, call).await.is_ok() => return Ok(()),
        _ => {}
    }
    // Before anything is read: somebody who is in the database keeps it from being exchanged.
    nobody(maria, &mut session, call).await?;
    let (opened, archive, note) = archives::opened::<Copy>(known(repository)?, snapshot).await?;
    drop_standby(&mut session, live, &snapshot.id).await?;
    let staged = Box::pin(bring_back(maria, &mut session, &opened, (&archive, &note.of, snapshot), call)).await;
    if staged.is_err() {
        // It would only take room. What cannot be dropped now goes when it starts over.
        let _ = drop_standby(&mut session, live, &snapshot.id).await;
    }
    session.close().await;
    staged.map(drop)
}

/// Removes all archives of a copy from the repository.
pub async fn discard(
    maria: &MariaDb,
    snapshot: &Snapshot,
    repository: Option<&Repository>,
    call: &CallCtx,
) -> Result<(), Failure> {
    let live = &maria.server.database;
    // Where no copy is archived nothing was made ready for it.
    if repository.is_none() && !snapshot.is_archived() {
        return Ok(());
    }
    let mut session = alone(maria, call).await?;
    ready(&mut session).await?;
    let mark = mark_of(&mut session, live, &snapshot.id).await?;
    if mark.is_some() || snapshot.is_archived() {
        let (repository, id) = (known(repository)?.clone(), id_of(&snapshot.place).to_owned());
        blocking(move || repository.free(mark.as_deref(), &id)).await??;
        drop_mark(&mut session, live, &snapshot.id).await?;
    }
    session.close().await;
    Ok(())
}
