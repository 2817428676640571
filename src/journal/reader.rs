use super::{
    entry::{Ending, Entry, Header, Place, Recorded, RunId},
    error::Error,
    file::{self, MARKED},
};
use rusqlite::{Connection, Row, params};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

/// A run in one line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RunSummary {
    pub run: RunId,
    /// milliseconds since 1970-01-01 UTC
    pub started: i64,
    pub ended: Option<i64>,
    pub header: Header,
    /// None: it goes on, or was interrupted.
    pub ending: Option<Ending>,
}

/// The reading end; never makes a file.
pub struct Reader {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::find(path)?.ok_or_else(|| Error::Foreign { path: path.display().to_string() })
    }

    /// `None`: there was never a run.
    pub fn find(path: &Path) -> Result<Option<Self>, Error> {
        Ok(file::open_to_read(path)?.map(|db| Self { db, path: path.to_owned() }))
    }

    /// Newest first.
    pub fn runs(&self) -> Result<Vec<RunSummary>, Error> {
        let mut runs: Vec<RunSummary> = Vec::new();
        for r in
            self.select(&format!("{MARKED} AND kind IN ('run-started', 'run-ended', 'run-resumed') ORDER BY id"), &[])?
        {
            match r.entry {
                Entry::RunStarted(header) => {
                    runs.push(RunSummary { run: r.run, started: r.at, ended: None, header, ending: None });
                }
                Entry::RunEnded(ending) => {
                    if let Some(run) = runs.iter_mut().find(|s| s.run == r.run) {
                        run.ending = Some(ending);
                        run.ended = Some(r.at);
                    }
                }
                Entry::RunResumed(_) => {
                    if let Some(run) = runs.iter_mut().find(|s| s.run == r.run) {
                        (run.ending, run.ended) = (None, None);
                    }
                }
                _ => {}
            }
        }
        runs.reverse();
        Ok(runs)
    }

    pub fn run(&self, run: RunId) -> Result<RunSummary, Error> {
        self.runs()?.into_iter().find(|s| s.run == run).ok_or(Error::NoRun(run))
    }

    /// Everything of one run, in order.
    pub fn entries(&self, run: RunId) -> Result<Vec<Recorded>, Error> {
        self.select(&of_run(), &[&(run as i64)])
    }

    /// Everything from the start of a run on, other runs included, in order.
    pub fn since(&self, run: RunId) -> Result<Vec<Recorded>, Error> {
        let first = format!("SELECT min(id) FROM entry WHERE {MARKED} AND kind = 'run-started' AND run >= ?1");
        self.select(&format!("run >= ?1 AND id >= coalesce(({first}), 0) ORDER BY id"), &[&(run as i64)])
    }

    /// Everything of one run from an entry on, in order, a page at a time: a long run need not fit into memory.
    pub fn stream(self, run: RunId, from: i64) -> Entries {
        let mut pages = Pages { reader: self, run, next: from, page: VecDeque::new(), over: false };
        Box::new(std::iter::from_fn(move || pages.next()))
    }

    /// How long a step took in earlier runs and rehearsals in which it succeeded, in milliseconds, newest first.
    pub fn durations(&self, package: &str, phase: &str, step: &str) -> Result<Vec<u64>, Error> {
        let mut statement = self
            .db
            .prepare_cached(&format!(
                "WITH of_package(run) AS
                   (SELECT run FROM entry WHERE {MARKED} AND kind = 'run-started' AND json_extract(body, '$.package') = ?1)
                 SELECT millis FROM
                   (SELECT e.id AS id, json_extract(e.body, '$.millis') AS millis FROM (SELECT * FROM entry WHERE {MARKED}) e
                      JOIN of_package ON of_package.run = e.run
                      WHERE e.kind = 'step-ended' AND e.phase = ?2 AND e.step = ?3
                        AND json_type(e.body, '$.result.Ok') IS NOT NULL
                    UNION ALL
                    SELECT e.id, json_extract(s.value, '$.millis') FROM (SELECT * FROM entry WHERE {MARKED}) e
                      JOIN of_package ON of_package.run = e.run, json_each(e.body, '$.rehearsal.steps') s
                      WHERE e.kind = 'run-ended' AND json_extract(s.value, '$.phase') = ?2
                        AND json_extract(s.value, '$.name') = ?3 AND json_extract(s.value, '$.simulated') IS NULL
                        AND (?2 = 'rollback' OR json_extract(s.value, '$.rolled_back') IS NULL))
                 ORDER BY id DESC LIMIT 20",
            ))
            .map_err(|e| self.error(e))?;
        let rows =
            statement.query_map(params![package, phase, step], |r| r.get::<_, i64>(0)).map_err(|e| self.error(e))?;
        rows.map(|r| r.map(|n| u64::try_from(n).unwrap_or(0)).map_err(|e| self.error(e))).collect()
    }

    fn select(&self, tail: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<Recorded>, Error> {
        select(&self.db, &self.path, tail, params)
    }

    fn error(&self, cause: rusqlite::Error) -> Error {
        Error::Sqlite { path: self.path.display().to_string(), cause }
    }
}

/// Of which run they are is in no index, which every entry would have to be put in; they begin where their run does.
pub fn of_run() -> String {
    let first = format!("SELECT min(id) FROM entry WHERE {MARKED} AND kind = 'run-started' AND run = ?1");
    format!("run = ?1 AND id >= coalesce(({first}), 0) ORDER BY id")
}

/// Entries in the order of the journal, as they are asked for.
pub type Entries = Box<dyn Iterator<Item = Result<Recorded, Error>> + Send>;

/// Entries that are read at once.
const PAGE: usize = 256;

struct Pages {
    reader: Reader,
    run: RunId,
    next: i64,
    page: VecDeque<Recorded>,
    over: bool,
}

impl Pages {
    fn next(&mut self) -> Option<Result<Recorded, Error>> {
        if self.page.is_empty() && !self.over {
            let tail = format!("id >= ?2 AND {} LIMIT {PAGE}", of_run());
            match self.reader.select(&tail, &[&(self.run as i64), &self.next]) {
                Ok(page) => self.page = page.into(),
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
            self.over = self.page.len() < PAGE;
            self.next = self.page.back().map_or(self.next, |last| last.id.saturating_add(1));
        }
        self.page.pop_front().map(Ok)
    }
}

pub fn select(
    db: &Connection,
    path: &Path,
    tail: &str,
    params: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Recorded>, Error> {
    let sqlite = |cause| Error::Sqlite { path: path.display().to_string(), cause };
    let mut statement = db.prepare_cached(&entries_where(tail)).map_err(sqlite)?;
    let mut rows = statement.query(params).map_err(sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        found.push(read(row)?);
    }
    Ok(found)
}

pub fn entries_where(tail: &str) -> String {
    format!("SELECT id, run, at, phase, rolled_back, step, attempt, seq, body FROM entry WHERE {tail}")
}

/// The column of an entry's text.
pub const BODY: usize = 8;

pub fn read(row: &Row<'_>) -> Result<Recorded, Error> {
    let id: i64 = row.get(0).map_err(|e| Error::Damaged { id: 0, reason: e.to_string() })?;
    let damaged = |e: rusqlite::Error| Error::Damaged { id, reason: e.to_string() };
    let body: String = row.get(BODY).map_err(damaged)?;
    Ok(Recorded {
        id,
        run: row.get::<_, i64>(1).map_err(damaged)?.try_into().unwrap_or_default(),
        at: row.get(2).map_err(damaged)?,
        place: Place {
            phase: row.get(3).map_err(damaged)?,
            rolled_back: row.get(4).map_err(damaged)?,
            step: row.get(5).map_err(damaged)?,
            attempt: row.get(6).map_err(damaged)?,
        },
        seq: row.get(7).map_err(damaged)?,
        entry: Entry::read(&body).map_err(|e| Error::Damaged { id, reason: e.to_string() })?,
    })
}
