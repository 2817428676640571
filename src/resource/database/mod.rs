//! Databases: who may use them, what is in them, their stand-by copies.
pub mod drivers;
mod method;
mod revision;
pub mod salvage;
mod server;

pub use method::Method;
pub use revision::{LONGEST as LONGEST_REVISION, Revisions, live as live_revision};
pub use server::{Around, Host, Pooler, Server, Tls};

use super::{
    CallCtx, Failure, Kind,
    copies::{Copied, MutateCopies, ObserveCopies, Snapshot},
};
use async_trait::async_trait;
use salvage::Salvaged;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// `[database.NAME]` of the site.
#[derive(Clone, Debug)]
pub struct Section {
    pub driver: Driver,
    /// How long what a restore set aside is kept before a restore point may be deleted without asking.
    pub keep_aside: Duration,
    /// Belongs to this product alone; only then may it be exchanged.
    pub exclusive: bool,
    pub method: Method,
}

#[derive(Clone, Debug)]
pub enum Driver {
    Sqlite { path: PathBuf },
    Postgres(Server),
    MariaDb(Server),
}

impl Driver {
    /// The file that it is, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite { path } => Some(path),
            Self::Postgres(_) | Self::MariaDb(_) => None,
        }
    }

    /// What stands before it, and is held back by command lines of the site.
    pub fn pooler(&self) -> Option<&Pooler> {
        match self {
            Self::Postgres(server) => server.around.pooler.as_ref(),
            Self::Sqlite { .. } | Self::MariaDb(_) => None,
        }
    }
}

/// Somebody who uses a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub who: String,
    pub state: String,
    pub age_seconds: u32,
}

/// The most that `query` answers with.
pub const MAX_ROWS: usize = 1_000;
pub const MAX_BYTES: usize = 1 << 20;

/// What an exchange says once it is done and durable. Until then it is the same work for any amount of data; the rest is not.
pub const COUNTING: &str = "counting what was set aside";

/// What has become of statements, found by looking at the real state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    NotDone,
    Done {
        rows: u64,
    },
    /// Neither can be said; the text is for people.
    Unclear(String),
}

// Aliases, because `dyn Observe` behind a reference in an `async fn` would lose its `'static`.
pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

/// Opened read-only: what observes cannot change, whatever the SQL says.
#[async_trait]
pub trait Observe: ObserveCopies {
    async fn activity(&self, call: &CallCtx) -> Result<Vec<Session>, Failure>;
    /// One read-only statement. `invalid` beyond `MAX_ROWS` and `MAX_BYTES`, and for anything that is not read-only.
    async fn query(&self, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure>;
    /// A digest of what is declared in it, whatever it holds. Does not read the rows.
    async fn schema(&self) -> Result<String, Failure>;
    async fn fenced(&self) -> Result<bool, Failure>;
    /// Whether a fence keeps it from where applications look for it, also one that somebody has torn open: they would find
    /// nothing there, and make an empty database.
    async fn hidden(&self) -> Result<bool, Failure>;
    /// A fence is up, and nobody has got in behind it.
    async fn shut(&self) -> Result<bool, Failure>;
    /// No fence is up, and nothing is left of one.
    async fn open(&self) -> Result<bool, Failure>;
    /// What the exchange of this snapshot has set aside, as statements that bring it into what is live, into sheets in this
    /// folder, which is there and empty. Changes nothing else.
    async fn salvage(&self, _: &Snapshot, _: &Path, _: &CallCtx) -> Result<Salvaged, Failure> {
        Err(Failure::invalid("nothing can be salvaged of this kind of database"))
    }
    /// Whether `execute` has happened, from what `evidence` named before it. Recovers what a crash has left.
    async fn executed(&self, evidence: &[Value], call: &CallCtx) -> Result<Executed, Failure>;
}

#[async_trait]
pub trait Mutate: MutateCopies {
    async fn fence(&self, within: Duration, call: &CallCtx) -> Result<(), Failure>;
    async fn unfence(&self, call: &CallCtx) -> Result<(), Failure>;
    /// Statements in one transaction; rows that changed. Writes evidence, then commits.
    async fn execute(&self, sql: &str, call: &CallCtx) -> Result<u64, Failure>;
}

pub struct Database;

impl Kind for Database {
    const NAME: &'static str = "database";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = ();
}
impl Copied for Database {
    fn observe(observer: &Observer) -> &dyn ObserveCopies {
        observer
    }
    fn mutate(mutator: &Mutator) -> &dyn MutateCopies {
        mutator
    }
}
