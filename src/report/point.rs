//! The restore point as far as a run knows it: its copies, what became of them.
use super::{
    facts::{Copy, Freed, Restored},
    fold::moment,
    news::output,
};
use crate::{
    journal::{Recorded, Request, RunId},
    resource::{
        ResourceId,
        copies::{self, Exchange, Snapshot},
        run::Memory,
    },
};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Point {
    memory: Memory,
    times: BTreeMap<String, Times>,
    pub restored: Vec<Restored>,
    pub freed: Vec<Freed>,
}

/// When a copy was made, and when it was brought up to date.
struct Times {
    taken: Timestamp,
    refreshed: Option<Timestamp>,
}

impl Point {
    pub fn of(run: RunId) -> Self {
        Self { memory: Memory::of(run), ..Self::default() }
    }

    /// `used`: by a run of this restore point.
    pub fn entry(&mut self, r: &Recorded, used: bool) {
        self.memory.apply(r, used);
    }

    /// What an operation has come to; `own`: in the run that is reported.
    pub fn outcome(&mut self, r: &Recorded, request: &Request, value: &Value, own: bool) {
        let resource = &request.resource;
        match request.operation.as_str() {
            "backup.take" | "backup.refresh" => {
                let refreshed = (request.operation == "backup.refresh").then(|| moment(r.at));
                let before = self.times.get(resource).filter(|_| refreshed.is_some());
                let taken = before.map_or(moment(r.at), |times| times.taken);
                self.times.insert(resource.clone(), Times { taken, refreshed });
            }
            "backup.restore" => {
                let Some(restored) = output::<copies::Restored>(value) else { return };
                self.restored(r, resource, restored, own);
            }
            // An exchange that a cut-off run began, looked at by a later one.
            "backup.settle" => {
                let Some(Exchange::Done { aside }) = output::<Exchange>(value) else { return };
                let lost = vec![copies::Lost::settled()];
                let restored = copies::Restored { exchanged: true, aside: Some(aside), lost };
                self.restored(r, resource, restored, own);
            }
            // Of an exchange that has left it for later.
            "backup.count" => {
                let last = self.restored.iter_mut().rfind(|restored| restored.resource == *resource);
                if let (Some(restored), Some(lost)) = (last, output(value)) {
                    restored.lost = lost;
                }
            }
            "backup.discard" if own => {
                let snapshot = request.request.get("snapshot").and_then(output::<Snapshot>);
                let id = snapshot.map(|s| s.id).unwrap_or_default();
                self.freed.push(Freed { resource: resource.clone(), id, bytes: value.as_u64().unwrap_or(0) });
            }
            _ => {}
        }
    }

    fn restored(&mut self, r: &Recorded, resource: &str, restored: copies::Restored, own: bool) {
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

    pub fn one_cut(&self) -> bool {
        self.memory.restore_point.one_cut
    }

    pub fn copies(&self) -> Vec<Copy> {
        let point = &self.memory.restore_point;
        let copy = |(id, snapshot): (&ResourceId, &Snapshot)| {
            let resource = id.to_string();
            let times = self.times.get(&resource)?;
            Some(Copy {
                resource,
                id: snapshot.id.clone(),
                method: snapshot.method.clone(),
                bytes: snapshot.bytes,
                proven: snapshot.proven,
                detector: snapshot.detector.clone(),
                position: snapshot.position.clone(),
                chosen: snapshot.chosen.clone(),
                taken: times.taken,
                refreshed: times.refreshed,
                brought_up_to_date: times.refreshed.map(|_| snapshot.copied),
                changed: point.changed.contains(id),
                restored: point.restored.contains(id),
                freed: point.freed.contains(id),
                fingerprint: snapshot.fingerprint.clone(),
            })
        };
        point.snapshots.iter().filter_map(copy).collect()
    }
}
