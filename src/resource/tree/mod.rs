//! Directory trees: configuration, program versions, the link that says which one is current.
pub mod drivers;
pub mod exclude;

use super::{
    CallCtx, Failure, Kind,
    copies::{Copied, MutateCopies, ObserveCopies},
    repository::Repository,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// `[tree.NAME]` of the site.
#[derive(Clone, Debug)]
pub struct Section {
    pub path: PathBuf,
    /// Paths inside the tree, with `*` and `**`, that belong to nobody's version: uploads, logs. Neither copied nor
    /// compared, and carried over when the tree is exchanged.
    pub exclude: Vec<String>,
    pub keep_aside: Duration,
    /// Belongs to this product alone; only then may it be exchanged.
    pub exclusive: bool,
    /// Where copies are archived; `None`: they stand by beside the tree.
    pub archive: Option<Repository>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    File,
    Folder,
    Link,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub kind: EntryKind,
    pub bytes: u64,
    pub target: String,
}

/// The largest file that a script may read or write.
pub const MAX_FILE: usize = 1 << 20;
pub const MAX_ENTRIES: usize = 10_000;

/// A payload of the package, verified when the package was opened.
#[derive(Clone, Debug)]
pub struct Archive {
    pub path: PathBuf,
    /// lower-case hexadecimal SHA-256, checked again while it is unpacked
    pub sha256: String,
    /// The most that may come out of it, against archives that unpack without end.
    pub max_unpacked: u64,
    pub max_entries: u64,
}

pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

#[async_trait]
pub trait Observe: ObserveCopies {
    async fn read(&self, path: &str) -> Result<Vec<u8>, Failure>;
    async fn list(&self, path: &str) -> Result<Vec<Entry>, Failure>;
    /// Whether `write` of this content has been done: it is there, and nothing is left of an attempt.
    async fn written(&self, path: &str, content: &[u8]) -> Result<bool, Failure>;
    /// Whether `path` is a folder that `install` of this archive has completed, and nothing is left of an attempt.
    async fn installed(&self, path: &str, archive: &Archive) -> Result<bool, Failure>;
    /// Whether `path` is a link to `target`, and nothing is left of an attempt.
    async fn linked(&self, path: &str, target: &str) -> Result<bool, Failure>;
}

#[async_trait]
pub trait Mutate: MutateCopies {
    async fn write(&self, path: &str, content: &[u8], call: &CallCtx) -> Result<(), Failure>;
    async fn install(&self, path: &str, archive: &Archive, call: &CallCtx) -> Result<(), Failure>;
    async fn link(&self, path: &str, target: &str, call: &CallCtx) -> Result<(), Failure>;
}

pub struct Tree;

impl Kind for Tree {
    const NAME: &'static str = "tree";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = ();
}
impl Copied for Tree {
    fn observe(observer: &Observer) -> &dyn ObserveCopies {
        observer
    }
    fn mutate(mutator: &Mutator) -> &dyn MutateCopies {
        mutator
    }
}
