//! The rows of tables, whatever server keeps them: what becomes of each, what is asked of its table first, where it is written.
use super::{Salvage, Salvaged, Sheet, Sheets, Verdict, Was, words};
use crate::resource::Failure;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// A value as the server writes it out; `None`: NULL.
pub type Cell = Option<Bytes>;
pub type Row = Vec<Cell>;
/// Of a row, by which others refer to it.
pub type Name = [u8; 32];

/// A row that is to be inserted, or into which a live one is to be changed.
pub struct Candidate {
    pub row: Row,
    /// With its columns that the new schema does not have.
    pub live: Option<(Row, Row)>,
}

impl Candidate {
    pub fn bytes(&self) -> usize {
        self.row.iter().flatten().map(|cell| cell.len()).sum()
    }
    /// Whether there is something new in one of these columns.
    fn concerns(&self, places: &[usize]) -> bool {
        self.live.as_ref().is_none_or(|(live, _)| places.iter().any(|&place| live[place] != self.row[place]))
    }
    fn whole(&self, places: &[usize]) -> bool {
        places.iter().all(|&place| self.row[place].is_some())
    }
    pub fn named(&self, places: &[usize]) -> Vec<&Cell> {
        places.iter().map(|&place| &self.row[place]).collect()
    }
}

/// What was found out of candidates, by their places.
pub struct Answers {
    /// Why the table would not take it.
    pub refused: Vec<Option<String>>,
    /// It would, as soon as these rows are there.
    pub waits: Vec<Vec<Wait>>,
}

/// For a row of a table that comes later.
pub struct Wait {
    pub parent: Name,
    /// What is live has a row of this name, which may turn out to be another one.
    pub there: bool,
    /// Its table, for people.
    pub shown: String,
    /// Columns that are NULL until then.
    pub until: Vec<usize>,
}

impl Answers {
    pub fn none_of(candidates: &[Candidate]) -> Self {
        Self { refused: vec![None; candidates.len()], waits: candidates.iter().map(|_| Vec::new()).collect() }
    }

    /// Which are to be asked about: not refused yet, with values in these columns, and something new in one of them.
    pub fn open(&self, candidates: &[Candidate], places: &[usize]) -> Vec<usize> {
        let open = |&number: &usize| {
            let candidate = &candidates[number];
            self.refused[number].is_none() && candidate.concerns(places) && candidate.whole(places)
        };
        (0..candidates.len()).filter(open).collect()
    }
}

/// What has become of rows to which others may refer.
#[derive(Default)]
pub struct Made {
    /// Whether each is inserted.
    rows: HashMap<Name, bool>,
    /// Tables of which there will be no more.
    done: HashSet<String>,
}

impl Made {
    pub fn row(&self, name: &Name) -> Option<bool> {
        self.rows.get(name).copied()
    }
    /// Whether rows of the table may still come.
    pub fn is_done(&self, table: &str) -> bool {
        self.done.contains(table)
    }
    fn record(&mut self, names: Vec<Name>, inserted: bool) {
        self.rows.extend(names.into_iter().map(|name| (name, inserted)));
    }
}

/// `named`: the values of these columns of the table.
pub fn name(table: &str, columns: &[String], named: &[&Cell]) -> Name {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(table.as_bytes());
    for (column, cell) in columns.iter().zip(named) {
        add(column.as_bytes());
        add(cell.as_deref().unwrap_or_default());
    }
    digest.finalize().into()
}

/// Statements on one table.
pub trait Says: Send {
    fn insert(&self, row: &[Cell]) -> String;
    /// Of a row without a key: so that there are as many of it, and no more.
    fn insert_counted(&self, row: &[Cell], count: u64) -> String;
    /// Where it is as it was.
    fn update(&self, was: &[Cell], will_be: &[Cell]) -> String;
    /// Where it is as it was, and nothing refers to it: a reference could take more with it.
    fn delete(&self, was: &[Cell]) -> String;
    /// Comments alone. The sides: at the restore point, set aside, live.
    fn conflict(&self, why: &str, sides: [Option<&[Cell]>; 3], statement: &str) -> String;
    /// By which others could refer to the row.
    fn names(&self, row: &[Cell]) -> Vec<Name>;
}

/// One table, and how its server is asked about it.
pub trait Tongue: Send {
    type Say: Says;
    fn say(&self) -> &Self::Say;
    /// As other tables name it.
    fn id(&self) -> String;
    /// Whether the table would take them.
    fn ask(&mut self, candidates: &[Candidate], made: &Made) -> impl Future<Output = Result<Answers, Failure>> + Send;
}

/// What is written, of all tables.
pub struct Writing {
    pub sheets: Sheets,
    /// Statements that delete come last, and those of children first.
    deletes: File,
    ends: Vec<u64>,
    /// What waits for rows of other tables.
    later: Vec<Later>,
    made: Made,
    counts: Vec<Salvage>,
}

struct Later {
    /// The place of its table among the counts.
    table: usize,
    sheet: Sheet,
    /// With whether what is live has one of this name.
    parents: Vec<(Name, bool)>,
    statement: String,
    conflict: String,
}

impl Writing {
    pub fn new(sheets: Sheets, folder: &Path) -> Result<Self, Failure> {
        let deletes = tempfile::tempfile_in(folder).map_err(put_by)?;
        let (ends, later, made, counts) = (Vec::new(), Vec::new(), Made::default(), Vec::new());
        Ok(Self { sheets, deletes, ends, later, made, counts })
    }

    /// All of it is on disk when it returns.
    pub fn finish(mut self, salvaged: &mut Salvaged) -> Result<(), Failure> {
        for later in std::mem::take(&mut self.later) {
            let made = later.parents.iter().all(|(parent, there)| self.made.row(parent).unwrap_or(*there));
            let count = &mut self.counts[later.table];
            match (made, later.sheet) {
                (true, sheet) => {
                    count.updates += u64::from(sheet == Sheet::Updates);
                    self.sheets.write(sheet, &later.statement)?;
                }
                (false, _) => {
                    count.conflicts += 1;
                    self.sheets.write(Sheet::Conflicts, &later.conflict)?;
                }
            }
        }
        // What was put by of each table, the last table first.
        for (place, &end) in self.ends.iter().enumerate().rev() {
            let begin = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
            if begin < end {
                self.deletes.seek(SeekFrom::Start(begin)).map_err(put_by)?;
                self.sheets.copy(Sheet::Deletes, &mut (&mut self.deletes).take(end - begin))?;
            }
        }
        self.sheets.finish()?;
        salvaged.tables.extend(self.counts.into_iter().filter(|count| !count.is_empty()));
        salvaged.tables.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(())
    }
}

fn put_by(error: io::Error) -> Failure {
    Failure::failed(format!("what is salvaged cannot be put by: {error}"))
}

/// One table of it.
pub struct Work<'w, T> {
    pub table: T,
    writing: &'w mut Writing,
    count: Salvage,
    /// How many rows have another value in a column, by its place.
    pub changed: Vec<u64>,
    candidates: Vec<Candidate>,
    /// Inserts that are said all in one; `None`: one by one.
    pub together: Option<Vec<Row>>,
    /// Deletes of a table that refers to itself: what comes later refers to what came before, as a rule.
    backwards: Option<Vec<String>>,
}

impl<'w, T: Tongue> Work<'w, T> {
    /// `shown`: its name for people; `of_itself`: it refers to itself.
    pub fn new(table: T, shown: String, columns: usize, of_itself: bool, writing: &'w mut Writing) -> Self {
        let count = Salvage { table: shown, ..Salvage::default() };
        let backwards = of_itself.then(Vec::new);
        Self { table, writing, count, changed: vec![0; columns], candidates: Vec::new(), together: None, backwards }
    }

    /// There are no more rows of it. How many have another value in a column.
    pub async fn end(mut self) -> Result<Vec<u64>, Failure> {
        self.flush().await?;
        for statement in self.backwards.take().into_iter().flatten().rev() {
            writeln!(self.writing.deletes, "{statement}").map_err(put_by)?;
        }
        self.writing.ends.push(self.writing.deletes.stream_position().map_err(put_by)?);
        self.writing.made.done.insert(self.table.id());
        self.writing.counts.push(self.count);
        Ok(self.changed)
    }

    pub fn write(&mut self, sheet: Sheet, statement: &str) -> Result<(), Failure> {
        self.writing.sheets.write(sheet, statement)
    }

    pub async fn decide(
        &mut self,
        was: Was<&[Cell]>,
        aside: Option<Row>,
        live: Option<(Row, Row)>,
    ) -> Result<(), Failure> {
        let now = live.as_ref().map(|(row, _)| row.as_slice());
        let before = if let Was::Other(before) = was { Some(before) } else { None };
        match (Verdict::of(was, aside.as_deref(), now), aside, live) {
            (Verdict::Insert, Some(row), _) => self.consider(Candidate { row, live: None }).await,
            (Verdict::Update, Some(row), live) => self.consider(Candidate { row, live }).await,
            (Verdict::Delete, _, Some((row, _))) => {
                self.count.deletes += 1;
                let statement = self.table.say().delete(&row);
                match &mut self.backwards {
                    Some(held) => {
                        held.push(statement);
                        Ok(())
                    }
                    None => writeln!(self.writing.deletes, "{statement}").map_err(put_by),
                }
            }
            (Verdict::Conflict(why), aside, live) => {
                // Conflicts come in the order of rows, as all else.
                self.flush().await?;
                let live = live.map(|(row, _)| row);
                if let Some(row) = aside.as_ref().filter(|_| live.is_none() || was == Was::New) {
                    self.writing.made.record(self.table.say().names(row), false);
                }
                let statement = match (&aside, &live) {
                    (Some(row), None) => self.table.say().insert(row),
                    (Some(row), Some(live)) => self.table.say().update(live, row),
                    (None, Some(live)) => self.table.say().delete(live),
                    (None, None) => return Ok(()),
                };
                self.conflict(why, [before, aside.as_deref(), live.as_deref()], &statement)
            }
            _ => Ok(()),
        }
    }

    async fn consider(&mut self, candidate: Candidate) -> Result<(), Failure> {
        const AT_ONCE: usize = 200;
        const ENOUGH: usize = 4 << 20;
        self.candidates.push(candidate);
        let bytes: usize = self.candidates.iter().map(Candidate::bytes).sum();
        if self.candidates.len() < AT_ONCE && bytes < ENOUGH { Ok(()) } else { self.flush().await }
    }

    /// Asks of what was gathered whether the table would take it, and writes it.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        let candidates = std::mem::take(&mut self.candidates);
        if candidates.is_empty() {
            return Ok(());
        }
        let Answers { refused, waits } = self.table.ask(&candidates, &self.writing.made).await?;
        for ((candidate, refused), waits) in candidates.into_iter().zip(refused).zip(waits) {
            match candidate {
                Candidate { row, live: None } => self.insert(row, refused, waits)?,
                Candidate { row, live: Some((live, _)) } => self.update(&live, &row, refused, waits)?,
            }
        }
        Ok(())
    }

    fn insert(&mut self, mut row: Row, refused: Option<String>, waits: Vec<Wait>) -> Result<(), Failure> {
        self.writing.made.record(self.table.say().names(&row), refused.is_none());
        if let Some(why) = refused {
            let why = words::refused(words::ONLY_MADE, &why);
            return self.conflict(&why, [None, Some(&row), None], &self.table.say().insert(&row));
        }
        if let Some(first) = waits.first() {
            let mut bare = row.clone();
            waits.iter().flat_map(|wait| &wait.until).for_each(|&place| bare[place] = None);
            let why = words::half_made(&first.shown);
            let statement = self.table.say().update(&bare, &row);
            let conflict = self.table.say().conflict(&why, [None, Some(&row), Some(&bare)], &statement);
            self.wait(Sheet::Inserts, &waits, statement, conflict);
            row = bare;
        }
        self.count.inserts += 1;
        match &mut self.together {
            Some(held) => held.push(row),
            None => self.writing.sheets.write(Sheet::Inserts, &self.table.say().insert(&row))?,
        }
        Ok(())
    }

    fn update(
        &mut self,
        live: &[Cell],
        row: &[Cell],
        refused: Option<String>,
        waits: Vec<Wait>,
    ) -> Result<(), Failure> {
        let statement = self.table.say().update(live, row);
        let sides = [Some(live), Some(row), Some(live)];
        if let Some(why) = refused {
            let why = words::refused(words::ONLY_CHANGED, &why);
            return self.conflict(&why, sides, &statement);
        }
        for (changed, (old, new)) in self.changed.iter_mut().zip(live.iter().zip(row)) {
            *changed += u64::from(old != new);
        }
        if let Some(first) = waits.first() {
            let why = words::refused(words::ONLY_CHANGED, &words::parent_in_conflict(&first.shown));
            let conflict = self.table.say().conflict(&why, sides, &statement);
            self.wait(Sheet::Updates, &waits, statement, conflict);
            return Ok(());
        }
        self.count.updates += 1;
        self.write(Sheet::Updates, &statement)
    }

    fn wait(&mut self, sheet: Sheet, waits: &[Wait], statement: String, conflict: String) {
        let parents = waits.iter().map(|wait| (wait.parent, wait.there)).collect();
        let table = self.writing.counts.len();
        self.writing.later.push(Later { table, sheet, parents, statement, conflict });
    }

    /// A row without a key that was set aside oftener than it is live.
    pub async fn missing(&mut self, row: Row, there: u64, now: u64) -> Result<(), Failure> {
        let candidate = Candidate { row, live: None };
        let answers = self.table.ask(std::slice::from_ref(&candidate), &self.writing.made).await?;
        let waits = answers.waits.first().and_then(|waits| waits.first());
        // Without a key it is not found again.
        let waits = waits.map(|wait| words::no_parent(&wait.shown));
        let refused = answers.refused.first().cloned().flatten().or(waits);
        let statement = self.table.say().insert_counted(&candidate.row, there);
        for _ in now..there {
            if let Some(why) = &refused {
                let why = words::refused(words::ONLY_MADE, why);
                self.conflict(&why, [None, Some(&candidate.row), None], &statement)?;
            } else {
                self.count.inserts += 1;
                self.write(Sheet::Inserts, &statement)?;
            }
        }
        Ok(())
    }

    fn conflict(&mut self, why: &str, sides: [Option<&[Cell]>; 3], statement: &str) -> Result<(), Failure> {
        self.count.conflicts += 1;
        let text = self.table.say().conflict(why, sides, statement);
        self.write(Sheet::Conflicts, &text)
    }
}
