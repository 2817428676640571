//! The restore point as far as a run knows it: its copies, what became of them.
use super::{
    facts::{Copy, Freed, Restored},
    fold::moment,
    news::output,
};
use crate::{
    journal::{Place, Recorded, Request, RunId},
    resource::copies::{self, Exchange, Snapshot},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Point {
    copies: BTreeMap<String, Copy>,
    /// where each copy was last brought up to date
    cuts: BTreeMap<String, (RunId, Place)>,
    pub restored: Vec<Restored>,
    pub freed: Vec<Freed>,
}

impl Point {
    /// An operation is about to change these.
    pub fn changed(&mut self, resources: &[String]) {
        for resource in resources {
            if let Some(copy) = self.copies.get_mut(resource) {
                copy.changed = true;
            }
        }
    }

    /// What an operation has come to; `own`: in the run that is reported.
    pub fn outcome(&mut self, r: &Recorded, request: &Request, value: &Value, own: bool) {
        let resource = &request.resource;
        match request.operation.as_str() {
            "backup.take" | "backup.refresh" => {
                let Some(snapshot) = output::<Snapshot>(value) else { return };
                self.copied(r, resource, &snapshot, request.operation == "backup.refresh");
            }
            "backup.restore" => {
                let Some(restored) = output::<copies::Restored>(value) else { return };
                self.restored(r, resource, restored, own);
            }
            // An exchange that a cut-off run began, looked at by a later one.
            "backup.settle" => {
                let Some(Exchange::Done { aside }) = output::<Exchange>(value) else { return };
                let restored = copies::Restored { exchanged: true, aside: Some(aside), lost: Vec::new() };
                self.restored(r, resource, restored, own);
            }
            "backup.discard" => {
                let snapshot = request.request.get("snapshot").and_then(output::<Snapshot>);
                let id = snapshot.map(|s| s.id).unwrap_or_default();
                if let Some(copy) = self.copies.get_mut(resource).filter(|copy| copy.id == id) {
                    copy.freed = true;
                }
                if own {
                    self.freed.push(Freed { resource: resource.clone(), id, bytes: value.as_u64().unwrap_or(0) });
                }
            }
            _ => {}
        }
    }

    fn restored(&mut self, r: &Recorded, resource: &str, restored: copies::Restored, own: bool) {
        if let Some(copy) = self.copies.get_mut(resource) {
            copy.changed = false;
            copy.restored |= restored.exchanged;
        }
        if own {
            self.restored.push(Restored {
                at: moment(r.at),
                place: r.place.clone(),
                resource: resource.to_owned(),
                exchanged: restored.exchanged,
                aside: restored.aside,
                lost: restored.lost,
            });
        }
    }

    fn copied(&mut self, r: &Recorded, resource: &str, snapshot: &Snapshot, refresh: bool) {
        let before = self.copies.get(resource).filter(|_| refresh);
        let copy = Copy {
            resource: resource.to_owned(),
            id: snapshot.id.clone(),
            method: snapshot.method.clone(),
            bytes: snapshot.bytes,
            proven: snapshot.proven,
            detector: snapshot.detector.clone(),
            taken: before.map_or(moment(r.at), |b| b.taken),
            refreshed: refresh.then(|| moment(r.at)),
            brought_up_to_date: refresh.then_some(snapshot.copied),
            changed: false,
            restored: false,
            freed: false,
            fingerprint: snapshot.fingerprint.clone(),
        };
        self.copies.insert(resource.to_owned(), copy);
        // One call of `refresh` is one cut; a copy that is taken alone is of its own moment.
        if refresh {
            self.cuts.insert(resource.to_owned(), (r.run, r.place.clone()));
        } else {
            self.cuts.remove(resource);
        }
    }

    pub fn one_cut(&self) -> bool {
        let cuts: BTreeSet<_> = self.copies.keys().map(|resource| self.cuts.get(resource)).collect();
        cuts.len() == 1 && !cuts.contains(&None)
    }

    pub fn into_copies(self) -> Vec<Copy> {
        self.copies.into_values().collect()
    }
}
