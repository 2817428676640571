//! What databases and trees have in common: a stand-by copy that is proven, brought up to date and exchanged with what is
//! live. Backed by each driver's own means.
use super::{CallCtx, Failure, Kind};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The folder beside what is copied in which its copies are.
pub const HOME: &str = ".backout";

/// The method by which a copy is kept in a repository, and becomes a stand-by when it is needed.
pub const ARCHIVE: &str = "archive";

/// The method by which a copy is made under the fence, of the server's own files.
pub const CLONE: &str = "clone";

/// A backup of one resource. The journal keeps it whole; a guest sees `id`, `bytes` and `proven`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Unique on this host.
    pub id: String,
    /// Where the copy is, in the driver's own words; of no meaning to anybody else.
    pub place: String,
    /// `stand-by`, `clone`, `archive`; later also `volume`.
    pub method: String,
    pub bytes: u64,
    /// Restored somewhere and compared.
    pub proven: bool,
    /// What was compared.
    pub fingerprint: Fingerprint,
    /// What this call copied: for `take` all rows or files, for `refresh` those that had changed, or the pages of a database
    /// when `detector` says `page difference`, or of an archive the pieces that the repository did not have.
    pub copied: u64,
    /// How changes were found: `full compare`, `page difference`, `wal summaries: 1 of 40 tables`, …; why not otherwise
    pub detector: String,
    /// Where what was copied stood in its server's own log, as the server says it; `None`: it says no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Why it is this method, where the site leaves the choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
}

impl Snapshot {
    /// One that was begun, and of whose making no end is known: good for nothing but to be discarded.
    pub fn half_made(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            place: String::new(),
            method: String::new(),
            bytes: 0,
            proven: false,
            fingerprint: Fingerprint::default(),
            copied: 0,
            detector: String::new(),
            position: None,
            chosen: None,
        }
    }

    pub fn is_archived(&self) -> bool {
        self.method == ARCHIVE
    }

    /// There is none yet: `refresh` makes it under the fence. Until then nothing of the resource may be changed.
    pub fn comes_later(&self) -> bool {
        self.method == CLONE && !self.proven
    }

    /// Then nobody was told where it is.
    pub fn is_half_made(&self) -> bool {
        self.place.is_empty() && !self.proven
    }
}

/// How the next copy would be made, where that is not the usual way or the site leaves the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Under the fence, and not before.
    pub later: bool,
    /// How, and why so; for people.
    pub words: String,
}

/// What a resource holds, comparably: a part is a table of a database, or a top-level entry of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Digest of the schema; of a tree empty.
    pub schema: String,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    /// rows of a table, files of a folder
    pub count: u64,
    /// lower-case hexadecimal SHA-256 over the content, in an order that does not depend on storage
    pub digest: String,
}

impl Fingerprint {
    pub fn count(&self) -> u64 {
        self.parts.iter().map(|p| p.count).fold(0, u64::saturating_add)
    }

    /// How `self` differs from `then`, a line a part; empty when they are equal.
    pub fn differences(&self, then: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.schema != then.schema {
            lines.push("the schema differs".to_owned());
        }
        for part in &self.parts {
            match then.parts.iter().find(|p| p.name == part.name) {
                None => lines.push(format!("{} is new ({})", part.name, part.count)),
                Some(p) if p.count != part.count => {
                    lines.push(format!("{} has {}, had {}", part.name, part.count, p.count))
                }
                Some(p) if p.digest != part.digest => lines.push(format!("{} has other content", part.name)),
                Some(_) => {}
            }
        }
        for part in &then.parts {
            if !self.parts.iter().any(|p| p.name == part.name) {
                lines.push(format!("{} is missing", part.name));
            }
        }
        lines
    }
}

/// What a restore sets aside in one part: a table, or a top-level entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub part: String,
    /// only what was live has them
    pub rows: u64,
    /// both have them, with different content
    pub changed: u64,
    /// only the copy has them
    pub missing: u64,
}

const UNCOUNTED: &str = "(not counted: ";

impl Lost {
    /// Said where the numbers would be, so that nobody takes it for nothing.
    pub fn uncounted(why: &str) -> Self {
        Self { part: format!("{UNCOUNTED}{why})"), rows: 0, changed: 0, missing: 0 }
    }

    pub fn is_uncounted(&self) -> bool {
        self.is_nothing() && self.part.starts_with(UNCOUNTED)
    }

    pub fn is_nothing(&self) -> bool {
        (self.rows, self.changed, self.missing) == (0, 0, 0)
    }

    /// A later run has found that the exchange had happened, and nobody has counted then.
    pub fn settled() -> Self {
        Self::uncounted("the run that exchanged it was cut off")
    }

    /// Until the product runs again.
    pub fn later() -> Self {
        Self::uncounted("the product comes first")
    }
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// `false`: nothing had been changed since the restore point, so nothing was exchanged.
    pub exchanged: bool,
    /// Where what was live is kept, in the driver's words; a path that the operator can open.
    pub aside: Option<String>,
    pub lost: Vec<Lost>,
}

/// Where an exchange stands, found by looking at the real state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exchange {
    /// The stand-by still stands by.
    NotDone,
    /// The stand-by is live, what was live is aside at this place.
    Done { aside: String },
    /// Neither can be said; the text is for people.
    Unclear(String),
}

#[async_trait]
pub trait ObserveCopies: Send + Sync {
    /// What is live now.
    async fn fingerprint(&self, call: &CallCtx) -> Result<Fingerprint, Failure>;
    /// What an exchange would set aside now. Bounded work: reads both sides once.
    async fn loss(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure>;
    /// The stand-by is there and still equals its proof; `unproven` when it was damaged since.
    async fn inspect(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure>;
    /// Returns when nothing that was given up works on its copies any more.
    async fn quiet(&self, call: &CallCtx) -> Result<(), Failure>;
    /// The repository in which copies are archived, which is there; `None`: they stand by.
    async fn repository(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }
    /// `None`: a copy is made when it is asked for.
    async fn way(&self, _: &CallCtx) -> Result<Option<Way>, Failure> {
        Ok(None)
    }
    /// Bytes that what its exchange set aside takes, with what is kept beside it; `None`: nothing is there, or nobody can say.
    async fn aside_bytes(&self, _: &Snapshot, _: &CallCtx) -> Result<Option<u64>, Failure> {
        Ok(None)
    }
    /// By what a refresh would find what has changed, and what that means for how long it takes; for people. `None`: there is
    /// nothing to say.
    async fn detector(&self, _: &CallCtx) -> Result<Option<String>, Failure> {
        Ok(None)
    }
    /// Whether `exchange` of this snapshot has happened, from identities that `evidence` named before it.
    async fn exchanged(&self, snapshot: &Snapshot, evidence: &[serde_json::Value]) -> Result<Exchange, Failure>;
}

#[async_trait]
pub trait MutateCopies: Send + Sync {
    /// Makes a stand-by while the product serves, proves it. Everything it leaves behind is named after `id`. Running it
    /// again with the same id starts over.
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure>;
    /// Brings the stand-by up to date with what is live and proves it again.
    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure>;
    /// Checks the proof, writes evidence, exchanges stand-by and live, makes it durable. Keeps what was live aside.
    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure>;
    /// What its exchange has set aside, where `exchange` itself has left that for later (`Lost::later`).
    async fn counted(&self, _: &Snapshot, _: &CallCtx) -> Result<Vec<Lost>, Failure> {
        Err(Failure::unavailable("it is not known any more"))
    }
    /// Frees what a snapshot and its exchange left: stand-by, aside. Nothing there is fine. Never touches what is live.
    async fn discard(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure>;
}

/// A kind whose resources can be backed up.
pub trait Copied: Kind {
    fn observe(observer: &Self::Observer) -> &dyn ObserveCopies;
    fn mutate(mutator: &Self::Mutator) -> &dyn MutateCopies;
}
