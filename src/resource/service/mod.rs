//! Services: what runs, what it says in its log.
pub mod drivers;
mod facts;

pub use facts::Facts;

use super::{CallCtx, Failure, Kind, ResourceId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// `[service.NAME]` of the site.
#[derive(Clone, Debug)]
pub struct Section {
    pub driver: Driver,
    /// Starting it may change these.
    pub uses: Vec<ResourceId>,
}

#[derive(Clone, Debug)]
pub enum Driver {
    /// A process that Backout supervises.
    Process(Process),
    /// Somebody else keeps it, whom the site's own command lines ask.
    Command(Box<Command>),
    /// A unit that systemd keeps.
    Systemd(Systemd),
    /// A container that a Docker daemon keeps.
    Docker(Container),
}

/// What Backout itself runs for a service, for whoever judges it before.
pub struct Runs<'s> {
    pub lines: Vec<&'s [String]>,
    pub dir: &'s Path,
    pub env: &'s BTreeMap<String, String>,
    pub user: Option<&'s str>,
}

impl Driver {
    /// `None`: somebody else runs it.
    pub fn runs(&self) -> Option<Runs<'_>> {
        match self {
            Self::Process(Process { run, dir, env, user, .. }) => {
                Some(Runs { lines: vec![run], dir, env, user: user.as_deref() })
            }
            Self::Systemd(_) => None,
            Self::Command(command) => {
                let Command { status, start, stop, restart, reload, processes, dir, env, user, .. } = &**command;
                let more = [restart, reload, processes].into_iter().flatten();
                let lines = [status, start, stop].into_iter().chain(more).map(Vec::as_slice).collect();
                Some(Runs { lines, dir, env, user: user.as_deref() })
            }
            Self::Docker(_) => None,
        }
    }

    /// Tells it where the tree is that it names.
    pub fn place(&mut self, tree_at: impl Fn(&str) -> Option<PathBuf>) {
        if let Self::Docker(Container { image: Some(Image::Release { tree, root, .. }), .. }) = self
            && let Some(path) = tree_at(tree)
        {
            *root = path;
        }
    }

    /// Files of somebody else that Backout reads for it, by their keys.
    pub fn reads(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::Process(_) | Self::Docker(_) => Vec::new(),
            Self::Systemd(unit) => unit.log.iter().map(|log| ("log", log.as_path())).collect(),
            Self::Command(command) => {
                let files = [("log", &command.log), ("pid-file", &command.pid_file)];
                files.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?))).collect()
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Systemd {
    /// `shop.service`
    pub unit: String,
    pub manager: Manager,
    /// The socket of the bus that its manager is on, if it is not at its usual place.
    pub bus: Option<PathBuf>,
    /// For its start; how long systemd itself waits, the unit says.
    pub start_within: Duration,
    /// For its stop.
    pub stop_within: Duration,
    /// Running this long by one and the same start counts as started.
    pub settle: Duration,
    /// Written and rotated by others; else it says it to the journal.
    pub log: Option<PathBuf>,
    /// Where the journal is, if it is not this machine's.
    pub journal: Option<PathBuf>,
}

/// Whose units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    System,
    User,
}

#[derive(Clone)]
pub struct Process {
    /// Program and arguments; a program with a `/` is relative to the site file, already resolved.
    pub run: Vec<String>,
    pub dir: PathBuf,
    pub env: BTreeMap<String, String>,
    /// Runs as this user; Backout must be root for it.
    pub user: Option<String>,
    /// Running this long without ending counts as started.
    pub settle: Duration,
    /// After SIGTERM; then SIGKILL for the whole group.
    pub stop_within: Duration,
    /// The signal that makes it read its configuration again, `HUP`.
    pub reload: Option<String>,
    /// The log is rotated at this size, and this many old ones are kept.
    pub log_bytes: u64,
    pub log_keep: u32,
}

/// What a variable says may be a secret, so only their names are shown.
impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, dir, env, user, settle, stop_within, reload, log_bytes, log_keep } = self;
        f.debug_struct("Process")
            .field("run", run)
            .field("dir", dir)
            .field("env", &env.keys())
            .field("user", user)
            .field("settle", settle)
            .field("stop_within", stop_within)
            .field("reload", reload)
            .field("log_bytes", log_bytes)
            .field("log_keep", log_keep)
            .finish()
    }
}

/// Command lines: program and arguments, as of a process.
#[derive(Clone)]
pub struct Command {
    pub status: Vec<String>,
    pub start: Vec<String>,
    pub stop: Vec<String>,
    /// Instead of a stop and a start.
    pub restart: Option<Vec<String>>,
    pub reload: Option<Vec<String>>,
    /// Prints the ids of its processes.
    pub processes: Option<Vec<String>>,
    pub dir: PathBuf,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    /// From the command's begin until the status says so.
    pub start_within: Duration,
    pub stop_within: Duration,
    /// For one look.
    pub status_within: Duration,
    /// Running this long counts as started.
    pub settle: Duration,
    pub codes: Codes,
    /// Written and rotated by others.
    pub log: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
}

/// What the exit codes of a status command say. One that is not here says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    pub running: Vec<i32>,
    pub stopped: Vec<i32>,
    pub failed: Vec<i32>,
    pub starting: Vec<i32>,
}

/// What the Linux Standard Base says of init scripts; 4 is "unknown" there.
impl Default for Codes {
    fn default() -> Self {
        Self { running: vec![0], stopped: vec![3], failed: vec![1, 2], starting: Vec::new() }
    }
}

/// What a variable says may be a secret, so only their names are shown.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, start, stop, restart, reload, processes, dir, env, user, codes, log, pid_file, .. } = self;
        f.debug_struct("Command")
            .field("status", status)
            .field("start", start)
            .field("stop", stop)
            .field("restart", restart)
            .field("reload", reload)
            .field("processes", processes)
            .field("dir", dir)
            .field("env", &env.keys())
            .field("user", user)
            .field("codes", codes)
            .field("log", log)
            .field("pid_file", pid_file)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub struct Container {
    /// Name or id.
    pub container: String,
    pub socket: PathBuf,
    /// What it is made from at its next start. `None`: what it is made from is nobody's business here.
    pub image: Option<Image>,
    /// It counts as running when its health check says so.
    pub healthy: bool,
    pub start_within: Duration,
    /// After SIGTERM, or its own signal for it; then the daemon kills it. Whole seconds.
    pub stop_within: Duration,
    /// Running this long counts as started.
    pub settle: Duration,
    /// The signal that makes it read its configuration again.
    pub reload: Option<String>,
}

/// Whoever says which image of a container is meant, always by its digest: a tag may mean another one tomorrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// The site.
    Fixed(String),
    /// A line of a file in a tree, which comes and goes with each release.
    Release { tree: String, root: PathBuf, file: PathBuf },
}

impl Image {
    /// `NAME@sha256:…`, or an image's id: `sha256:…`.
    pub fn is_digest(text: &str) -> bool {
        let Some((name, digest)) = text.split_once("sha256:") else { return false };
        let plain = |c: char| c.is_ascii_alphanumeric() || "./:_-".contains(c);
        let named = match name.strip_suffix('@') {
            // It becomes a part of the address that the daemon is asked at.
            Some(name) => {
                name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) && !name.contains("..")
            }
            None => name.is_empty(),
        };
        named && digest.len() == 64 && digest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Running,
    Stopped,
    Failed,
    Starting,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Starting => "starting",
        }
    }
}

/// A place in a log that survives its rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// bytes that had ever been written to the log, or to the file that it is in
    pub position: u64,
    /// What else the driver needs to find the place again: which file that was, a cursor, a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl Mark {
    pub fn at(position: u64) -> Self {
        Self { position, place: None }
    }
}

/// What a restart or a reload writes down before: without it, nobody knows afterwards by which start the service ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// `None`: it did not run.
    pub start: Option<String>,
    /// What was about to be done, for people.
    pub what: String,
}

pub const MAX_LINES: usize = 100;
pub const MAX_LINE_BYTES: usize = 64 << 10;

pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

#[async_trait]
pub trait Observe: Send + Sync {
    async fn status(&self) -> Result<Status, Failure>;
    /// A word for the start by which it runs, another one after each start. `None`: it does not run, or was told to end.
    /// `inconclusive` when it runs and nobody can tell by which start.
    async fn start_id(&self) -> Result<Option<String>, Failure>;
    /// Lines since the mark that contain any of `texts`, at most `MAX_LINES` and `MAX_LINE_BYTES`,
    /// oldest first. `inconclusive` when not all of them can be told any more.
    async fn search(&self, since: &Mark, texts: &[String]) -> Result<Vec<String>, Failure>;
    /// The process ids that belong to it now; for its own CPU and memory. `inconclusive` when nobody can tell.
    async fn processes(&self) -> Result<Vec<i32>, Failure>;
    /// Whether what goes with it is as it is: stopped with it, or back. What status and processes do not tell.
    async fn is_whole(&self) -> Result<bool, Failure> {
        Ok(true)
    }
}

#[async_trait]
pub trait Mutate: Send + Sync {
    async fn start(&self, call: &CallCtx) -> Result<(), Failure>;
    async fn stop(&self, call: &CallCtx) -> Result<(), Failure>;
    /// Writes `Before` as evidence.
    async fn restart(&self, call: &CallCtx) -> Result<(), Failure>;
    /// Writes `Before` as evidence.
    async fn reload(&self, call: &CallCtx) -> Result<(), Failure>;
    /// The end of the log as it is now. What was written before is on disk when it returns.
    async fn mark(&self, call: &CallCtx) -> Result<Mark, Failure>;
}

pub struct Service;

impl Kind for Service {
    const NAME: &'static str = "service";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = ();
}
