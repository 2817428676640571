//! Numbers that say how the product and its host are.
pub mod drivers;
mod exposition;
mod query;

pub use query::{Matcher, Query, Selector};

use super::{CallCtx, Failure, Kind};
use crate::condition::Dimension;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// `[metrics.NAME]` of the site.
#[derive(Clone, Debug)]
pub struct Section {
    pub driver: Driver,
}

#[derive(Clone, Debug)]
pub enum Driver {
    /// This machine: `cpu`, `memory`, `disk-free`, `network-received`, `network-sent`.
    Host { disk: PathBuf },
    /// A service's own processes: `cpu` (1 is one processor), `memory` (bytes), `processes`.
    Process { service: String },
    /// A page of the product.
    Page { url: String, timeout: Duration, queries: BTreeMap<String, Query> },
}

impl Driver {
    /// The names that it will have.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Page { queries, .. } => queries.keys().map(String::as_str).collect(),
            Self::Host { .. } => drivers::HOST.iter().map(|(name, _)| *name).collect(),
            Self::Process { .. } => drivers::PROCESS.iter().map(|(name, _)| *name).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostMetrics {
    pub cpu: f64,
    pub memory_used: u64,
    pub memory_total: u64,
    pub disk_free: u64,
    pub disk_total: u64,
    pub network_received: f64,
    pub network_sent: f64,
}

/// The names that a need lists; only these may be asked for. Empty: the need names none, and none may be.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    pub queries: Vec<String>,
}

pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

#[async_trait]
pub trait Observe: Send + Sync {
    /// The names that this resource has.
    fn names(&self) -> Vec<String>;
    /// What the numbers of a name measure, so that `p95 < 1%` is a mistake.
    fn dimension(&self, name: &str) -> Dimension;
    /// In a simulated world: the number that somebody has said it is. `None`: it is taken to be as the script wants it.
    fn given(&self, _name: &str) -> Option<f64> {
        None
    }
    /// Several at once, from one look where possible. `None`: no data. A name that does not exist is `invalid`.
    async fn read(&self, names: &[String], call: &CallCtx) -> Result<BTreeMap<String, Option<f64>>, Failure>;
    async fn host(&self, call: &CallCtx) -> Result<HostMetrics, Failure>;
}

/// Metrics cannot be changed; there is no such half.
pub trait Mutate: Send + Sync {}
pub struct Unchangeable;
impl Mutate for Unchangeable {}

pub struct Metrics;

impl Kind for Metrics {
    const NAME: &'static str = "metrics";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = Terms;
}
