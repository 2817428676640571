//! Command lines that the site fixed.
pub mod drivers;

use super::{CallCtx, Failure, Kind, ResourceId};
use async_trait::async_trait;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

/// `[tool.NAME]` of the site.
#[derive(Clone)]
pub struct Section {
    /// Program and arguments; a program with a `/` is relative to the site file, already resolved. No shell.
    pub run: Vec<String>,
    pub dir: PathBuf,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub timeout: Duration,
    /// Running it twice is harmless.
    pub idempotent: bool,
    /// Running it may change these.
    pub uses: Vec<ResourceId>,
    pub check: Option<Check>,
}

/// A command that looks whether the tool has done its work: exit code 0 says that it has, 1 that it has not, and anything else
/// that nobody can say. It runs where and as whom the tool runs, and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub run: Vec<String>,
    pub timeout: Duration,
}

/// What a variable says may be a secret, so only their names are shown.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, dir, env, user, timeout, idempotent, uses, check } = self;
        f.debug_struct("Section")
            .field("run", run)
            .field("dir", dir)
            .field("env", &env.keys())
            .field("user", user)
            .field("timeout", timeout)
            .field("idempotent", idempotent)
            .field("uses", uses)
            .field("check", check)
            .finish()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub idempotent: bool,
    pub timeout: Duration,
}

pub const MAX_OUTPUT: usize = 1 << 20;
/// The variable that says to the twin of a tool or a service where a rehearsal's copies are.
pub const SCRATCH: &str = "BACKOUT_SCRATCH";

pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

/// What has become of a run whose end nobody has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// With what the check printed.
    Done(String),
    NotDone,
    /// Nobody can say; the text is for people.
    Unclear(String),
}

/// What can be seen of a tool without running it.
#[async_trait]
pub trait Observe: Send + Sync {
    /// Whether a run under this key still goes on.
    async fn running(&self, key: &str) -> Result<bool, Failure>;
    /// Ends what still goes on under the call's key, and waits until it is gone.
    async fn end(&self, call: &CallCtx) -> Result<(), Failure>;
    /// Whether the run that left this evidence has done its work, by the site's check.
    async fn look(&self, evidence: &[Value], call: &CallCtx) -> Result<Looked, Failure>;
}

#[async_trait]
pub trait Mutate: Send + Sync {
    /// Standard output. Writes evidence, then begins. `inconclusive` when it was ended by others. When the deadline passes or the future is dropped, the whole process group is ended and waited for.
    async fn run(&self, call: &CallCtx) -> Result<String, Failure>;
}

pub struct Tool;

impl Kind for Tool {
    const NAME: &'static str = "tool";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = Terms;
}
