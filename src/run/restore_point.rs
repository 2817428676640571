//! Restore points as the journal tells them: there is no second record that could disagree.
use crate::{
    journal::{Entry, Header, Place, Recorded, Request, RunId},
    resource::{
        Failure, ResourceId,
        copies::{Exchange, Restored, Snapshot},
        run::{Memory, RestorePoint},
        service::Mark,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What may still be done with a restore point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It can be restored.
    Ready,
    /// Its copies have become live; what was live before is kept aside.
    Restored,
    /// Its copies were freed, or are being freed: it is no way back any more.
    Committed,
}

/// A restore point with what happened since.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    pub run: RunId,
    pub package: String,
    /// of the package that made it
    pub digest: String,
    pub from_version: String,
    pub to_version: String,
    /// milliseconds since 1970-01-01 UTC: when the newest of its copies was brought up to date
    pub at: i64,
    pub state: State,
    pub restore_point: RestorePoint,
    /// What was live before a restore, by resource: the place where it is kept.
    pub aside: BTreeMap<ResourceId, Restored>,
    /// Resources whose copies were freed. A commit that was cut off has left the others.
    pub freed: BTreeSet<ResourceId>,
    /// `phase/step` of the upgrade, as far as it came.
    pub completed: BTreeSet<String>,
    #[serde(skip)]
    pub store: BTreeMap<String, String>,
    #[serde(skip)]
    pub marks: BTreeMap<String, Mark>,
    /// Evidence of exchanges that were begun and did not report an end.
    #[serde(skip)]
    pub unsettled: BTreeMap<ResourceId, Vec<Value>>,
    #[serde(skip)]
    refreshed: BTreeMap<ResourceId, (RunId, Place)>,
    /// The newest run that used it, and how that ended; `None`: it did not end.
    pub last: (RunId, Option<String>),
}

impl Point {
    /// What a run that uses this restore point begins with.
    pub fn memory(&self) -> Memory {
        Memory {
            store: self.store.clone().into_iter().collect(),
            completed: self.completed.clone(),
            restore_point: self.restore_point.clone(),
            marks: self.marks.clone(),
            disturbances: 0,
        }
    }
    /// Copies that are still there.
    pub fn copies(&self) -> impl Iterator<Item = (&ResourceId, &Snapshot)> {
        self.restore_point.snapshots.iter().filter(|(resource, _)| !self.freed.contains(resource))
    }
    pub fn bytes(&self) -> u64 {
        self.copies().map(|(_, snapshot)| snapshot.bytes).fold(0, u64::saturating_add)
    }
    pub fn proven(&self) -> bool {
        !self.restore_point.snapshots.is_empty() && self.restore_point.snapshots.values().all(|s| s.proven)
    }
}

/// All restore points, oldest first, from all entries of a journal in their order.
pub fn points(entries: &[Recorded]) -> Vec<Point> {
    let mut fold = Fold::default();
    for recorded in entries {
        fold.entry(recorded);
    }
    fold.points.into_values().filter(|p| !p.restore_point.snapshots.is_empty()).collect()
}

#[derive(Default)]
struct Fold {
    points: BTreeMap<RunId, Point>,
    /// run → the restore point that it makes or uses
    of_run: BTreeMap<RunId, (RunId, Header)>,
    intents: BTreeMap<(RunId, Place, u32), Request>,
}

impl Fold {
    fn entry(&mut self, recorded: &Recorded) {
        match &recorded.entry {
            Entry::RunStarted(header) => self.started(recorded, header),
            Entry::RunEnded(ending) => {
                if let Some(point) = self.point(recorded.run) {
                    point.last = (recorded.run, Some(ending.outcome.clone()));
                    if ending.outcome == "rolled-back" {
                        point.state = State::Restored;
                    }
                }
            }
            Entry::StepEnded { result: Ok(()), .. } => {
                if let Some(point) = self.point(recorded.run) {
                    point.completed.insert(recorded.place.title());
                }
            }
            Entry::Intent(request) => {
                for resource in request.changes.iter().filter_map(|r| ResourceId::try_from(r.clone()).ok()) {
                    for point in self.points.values_mut() {
                        point.restore_point.changed.insert(resource.clone());
                    }
                }
                // From the first copy on that is being freed, the point as a whole is no way back.
                if request.operation == "backup.discard" {
                    let freed = request.request.get("snapshot").and_then(output::<Snapshot>);
                    for point in self.points.values_mut() {
                        if point.restore_point.snapshots.values().any(|s| freed.as_ref().is_some_and(|f| f.id == s.id))
                        {
                            point.state = State::Committed;
                        }
                    }
                }
                if request.operation == "backup.restore"
                    && let Ok(resource) = ResourceId::try_from(request.resource.clone())
                    && let Some(point) = self.point(recorded.run)
                {
                    point.unsettled.insert(resource, Vec::new());
                }
                self.intents.insert((recorded.run, recorded.place.clone(), recorded.seq), request.clone());
            }
            Entry::Evidence { data } => {
                let key = (recorded.run, recorded.place.clone(), recorded.seq);
                let resource = self.intents.get(&key).and_then(|r| ResourceId::try_from(r.resource.clone()).ok());
                if let (Some(resource), Some(point)) = (resource, self.point(recorded.run))
                    && let Some(evidence) = point.unsettled.get_mut(&resource)
                {
                    evidence.push(data.clone());
                }
            }
            Entry::Outcome { result, .. } => {
                let key = (recorded.run, recorded.place.clone(), recorded.seq);
                let Some(request) = self.intents.remove(&key) else { return };
                if request.operation == "backup.restore"
                    && let Ok(resource) = ResourceId::try_from(request.resource.clone())
                    && let Some(point) = self.point(recorded.run)
                {
                    point.unsettled.remove(&resource);
                }
                if let Ok(value) = result {
                    self.done(recorded, &request, value);
                }
            }
            Entry::Observed { request, result: Ok(value), .. } => self.done(recorded, request, value),
            _ => {}
        }
    }

    fn started(&mut self, recorded: &Recorded, header: &Header) {
        let run = recorded.run;
        let point = if header.restore_point == 0 { run } else { header.restore_point };
        self.of_run.insert(run, (point, header.clone()));
        if point == run && matches!(header.command.as_str(), "prepare" | "upgrade") {
            self.points.insert(
                run,
                Point {
                    run,
                    package: header.package.clone(),
                    digest: header.digest.clone(),
                    from_version: header.from_version.clone(),
                    to_version: header.to_version.clone(),
                    at: recorded.at,
                    state: State::Ready,
                    restore_point: RestorePoint { run, ..RestorePoint::default() },
                    aside: BTreeMap::new(),
                    freed: BTreeSet::new(),
                    completed: BTreeSet::new(),
                    store: BTreeMap::new(),
                    marks: BTreeMap::new(),
                    unsettled: BTreeMap::new(),
                    refreshed: BTreeMap::new(),
                    last: (run, None),
                },
            );
        } else if let Some(point) = self.points.get_mut(&point) {
            point.last = (run, None);
        }
    }

    fn point(&mut self, run: RunId) -> Option<&mut Point> {
        let (point, _) = self.of_run.get(&run)?;
        self.points.get_mut(point)
    }

    fn done(&mut self, recorded: &Recorded, request: &Request, value: &Value) {
        let Ok(resource) = ResourceId::try_from(request.resource.clone()) else { return };
        if request.operation == "backup.discard" {
            let freed = request.request.get("snapshot").and_then(output::<Snapshot>);
            for point in self.points.values_mut() {
                let copy = point.restore_point.snapshots.get(&resource);
                if copy.is_some_and(|copy| freed.as_ref().is_some_and(|freed| freed.id == copy.id)) {
                    point.freed.insert(resource.clone());
                }
            }
        }
        let Some(point) = self.point(recorded.run) else { return };
        let kept = &mut point.restore_point;
        match request.operation.as_str() {
            "backup.take" | "backup.refresh" => {
                let Some(snapshot) = output::<Snapshot>(value) else { return };
                point.at = recorded.at;
                kept.changed.remove(&resource);
                kept.snapshots.insert(resource.clone(), snapshot);
                // One call of `refresh` brings all copies up to date under one fence; a copy taken alone is of its own moment.
                match request.operation.as_str() {
                    "backup.refresh" => point.refreshed.insert(resource, (recorded.run, recorded.place.clone())),
                    _ => point.refreshed.remove(&resource),
                };
                let cuts: BTreeSet<_> = kept.snapshots.keys().map(|r| point.refreshed.get(r)).collect();
                kept.one_cut = cuts.len() == 1 && !cuts.contains(&None);
            }
            "backup.restore" => {
                let Some(restored) = output::<Restored>(value) else { return };
                kept.changed.remove(&resource);
                if restored.exchanged {
                    kept.restored.insert(resource.clone());
                    point.aside.insert(resource, restored);
                }
            }
            "backup.settle" => {
                if let Some(Exchange::Done { aside }) = output::<Exchange>(value) {
                    kept.changed.remove(&resource);
                    kept.restored.insert(resource.clone());
                    let restored = Restored { exchanged: true, aside: Some(aside), lost: Vec::new() };
                    point.aside.insert(resource.clone(), restored);
                }
                point.unsettled.remove(&resource);
            }
            "metrics.baseline" => {
                if let Some(medians) = output::<BTreeMap<String, f64>>(value) {
                    kept.baselines.insert(resource.name, medians);
                }
            }
            "store.set" => {
                if let (Some(key), Some(value)) = (text(&request.request, "key"), text(&request.request, "value")) {
                    point.store.insert(key, value);
                }
            }
            "logs.mark" => {
                if let Some(mark) = output::<Mark>(value) {
                    point.marks.insert(resource.to_string(), mark);
                }
            }
            _ => {}
        }
    }
}

fn output<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_str().map(ToOwned::to_owned)
}

/// The newest restore point of a package that can be restored, or the one that was named.
pub fn choose<'p>(points: &'p [Point], package: &str, named: Option<RunId>) -> Result<&'p Point, Failure> {
    let mine = || points.iter().filter(|p| p.package == package);
    match named {
        None => mine().rfind(|p| p.state == State::Ready).ok_or_else(|| {
            Failure::not_found(format!(
                "there is no restore point of {package} to go back to; `backout restore-points` lists all"
            ))
        }),
        Some(run) => match mine().find(|p| p.run == run) {
            Some(point) if point.state == State::Ready => Ok(point),
            Some(point) if point.state == State::Restored => Err(Failure::conflict(format!(
                "restore point {run} has been restored already, by run {}",
                point.last.0
            ))),
            Some(_) => Err(Failure::conflict(format!("restore point {run} was committed: its copies were freed"))),
            None => Err(Failure::not_found(format!(
                "{package} has no restore point {run}; `backout restore-points` lists all"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::Ending,
        resource::copies::{Fingerprint, Lost},
    };
    use serde_json::json;

    /// A journal by hand.
    #[derive(Default)]
    struct Told(Vec<Recorded>, u32);
    impl Told {
        fn entry(&mut self, run: RunId, entry: Entry) {
            let place = Place::new("upgrade", false, "step", 1);
            self.1 += 1;
            self.0.push(Recorded { id: 0, run, at: 0, place, seq: self.1, entry });
        }
        fn run(&mut self, run: RunId, command: &str, restore_point: RunId) {
            let header =
                Header { command: command.into(), package: "acme/shop".into(), restore_point, ..Header::default() };
            self.entry(run, Entry::RunStarted(header));
        }
        fn did(&mut self, run: RunId, operation: &str, resource: &str, changes: &[&str], output: Value) {
            let request = Request {
                operation: operation.into(),
                class: "idempotent".into(),
                label: "x".into(),
                resource: resource.into(),
                changes: changes.iter().map(ToString::to_string).collect(),
                request: json!({ "snapshot": output }),
            };
            self.entry(run, Entry::Intent(request));
            self.1 -= 1;
            self.entry(run, Entry::Outcome { result: Ok(output), millis: 1 });
        }
        fn ended(&mut self, run: RunId, outcome: &str) {
            self.entry(run, Entry::RunEnded(Ending { outcome: outcome.into(), exit: 0, message: String::new() }));
        }
    }

    fn snapshot(id: &str) -> Value {
        serde_json::to_value(Snapshot {
            id: id.into(),
            place: id.into(),
            method: "stand-by".into(),
            bytes: 7,
            proven: true,
            fingerprint: Fingerprint::default(),
            copied: 1,
            detector: String::new(),
        })
        .unwrap()
    }

    fn restored(exchanged: bool) -> Value {
        let lost = vec![Lost { part: "orders".into(), rows: 3, changed: 0, missing: 0 }];
        serde_json::to_value(Restored { exchanged, aside: Some("there".into()), lost }).unwrap()
    }

    fn upgraded() -> Told {
        let mut told = Told::default();
        told.run(1, "upgrade", 0);
        told.did(1, "backup.take", "database:orders", &[], snapshot("1-orders"));
        told.did(1, "backup.take", "tree:app", &[], snapshot("1-app"));
        told.did(1, "service.start", "service:web", &["service:web", "database:orders"], Value::Null);
        told
    }

    #[test]
    fn what_was_changed_since_the_copy_is_known() {
        let mut told = upgraded();
        told.ended(1, "upgraded");
        let points = points(&told.0);
        let point = choose(&points, "acme/shop", None).unwrap();
        assert!(point.restore_point.changed.contains(&ResourceId::new("database", "orders")));
        assert!(!point.restore_point.changed.contains(&ResourceId::new("tree", "app")));
        assert!(!point.restore_point.one_cut, "taken one by one");
        assert_eq!(point.last, (1, Some("upgraded".into())));
    }

    #[test]
    fn a_copy_that_became_live_cannot_be_restored_again() {
        let mut told = upgraded();
        told.ended(1, "stopped");
        told.run(2, "rollback", 1);
        told.did(2, "backup.restore", "database:orders", &["database:orders"], restored(true));
        told.ended(2, "stopped");
        let half = points(&told.0);
        let point = choose(&half, "acme/shop", None).unwrap();
        assert!(point.restore_point.restored.contains(&ResourceId::new("database", "orders")));
        told.run(3, "rollback", 1);
        told.ended(3, "rolled-back");
        let back = points(&told.0);
        assert!(choose(&back, "acme/shop", None).is_err());
        assert_eq!(choose(&back, "acme/shop", Some(1)).unwrap_err().kind, crate::failure::FailureKind::Conflict);
    }

    #[test]
    fn a_copy_that_is_being_freed_is_no_way_back_even_when_the_power_fails() {
        let mut told = upgraded();
        told.ended(1, "upgraded");
        told.run(2, "commit", 1);
        told.did(2, "backup.discard", "tree:app", &[], snapshot("1-app"));
        told.0.pop();
        let point = points(&told.0).remove(0);
        assert_eq!((point.state, point.copies().count()), (State::Committed, 2), "nobody knows whether it was freed");
        told.did(3, "backup.discard", "tree:app", &[], snapshot("1-app"));
        let point = points(&told.0).remove(0);
        let left: Vec<String> = point.copies().map(|(resource, _)| resource.to_string()).collect();
        assert_eq!((point.state, left), (State::Committed, vec!["database:orders".to_owned()]));
    }

    #[test]
    fn an_exchange_that_was_cut_off_has_to_be_settled() {
        let mut told = upgraded();
        told.run(2, "rollback", 1);
        let orders = ResourceId::new("database", "orders");
        told.did(2, "backup.restore", "database:orders", &["database:orders"], restored(true));
        told.0.pop();
        told.entry(2, Entry::Evidence { data: json!({ "inode": 7 }) });
        told.0.last_mut().unwrap().seq = told.1 - 1;
        let point = points(&told.0).remove(0);
        assert_eq!(point.unsettled[&orders], [json!({ "inode": 7 })]);
        assert!(point.restore_point.changed.contains(&orders));
        told.run(3, "rollback", 1);
        let done = serde_json::to_value(Exchange::Done { aside: "there".into() }).unwrap();
        told.did(3, "backup.settle", "database:orders", &[], done);
        let point = points(&told.0).remove(0);
        assert!(point.unsettled.is_empty());
        assert!(point.restore_point.restored.contains(&orders));
    }

    #[test]
    fn one_refresh_of_everything_is_one_cut() {
        let mut told = upgraded();
        told.did(1, "backup.refresh", "database:orders", &[], snapshot("1-orders"));
        assert!(!points(&told.0)[0].restore_point.one_cut);
        told.did(1, "backup.refresh", "tree:app", &[], snapshot("1-app"));
        assert!(points(&told.0)[0].restore_point.one_cut);
        told.did(1, "backup.take", "tree:app", &[], snapshot("1-app"));
        assert!(!points(&told.0)[0].restore_point.one_cut);
    }
}
