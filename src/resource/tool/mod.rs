//! Command lines that the site fixed.
pub mod drivers;

use super::{CallCtx, Failure, Kind, ResourceId};
use async_trait::async_trait;
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
}

/// What a variable says may be a secret, so only their names are shown.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, dir, env, user, timeout, idempotent, uses } = self;
        f.debug_struct("Section")
            .field("run", run)
            .field("dir", dir)
            .field("env", &env.keys())
            .field("user", user)
            .field("timeout", timeout)
            .field("idempotent", idempotent)
            .field("uses", uses)
            .finish()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub idempotent: bool,
    pub timeout: Duration,
}

pub const MAX_OUTPUT: usize = 1 << 20;

pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

/// What can be seen of a tool without running it: whether a run of it under this key still goes on.
#[async_trait]
pub trait Observe: Send + Sync {
    async fn running(&self, key: &str) -> Result<bool, Failure>;
}

#[async_trait]
pub trait Mutate: Send + Sync {
    /// Standard output. When the deadline passes or the future is dropped, the whole process group is ended and waited for.
    async fn run(&self, call: &CallCtx) -> Result<String, Failure>;
}

pub struct Tool;

impl Kind for Tool {
    const NAME: &'static str = "tool";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = Terms;
}
