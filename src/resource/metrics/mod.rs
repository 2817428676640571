//! Numbers that say how the product and its host are.
pub mod drivers;
mod exposition;
mod query;

pub use query::{Matcher, Query, Selector};

use super::{CallCtx, Failure, Header, Kind};
use crate::condition::{Dimension, Unit};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

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
    /// What Prometheus has gathered.
    Prometheus(Prometheus),
}

#[derive(Clone, Debug)]
pub struct Prometheus {
    /// The interface is below it, at `api/v1`.
    pub url: String,
    pub headers: BTreeMap<String, Header>,
    /// For one question.
    pub timeout: Duration,
    pub queries: BTreeMap<String, PromQl>,
    /// It knows which alerts are silenced.
    pub alertmanager: Option<Alertmanager>,
    /// Labels of the alerts that may be seen. `None`: no alert may.
    pub alerts: Option<BTreeMap<String, String>>,
}

/// A query in the language of Prometheus, which only the server reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromQl {
    pub text: String,
    /// That of its numbers.
    pub unit: Option<Unit>,
}

#[derive(Clone, Debug)]
pub struct Alertmanager {
    pub url: String,
    pub headers: BTreeMap<String, Header>,
}

impl Driver {
    /// The names that it will have.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Page { queries, .. } => queries.keys().map(String::as_str).collect(),
            Self::Prometheus(prometheus) => prometheus.queries.keys().map(String::as_str).collect(),
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

/// The numbers of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// `None`: no data.
    pub values: BTreeMap<String, Option<f64>>,
    /// What the source says against its own answer, such as that a part of it is missing.
    pub warnings: BTreeSet<String>,
}

impl From<BTreeMap<String, Option<f64>>> for Numbers {
    fn from(values: BTreeMap<String, Option<f64>>) -> Self {
        Self { values, warnings: BTreeSet::new() }
    }
}

/// The numbers of a window that has passed, one for each second in which there was data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    pub values: BTreeMap<String, Vec<f64>>,
    /// Seconds that were asked for.
    pub points: u64,
    pub warnings: BTreeSet<String>,
}

/// What is recorded of a metric, for what comes later to be held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Recorded")]
pub struct Baseline {
    pub median: f64,
    /// with data
    pub samples: u64,
    /// Between them lies half of the samples.
    pub quartiles: [f64; 2],
    /// How many samples say as much as one that is independent of the others.
    pub memory: f64,
    /// Medians of stretches of time so long that they are independent of each other.
    pub batches: Vec<f64>,
}

/// The first journals have the median alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Recorded {
    Median(f64),
    Whole { median: f64, samples: u64, quartiles: [f64; 2], memory: f64, batches: Vec<f64> },
}

impl From<Recorded> for Baseline {
    fn from(recorded: Recorded) -> Self {
        match recorded {
            Recorded::Median(median) => {
                Self { median, samples: 0, quartiles: [median; 2], memory: 1.0, batches: Vec::new() }
            }
            Recorded::Whole { median, samples, quartiles, memory, batches } => {
                Self { median, samples, quartiles, memory, batches }
            }
        }
    }
}

/// Something that somebody has to look at, as the people who watch the product have said beforehand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub name: String,
    /// As the rule says it; empty if it does not.
    pub severity: String,
    pub state: AlertState,
    /// milliseconds since 1970-01-01 UTC
    pub since: u64,
    /// The others, by name.
    pub labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// Not for long enough yet.
    Pending,
    Firing,
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
    /// Several at once, from one look where possible. A name that does not exist is `invalid`.
    async fn read(&self, names: &[String], call: &CallCtx) -> Result<Numbers, Failure>;
    /// What they were during the window before now. `None`: it keeps no history, so that whoever asks has to wait and look.
    async fn past(&self, _names: &[String], _window: Duration, _call: &CallCtx) -> Result<Option<Past>, Failure> {
        Ok(None)
    }
    /// What a query in a script's own words gives; `None` is no data.
    async fn promql(&self, _query: &str, _call: &CallCtx) -> Result<Option<f64>, Failure> {
        Err(Failure::invalid("PromQL needs a resource with the driver `prometheus`"))
    }
    /// Of these names those that can give no number, where only the source can tell.
    async fn wrong(&self, _names: &[String], _call: &CallCtx) -> Vec<(String, Failure)> {
        Vec::new()
    }
    async fn alerts(&self, _call: &CallCtx) -> Result<Vec<Alert>, Failure> {
        Err(Failure::invalid("these metrics have no alerts; those need a resource with the driver `prometheus`"))
    }
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
