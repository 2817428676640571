//! What a rollback has set aside, as statements that bring it into what is live: sheets that people read, correct and apply.
//! Backout applies none of it.
mod verdict;
pub mod words;
pub mod work;

pub use verdict::{Verdict, Was, parents_first};

use crate::resource::{Failure, room};
use serde::Serialize;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What came of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// Whether it is known how rows were at the restore point. Without it, what differs could have been changed by either side.
    pub base_known: bool,
    /// tables with anything to say of; no values
    pub tables: Vec<Salvage>,
    /// what cannot be said in the old schema, and what was not compared, a sentence each
    pub unmapped: Vec<String>,
    /// what to know before anything of it is applied, a sentence each
    pub notes: Vec<String>,
    /// how a sheet is applied, with `FILE` for its name
    #[serde(skip)]
    pub apply: &'static str,
}

/// Of one table: how many statements, and how many rows for people to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Salvage {
    pub table: String,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub conflicts: u64,
}

impl Salvage {
    pub fn is_empty(&self) -> bool {
        (self.inserts, self.updates, self.deletes, self.conflicts) == (0, 0, 0, 0)
    }
}

impl Salvaged {
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.unmapped.is_empty()
    }

    /// Statements, conflicts.
    pub fn counts(&self) -> (u64, u64) {
        let statements = self.tables.iter().map(|t| t.inserts + t.updates + t.deletes).sum();
        (statements, self.tables.iter().map(|t| t.conflicts).sum())
    }
}

/// In the order in which they are applied; the last one is for people to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sheet {
    Inserts,
    Updates,
    Deletes,
    Conflicts,
}

impl Sheet {
    pub fn name(self) -> &'static str {
        match self {
            Self::Inserts => "1-inserts.sql",
            Self::Updates => "2-updates.sql",
            Self::Deletes => "3-deletes.sql",
            Self::Conflicts => "conflicts.sql",
        }
    }

    fn head(self) -> &'static str {
        match self {
            Self::Inserts => "Rows that only the new version had. A row whose key is there already stays as it is.",
            Self::Updates => {
                "Rows that only the new version changed. One that is not as it was any more stays as it is."
            }
            Self::Deletes => {
                "Rows that only the new version deleted. One that is not as it was, or that is still referred to, stays."
            }
            Self::Conflicts => {
                "Rows of which only people can say what is right. Nothing here is a statement until it is made one."
            }
        }
    }
}

/// The sheets of one database, in a folder of their own. None is made of which there is nothing to say.
pub struct Sheets {
    folder: PathBuf,
    /// How a driver begins and ends what is applied as a whole.
    begin: String,
    end: &'static str,
    open: BTreeMap<Sheet, BufWriter<File>>,
}

impl Sheets {
    pub fn new(folder: &Path, begin: impl Into<String>, end: &'static str) -> Self {
        Self { folder: folder.to_owned(), begin: begin.into(), end, open: BTreeMap::new() }
    }

    /// Lines of statements, or of comments.
    pub fn write(&mut self, sheet: Sheet, lines: &str) -> Result<(), Failure> {
        self.add(sheet, lines).map_err(told)
    }

    /// The same, of what was put by.
    pub fn copy(&mut self, sheet: Sheet, lines: &mut impl io::Read) -> Result<(), Failure> {
        let copied = self.open(sheet).and_then(|file| io::copy(lines, file));
        copied.map(|_| ()).map_err(told)
    }

    fn add(&mut self, sheet: Sheet, lines: &str) -> io::Result<()> {
        let file = self.open(sheet)?;
        file.write_all(lines.as_bytes())?;
        file.write_all(b"\n")
    }

    fn open(&mut self, sheet: Sheet) -> io::Result<&mut BufWriter<File>> {
        Ok(match self.open.entry(sheet) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(new) => {
                let mut file = BufWriter::new(private(&self.folder.join(sheet.name()))?);
                writeln!(file, "-- {}", sheet.head())?;
                if sheet != Sheet::Conflicts {
                    file.write_all(self.begin.as_bytes())?;
                }
                new.insert(file)
            }
        })
    }

    /// All of it is on disk when it returns.
    pub fn finish(self) -> Result<(), Failure> {
        let end = self.end;
        let finish = |(sheet, mut file): (Sheet, BufWriter<File>)| -> io::Result<()> {
            if sheet != Sheet::Conflicts {
                file.write_all(end.as_bytes())?;
            }
            file.into_inner().map_err(|e| e.into_error())?.sync_all()
        };
        self.open.into_iter().try_for_each(finish).map_err(told)
    }
}

/// A new file that nobody else can read: it holds data of customers.
pub fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn told(error: io::Error) -> Failure {
    if room::is_none(&error) {
        return room::none("there is no room left for what is salvaged");
    }
    Failure::failed(format!("what is salvaged cannot be written: {error}"))
}
