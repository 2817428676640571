//! The run itself, a kind like the others: context, settings, data between steps, payloads, time and people.
use super::{Failure, Kind, copies::Snapshot, tree::Archive};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The one label of this kind: there is one run.
pub const RUN: &str = "";

/// What does not change while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub package: String,
    pub version: String,
    pub from_version: String,
    pub to_version: String,
    pub settings: BTreeMap<String, String>,
    pub payloads: BTreeMap<String, Archive>,
}

/// What one `prepare` run leaves, as the journal tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// The run that made it.
    pub run: u64,
    /// Snapshots by resource of the site (`database:orders`), the newest of each.
    pub snapshots: BTreeMap<super::ResourceId, Snapshot>,
    /// Whether all snapshots are of one moment, under a fence.
    pub one_cut: bool,
    /// Medians by metrics resource of the site, then by metric.
    pub baselines: BTreeMap<String, BTreeMap<String, f64>>,
    /// Resources that may have changed since their snapshot was taken or refreshed.
    pub changed: BTreeSet<super::ResourceId>,
    /// Resources whose copy has become live: there is nothing left to exchange.
    #[serde(default)]
    pub restored: BTreeSet<super::ResourceId>,
}

/// What changes while a run goes on. All of it can be told again from the journal.
#[derive(Default)]
pub struct Memory {
    pub store: Store,
    /// `phase/step` of the upgrade that is rolled back, or of this run.
    pub completed: BTreeSet<String>,
    pub restore_point: RestorePoint,
    pub marks: BTreeMap<String, super::service::Mark>,
    /// Operations that may have touched anything outside Backout's own copies; with none, an end leaves all as it was.
    pub disturbances: u32,
}

/// Data between steps. How much it is is known without looking through all of it.
#[derive(Clone, Debug, Default)]
pub struct Store {
    values: BTreeMap<String, String>,
    bytes: u64,
}

impl Store {
    pub fn get(&self, key: &str) -> Option<&String> {
        self.values.get(key)
    }
    pub fn set(&mut self, key: String, value: String) {
        self.bytes = self.bytes_with(&key, &value);
        self.values.insert(key, value);
    }
    /// Bytes of keys and values, if this one were among them.
    pub fn bytes_with(&self, key: &str, value: &str) -> u64 {
        let before = self.values.get(key).map_or(0, |before| key.len() + before.len());
        self.bytes + (key.len() + value.len()) as u64 - before as u64
    }
}

impl FromIterator<(String, String)> for Store {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(values: I) -> Self {
        let mut store = Self::default();
        values.into_iter().for_each(|(key, value)| store.set(key, value));
        store
    }
}

/// People, seen from a run.
#[async_trait]
pub trait Approver: Send + Sync {
    /// Who approved. `denied` when they did not, `unavailable` when nobody can be asked.
    async fn ask(&self, question: &str, role: &str) -> Result<String, Failure>;
}

/// The run as it is looked at.
pub struct Observer {
    pub facts: Facts,
    pub memory: Arc<Mutex<Memory>>,
    pub approver: Arc<dyn Approver>,
}

impl Observer {
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves plain values behind, which stay readable.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The run as it is changed.
pub struct Mutator(pub Arc<Mutex<Memory>>);

impl Mutator {
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Run;

impl Kind for Run {
    const NAME: &'static str = "run";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = ();
}
