//! Requests to the product, from where Backout runs.
pub mod drivers;

use super::{CallCtx, Failure, Header, Kind};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, time::Duration};

/// `[probe.NAME]` of the site.
#[derive(Clone)]
pub struct Section {
    /// `http://host:port/base`; paths of a script are below it.
    pub url: String,
    pub headers: BTreeMap<String, Header>,
    /// For one request.
    pub timeout: Duration,
    /// No script may ask for more.
    pub load: Option<Load>,
}

/// Headers may be secrets, so only their names are shown.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.keys().map(String::as_str).collect();
        f.debug_struct("Section")
            .field("url", &self.url)
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .field("load", &self.load)
            .finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub clients: u32,
    pub time: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    pub status: u16,
    /// names in lower case
    pub headers: BTreeMap<String, String>,
    /// the first `MAX_BODY` bytes, as text
    pub body: String,
    /// There was more than that.
    #[serde(default)]
    pub cut: bool,
    /// until the whole body was there
    pub millis: f64,
}

/// What a load test saw. Times in milliseconds, of the requests that are no errors; not a number when there are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub requests: u64,
    pub errors: u64,
    pub seconds: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

pub const MAX_BODY: usize = 64 << 10;
pub const MAX_PATH: usize = 2048;

pub type Observer = dyn Observe;
pub type Mutator = dyn Mutate;

#[async_trait]
pub trait Observe: Send + Sync {
    /// Any status is an answer. Follows no redirect.
    async fn get(&self, path: &str, call: &CallCtx) -> Result<Response, Failure>;
    /// Beyond the site's limits: `denied`.
    async fn load(&self, path: &str, clients: u32, time: Duration, call: &CallCtx) -> Result<Sample, Failure>;
    async fn connect(&self, call: &CallCtx) -> Result<Duration, Failure>;
}

/// A probe changes nothing; there is no such half.
pub trait Mutate: Send + Sync {}
pub struct Unchangeable;
impl Mutate for Unchangeable {}

pub struct Probe;

impl Kind for Probe {
    const NAME: &'static str = "probe";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = ();
}
