//! What a run remembers, told by one function from the entries of a journal. A run that goes on is fed what its gate has just
//! written, the commands and the report what stands there: they cannot disagree.
use super::restore_point::RestorePoint;
use crate::{
    journal::{Entry, Place, Recorded, Request, RunId},
    resource::{FailureKind, ResourceId, copies::Snapshot, service::Mark},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What changes while a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip)]
    pub store: Store,
    /// `phase/step` of the upgrade that is rolled back, or of this run.
    pub completed: BTreeSet<String>,
    pub restore_point: RestorePoint,
    #[serde(skip)]
    pub marks: BTreeMap<ResourceId, Mark>,
    /// Operations that may have touched anything outside Backout's own copies; with none, an end leaves all as it was.
    #[serde(skip)]
    pub disturbances: u32,
    /// Begun, and not known to have ended.
    #[serde(skip)]
    open: BTreeMap<(RunId, Place, u32), Open>,
    /// Copies whose making has failed, which says nothing of what is there.
    #[serde(skip)]
    failed: Vec<(ResourceId, Snapshot)>,
}

/// An operation that goes on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Open {
    pub operation: String,
    pub resource: ResourceId,
    /// What was asked; nothing of operations that are not remembered.
    pub request: Value,
    /// By a run that makes or uses this restore point.
    pub own: bool,
    changes: Vec<ResourceId>,
    disturbs: bool,
    /// Of a copy: what is copied may have been changed while it was made.
    pub overtaken: bool,
}

impl Open {
    fn new(request: &Request, resource: ResourceId, own: bool) -> Self {
        let remembered = request.operation.starts_with("backup.") || request.operation == "store.set";
        Self {
            operation: request.operation.clone(),
            resource,
            request: if remembered { request.request.clone() } else { Value::Null },
            own,
            changes: request.changes.iter().filter_map(|r| ResourceId::try_from(r.clone()).ok()).collect(),
            disturbs: request.disturbs && own,
            overtaken: false,
        }
    }

    /// The copy that it makes, as far as it comes.
    fn half_made(&self) -> Option<(ResourceId, Snapshot)> {
        let id = self.request.get("id").filter(|_| self.own && self.operation == "backup.take")?;
        Some((self.resource.clone(), Snapshot::half_made(id.as_str()?)))
    }

    fn may_change(&self, resource: &ResourceId) -> bool {
        self.changes.contains(resource)
    }
}

impl Memory {
    /// Of a restore point of which nothing is known yet.
    pub fn of(run: RunId) -> Self {
        Self { restore_point: RestorePoint::of(run), ..Self::default() }
    }

    /// Takes an entry in, in the journal's order. `own`: of a run that makes or uses this restore point; what other runs change
    /// and free bears on it too.
    pub fn apply(&mut self, recorded: &Recorded, own: bool) {
        let key = || (recorded.run, recorded.place.clone(), recorded.seq);
        match &recorded.entry {
            Entry::StepEnded { result: Ok(()), .. } if own => {
                self.completed.insert(recorded.place.title());
            }
            Entry::Intent(request) => {
                let Ok(resource) = ResourceId::try_from(request.resource.clone()) else { return };
                let mut begun = Open::new(request, resource, own);
                begun.overtaken = self.open.values().any(|open| open.may_change(&begun.resource));
                for open in self.open.values_mut() {
                    open.overtaken |= begun.may_change(&open.resource);
                }
                self.restore_point.begun(&begun, &begun.changes);
                self.disturbances += u32::from(request.disturbs && own);
                self.open.insert(key(), begun);
            }
            Entry::Evidence { data } => {
                if let Some(open) = self.open.get(&key()).filter(|open| open.own) {
                    self.restore_point.testified(open, data);
                }
            }
            Entry::Outcome { result, .. } => {
                let Some(open) = self.open.remove(&key()) else { return };
                // What a driver denies (a path out of a tree) it has not begun.
                if matches!(result, Err(failure) if failure.kind == FailureKind::Denied) {
                    self.disturbances = self.disturbances.saturating_sub(u32::from(open.disturbs));
                }
                if result.is_err() {
                    self.failed.extend(open.half_made());
                }
                self.restore_point.ended(recorded, &open, result.as_ref().ok());
                if let (Ok(value), true) = (result, own) {
                    self.done(&open, value);
                }
            }
            Entry::Observed { request, result: Ok(value), .. } if own && Self::keeps(&request.operation) => {
                let Ok(resource) = ResourceId::try_from(request.resource.clone()) else { return };
                self.restore_point.seen(&request.operation, resource, value, recorded.at);
            }
            _ => {}
        }
    }

    /// Whether an operation that changes nothing leaves anything here.
    pub fn keeps(observes: &str) -> bool {
        RestorePoint::sees(observes)
    }

    /// Copies that this run began to make, and of which nobody knows how far they came.
    pub fn half_made(&self) -> Vec<(ResourceId, Snapshot)> {
        let mut begun: Vec<_> = self.open.values().filter_map(Open::half_made).collect();
        for failed in &self.failed {
            let made = self.restore_point.snapshots.get(&failed.0).is_some_and(|made| made.id == failed.1.id);
            if !made && !begun.contains(failed) {
                begun.push(failed.clone());
            }
        }
        begun
    }

    /// Exchanges that were begun at this place and did not report an end, with their evidence.
    pub fn unsettled_at(&self, place: &Place) -> BTreeMap<ResourceId, Vec<Value>> {
        let here = self.open.iter().filter(|((_, at, _), open)| at == place && open.own);
        let unsettled = &self.restore_point.unsettled;
        here.filter_map(|(_, open)| unsettled.get_key_value(&open.resource))
            .map(|(resource, evidence)| (resource.clone(), evidence.clone()))
            .collect()
    }

    fn done(&mut self, open: &Open, value: &Value) {
        match open.operation.as_str() {
            "store.set" => {
                let text = |field: &str| Some(open.request.get(field)?.as_str()?.to_owned());
                if let (Some(key), Some(value)) = (text("key"), text("value")) {
                    self.store.set(key, value);
                }
            }
            "logs.mark" => {
                if let Some(mark) = output::<Mark>(value) {
                    self.marks.insert(open.resource.clone(), mark);
                }
            }
            _ => {}
        }
    }
}

pub(super) fn output<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Data between steps. How much it is is known without looking through all of it.
#[derive(Clone, Debug, Default, PartialEq)]
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
