//! The rules of a restore point: what was copied, whether the copies are of one moment, what was changed since, what was put
//! back, what was freed.
use super::memory::{Open, output};
use crate::{
    journal::{Place, Recorded, RunId},
    resource::{
        ResourceId,
        copies::{Exchange, Lost, Restored, Snapshot},
        metrics::Baseline,
    },
};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Why a copy does not count as proven any more, although its last proof said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was begun to be made or brought up to date, and has not ended.
    Begun,
    /// That has failed: how much of the copy is old and how much new is for a look at it to say.
    Failed,
}

/// What one `prepare` run leaves, and what has become of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RestorePoint {
    /// The run that made it.
    pub run: RunId,
    /// Snapshots by resource of the site (`database:orders`), the newest of each.
    pub snapshots: BTreeMap<ResourceId, Snapshot>,
    /// Whether all snapshots are of one moment, under a fence.
    pub one_cut: bool,
    /// By metrics resource of the site, then by metric.
    pub baselines: BTreeMap<String, BTreeMap<String, Baseline>>,
    /// Resources that may have changed since their snapshot was taken or refreshed.
    pub changed: BTreeSet<ResourceId>,
    /// Resources whose copy has become live: there is nothing left to exchange.
    pub restored: BTreeSet<ResourceId>,
    /// What was live before a restore, by resource: the place where it is kept.
    pub aside: BTreeMap<ResourceId, Restored>,
    /// When each of them was set aside, in milliseconds since 1970-01-01 UTC.
    #[serde(skip)]
    pub aside_at: BTreeMap<ResourceId, i64>,
    /// What was set aside and is to stay, as somebody has said: until when, in the same milliseconds; `None`: for good.
    #[serde(skip)]
    pub kept: BTreeMap<ResourceId, Option<i64>>,
    /// Resources whose copies were freed. A commit that was cut off has left the others.
    pub freed: BTreeSet<ResourceId>,
    /// Copies whose proof is older than what was done to them since.
    #[serde(skip)]
    pub doubts: BTreeMap<ResourceId, Doubt>,
    /// From the first copy on that is being freed, the point as a whole is no way back.
    #[serde(skip)]
    pub given_up: bool,
    /// Evidence of exchanges that were begun and did not report an end.
    #[serde(skip)]
    pub unsettled: BTreeMap<ResourceId, Vec<Value>>,
    /// When the newest of its copies was brought up to date.
    #[serde(skip)]
    pub copied: Option<i64>,
    /// Which call of `refresh` brought a copy up to date.
    #[serde(skip)]
    cuts: BTreeMap<ResourceId, Cut>,
}

/// One call of `refresh`: where it was made, and after how many others.
type Cut = (RunId, Place, Option<u64>);

impl RestorePoint {
    pub fn of(run: RunId) -> Self {
        Self { run, ..Self::default() }
    }

    /// Whether going back would exchange it.
    pub fn differs(&self, resource: &ResourceId) -> bool {
        self.changed.contains(resource) && !self.restored.contains(resource)
    }

    pub(super) fn begun(&mut self, begun: &Open, changes: &[ResourceId]) {
        // What may change is remembered before it does.
        self.changed.extend(changes.iter().cloned());
        match begun.operation.as_str() {
            // What is freed of a copy that is live is what was set aside for it: nobody could have gone back by that.
            "backup.discard" if self.is_of(begun) => self.given_up |= !self.restored.contains(&begun.resource),
            // Brought up to date in part, a copy is of no moment.
            "backup.take" | "backup.refresh" if begun.own => {
                self.cuts.remove(&begun.resource);
                self.one_cut = false;
                self.doubts.insert(begun.resource.clone(), Doubt::Begun);
            }
            "backup.restore" if begun.own => {
                self.unsettled.insert(begun.resource.clone(), Vec::new());
            }
            _ => {}
        }
    }

    pub(super) fn testified(&mut self, open: &Open, data: &Value) {
        if let ("backup.restore", Some(evidence)) = (open.operation.as_str(), self.unsettled.get_mut(&open.resource)) {
            evidence.push(data.clone());
        }
    }

    /// `value`: what it came to, unless it failed.
    pub(super) fn ended(&mut self, recorded: &Recorded, open: &Open, value: Option<&Value>) {
        match (open.operation.as_str(), value) {
            ("backup.discard", Some(_)) if self.is_of(open) => {
                self.freed.insert(open.resource.clone());
            }
            ("backup.keep", Some(_)) if self.is_of(open) => {
                self.kept.insert(open.resource.clone(), open.request.get("until").and_then(Value::as_i64));
            }
            ("backup.take" | "backup.refresh", value) if open.own => match value.and_then(output::<Snapshot>) {
                Some(snapshot) => self.copied(recorded, open, snapshot),
                None => {
                    self.doubts.insert(open.resource.clone(), Doubt::Failed);
                }
            },
            ("backup.count", Some(value)) if open.own => {
                if let (Some(aside), Some(lost)) = (self.aside.get_mut(&open.resource), output(value)) {
                    aside.lost = lost;
                }
            }
            ("backup.restore", value) if open.own => {
                self.unsettled.remove(&open.resource);
                if let Some(restored) = value.and_then(output::<Restored>).filter(|restored| restored.exchanged) {
                    self.restored(open.resource.clone(), restored, recorded.at);
                }
            }
            _ => {}
        }
    }

    /// The operations that `seen` is about.
    pub(super) fn sees(operation: &str) -> bool {
        matches!(operation, "backup.settle" | "metrics.baseline")
    }

    /// By an operation that changes nothing, in a run that makes or uses this restore point.
    pub(super) fn seen(&mut self, operation: &str, resource: ResourceId, value: &Value, at: i64) {
        match operation {
            // An exchange that a cut-off run began, looked at by a later one.
            "backup.settle" => match output::<Exchange>(value) {
                Some(Exchange::Done { aside }) => {
                    self.unsettled.remove(&resource);
                    let lost = vec![Lost::settled()];
                    self.restored(resource, Restored { exchanged: true, aside: Some(aside), lost }, at);
                }
                Some(Exchange::NotDone) => {
                    self.unsettled.remove(&resource);
                }
                Some(Exchange::Unclear(_)) | None => {}
            },
            "metrics.baseline" => {
                if let Some(recorded) = output::<BTreeMap<String, Baseline>>(value) {
                    self.baselines.insert(resource.name, recorded);
                }
            }
            _ => {}
        }
    }

    fn copied(&mut self, recorded: &Recorded, open: &Open, snapshot: Snapshot) {
        let resource = &open.resource;
        self.copied = Some(recorded.at);
        // A change beside the copy may be in it, in part, or not at all.
        if !open.overtaken {
            self.changed.remove(resource);
        }
        self.restored.remove(resource);
        self.freed.remove(resource);
        self.doubts.remove(resource);
        self.snapshots.insert(resource.clone(), snapshot);
        // One call of `refresh` brings all copies up to date under one fence; a copy taken alone is of its own moment.
        if open.operation == "backup.refresh" {
            let call = open.request.get("cut").and_then(Value::as_u64);
            self.cuts.insert(resource.clone(), (recorded.run, recorded.place.clone(), call));
        }
        let cuts: BTreeSet<_> = self.snapshots.keys().map(|copy| self.cuts.get(copy)).collect();
        let unchanged = self.snapshots.keys().all(|copy| !self.changed.contains(copy));
        self.one_cut = cuts.len() == 1 && !cuts.contains(&None) && unchanged;
    }

    fn restored(&mut self, resource: ResourceId, restored: Restored, at: i64) {
        self.changed.remove(&resource);
        self.kept.remove(&resource);
        self.aside_at.insert(resource.clone(), at);
        self.restored.insert(resource.clone());
        self.aside.insert(resource, restored);
    }

    /// Whether the copy that is to be freed, or kept, is this restore point's. Any run may do so.
    fn is_of(&self, open: &Open) -> bool {
        let meant = open.request.get("snapshot").and_then(output::<Snapshot>);
        meant.is_some_and(|meant| self.snapshots.get(&open.resource).is_some_and(|copy| copy.id == meant.id))
    }
}
