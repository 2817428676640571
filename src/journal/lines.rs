//! A run's entries for who tells it again: read ahead by a thread of their own. Of the operations that only looked, which fill a
//! long journal, nothing is made but the places of their parts.
use super::{
    entry::{Entry, Place, Recorded, RunId},
    error::Error,
    reader::{self, Reader},
    skim::{self, Parts},
};
use rusqlite::Row;
use std::{
    sync::{Arc, mpsc},
    thread, vec,
};

/// Entries in the order of the journal.
pub type Lines = Box<dyn Iterator<Item = Result<Line, Error>> + Send>;

pub enum Line {
    Whole(Box<Recorded>),
    Look(Look),
}

/// An operation that changed nothing and was answered, as its text.
#[derive(Clone, Debug)]
pub struct Look {
    pub id: i64,
    pub run: RunId,
    /// milliseconds since 1970-01-01 UTC
    pub at: i64,
    pub place: Arc<Place>,
    pub seq: u32,
    body: String,
    parts: Parts,
}

impl Look {
    /// As it stands there: nothing in it is unescaped, here and below.
    pub fn operation(&self) -> &str {
        &self.body[self.parts.operation.clone()]
    }
    pub fn label(&self) -> &str {
        &self.body[self.parts.label.clone()]
    }
    /// What was asked, as JSON.
    pub fn request(&self) -> &str {
        &self.body[self.parts.request.clone()]
    }
    /// What was answered, as JSON.
    pub fn answer(&self) -> &str {
        &self.body[self.parts.answer.clone()]
    }

    pub fn whole(&self) -> Result<Recorded, Error> {
        let entry = Entry::read(&self.body).map_err(|e| Error::Damaged { id: self.id, reason: e.to_string() })?;
        let Self { id, run, at, seq, .. } = *self;
        Ok(Recorded { id, run, at, place: Place::clone(&self.place), seq, entry })
    }
}

impl Line {
    pub fn whole(self) -> Result<Recorded, Error> {
        match self {
            Self::Whole(recorded) => Ok(*recorded),
            Self::Look(look) => look.whole(),
        }
    }
}

impl Reader {
    /// Everything of one run from an entry on. A page of it, and a few that are read ahead, are all that is in memory.
    pub fn lines(self, run: RunId, from: i64) -> Lines {
        let pages = Pages { reader: self, run, next: from, place: None, over: false };
        let mut lines = Ahead { page: Vec::new().into_iter(), source: Source::Here(Box::new(pages), FIRST) };
        Box::new(std::iter::from_fn(move || lines.next()))
    }
}

/// Entries that are read at once; the first of them without a thread, for most calls into a script make fewer.
const PAGE: usize = 256;
const FIRST: usize = 64;
/// Bytes after which a page ends, however few entries it has.
const BYTES: usize = 256 << 10;
/// Pages that wait to be told.
const AHEAD: usize = 2;

struct Ahead {
    page: vec::IntoIter<Line>,
    source: Source,
}

enum Source {
    /// With the size of the next page.
    Here(Box<Pages>, usize),
    Thread(mpsc::Receiver<Result<Vec<Line>, Error>>),
    Over,
}

impl Ahead {
    fn next(&mut self) -> Option<Result<Line, Error>> {
        loop {
            if let Some(line) = self.page.next() {
                return Some(Ok(line));
            }
            let page = match std::mem::replace(&mut self.source, Source::Over) {
                Source::Here(mut pages, FIRST) => {
                    let page = pages.next(FIRST)?;
                    self.source = Source::Here(pages, PAGE);
                    page
                }
                Source::Here(pages, _) if pages.over => return None,
                Source::Here(pages, most) => match ahead(pages, most) {
                    Ok(thread) => {
                        self.source = Source::Thread(thread);
                        continue;
                    }
                    Err(error) => return Some(Err(error)),
                },
                Source::Thread(thread) => {
                    let page = thread.recv().ok()?;
                    self.source = Source::Thread(thread);
                    page
                }
                Source::Over => return None,
            };
            match page {
                Ok(page) => self.page = page.into_iter(),
                Err(error) => {
                    self.source = Source::Over;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Reads on in a thread, which ends with the entries, or when nobody waits for them any more.
fn ahead(mut pages: Box<Pages>, most: usize) -> Result<mpsc::Receiver<Result<Vec<Line>, Error>>, Error> {
    let path = pages.reader.path.display().to_string();
    let (to, from) = mpsc::sync_channel(AHEAD);
    let read = move || while pages.next(most).is_some_and(|page| to.send(page).is_ok()) {};
    let thread = thread::Builder::new().name("replay".into()).spawn(read);
    thread.map_err(|error| Error::Unreadable { path, reason: format!("no thread to read it: {error}") })?;
    Ok(from)
}

struct Pages {
    reader: Reader,
    run: RunId,
    next: i64,
    /// of the entry before: mostly the next one has the same
    place: Option<Arc<Place>>,
    over: bool,
}

impl Pages {
    fn next(&mut self, most: usize) -> Option<Result<Vec<Line>, Error>> {
        if self.over {
            return None;
        }
        let page = self.page(most);
        self.over |= page.is_err();
        Some(page)
    }

    fn page(&mut self, most: usize) -> Result<Vec<Line>, Error> {
        let Self { reader, run, next, place, over } = self;
        let sqlite = |cause| Error::Sqlite { path: reader.path.display().to_string(), cause };
        let sql = reader::entries_where(&format!("id >= ?2 AND {} LIMIT {most}", reader::of_run()));
        let mut statement = reader.db.prepare_cached(&sql).map_err(sqlite)?;
        let mut rows = statement.query((*run as i64, *next)).map_err(sqlite)?;
        let (mut page, mut bytes) = (Vec::with_capacity(most), 0);
        while bytes < BYTES {
            let Some(row) = rows.next().map_err(sqlite)? else {
                *over = page.len() < most;
                return Ok(page);
            };
            let line = match look(row, *run, place) {
                Some((look, size)) => {
                    bytes += size;
                    Line::Look(look)
                }
                None => {
                    let recorded = reader::read(row)?;
                    bytes +=
                        row.get_ref(reader::BODY).ok().and_then(|body| body.as_bytes().ok()).map_or(0, <[u8]>::len);
                    Line::Whole(Box::new(recorded))
                }
            };
            *next = match &line {
                Line::Look(look) => look.id,
                Line::Whole(recorded) => recorded.id,
            }
            .saturating_add(1);
            page.push(line);
        }
        Ok(page)
    }
}

/// `None`: it is something else, or written in another way than Backout does it. With its length.
fn look(row: &Row<'_>, run: RunId, last: &mut Option<Arc<Place>>) -> Option<(Look, usize)> {
    let body = row.get_ref(reader::BODY).ok()?.as_str().ok()?;
    let parts = skim::observed(body)?;
    let (phase, step) = (row.get_ref(3).ok()?.as_str().ok()?, row.get_ref(5).ok()?.as_str().ok()?);
    let (rolled_back, attempt): (bool, u32) = (row.get(4).ok()?, row.get(6).ok()?);
    let same = last.as_ref().filter(|last| {
        last.attempt == attempt && last.rolled_back == rolled_back && last.step == step && last.phase == phase
    });
    let place = match same {
        Some(place) => place.clone(),
        None => last.insert(Arc::new(Place::new(phase, rolled_back, step, attempt))).clone(),
    };
    let (id, at, seq) = (row.get(0).ok()?, row.get(2).ok()?, row.get(7).ok()?);
    Some((Look { id, run, at, place, seq, body: body.to_owned(), parts }, body.len()))
}
