//! Restore points as the journal tells them: there is no second record that could disagree.
use crate::{
    journal::{Entry, Recorded, RunId},
    resource::{
        Failure, ResourceId,
        copies::{Restored, Snapshot},
        run::{Doubt, Memory, RestorePoint},
    },
};
use serde::Serialize;
use std::collections::BTreeMap;

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
    #[serde(skip)]
    pub at: i64,
    /// The same of the rollback that came to a good end.
    #[serde(skip)]
    pub restored_at: Option<i64>,
    pub state: State,
    #[serde(flatten)]
    memory: Memory,
    /// The newest run that used it, and how that ended; `None`: it did not end.
    pub last: (RunId, Option<String>),
}

impl Point {
    /// What a run that uses this restore point begins with.
    pub fn memory(&self) -> Memory {
        // What earlier runs have touched is not what this one has.
        let mut memory = self.memory.clone();
        memory.disturbances = 0;
        memory
    }
    pub fn restore_point(&self) -> &RestorePoint {
        &self.memory.restore_point
    }
    /// Copies that are still there.
    pub fn copies(&self) -> impl Iterator<Item = (&ResourceId, &Snapshot)> {
        let point = self.restore_point();
        point.snapshots.iter().filter(|(resource, _)| !point.freed.contains(resource))
    }
    /// What was live before a restore, as far as it is still kept.
    pub fn aside(&self) -> impl Iterator<Item = (&ResourceId, &Restored)> {
        let point = self.restore_point();
        let kept = |id: &ResourceId| point.snapshots.contains_key(id) && !point.freed.contains(id);
        point.aside.iter().filter(move |(id, _)| kept(id))
    }
    /// As if these had not been copied: what is done with the point then leaves their copies alone.
    pub fn leave_out(&mut self, left_out: impl Fn(&ResourceId) -> bool) {
        self.memory.restore_point.snapshots.retain(|id, _| !left_out(id));
    }
    pub fn bytes(&self) -> u64 {
        self.copies().map(|(_, snapshot)| snapshot.bytes).fold(0, u64::saturating_add)
    }
    /// Why a copy does not count as proven; `None`: it does.
    pub fn unproven(&self, resource: &ResourceId) -> Option<&'static str> {
        let point = self.restore_point();
        match point.doubts.get(resource) {
            Some(Doubt::Begun) => Some("copying it was begun, and has not ended"),
            Some(Doubt::Failed) => Some("bringing it up to date has failed"),
            None => {
                let snapshot = point.snapshots.get(resource);
                if snapshot.is_some_and(Snapshot::comes_later) {
                    return Some("it is made under the fence, and was not yet");
                }
                let proven = snapshot.is_some_and(|snapshot| snapshot.proven);
                (!proven).then_some("it was never compared with what it is a copy of")
            }
        }
    }
    pub fn proven(&self) -> bool {
        let snapshots = &self.restore_point().snapshots;
        !snapshots.is_empty() && snapshots.keys().all(|resource| self.unproven(resource).is_none())
    }
    /// Whether one can go back to it, and knows that what comes back is what was there.
    pub fn is_way_back(&self) -> bool {
        self.state == State::Ready && self.proven()
    }
}

/// All restore points, oldest first, from all entries of a journal in their order.
pub fn points(entries: &[Recorded]) -> Vec<Point> {
    let mut points: BTreeMap<RunId, Point> = BTreeMap::new();
    // run → the restore point that it makes or uses
    let mut of_run: BTreeMap<RunId, RunId> = BTreeMap::new();
    for recorded in entries {
        let run = recorded.run;
        if let Entry::RunStarted(header) = &recorded.entry {
            let of = if header.restore_point == 0 { run } else { header.restore_point };
            of_run.insert(run, of);
            if of == run && matches!(header.command.as_str(), "prepare" | "upgrade") {
                points.insert(
                    run,
                    Point {
                        run,
                        package: header.package.clone(),
                        digest: header.digest.clone(),
                        from_version: header.from_version.clone(),
                        to_version: header.to_version.clone(),
                        at: recorded.at,
                        restored_at: None,
                        state: State::Ready,
                        memory: Memory::of(run),
                        last: (run, None),
                    },
                );
            }
        }
        let of = of_run.get(&run).copied();
        for point in points.values_mut() {
            point.entry(recorded, of == Some(point.run));
        }
    }
    points.into_values().filter(|p| !p.restore_point().snapshots.is_empty()).collect()
}

impl Point {
    fn entry(&mut self, recorded: &Recorded, own: bool) {
        self.memory.apply(recorded, own);
        match &recorded.entry {
            Entry::RunStarted(_) | Entry::RunResumed(_) if own => self.last = (recorded.run, None),
            Entry::RunEnded(ending) if own => {
                self.last = (recorded.run, Some(ending.outcome.clone()));
                if ending.outcome == "rolled-back" {
                    self.state = State::Restored;
                    self.restored_at = Some(recorded.at);
                }
            }
            _ => {}
        }
        self.at = self.restore_point().copied.unwrap_or(self.at);
        let point = self.restore_point();
        let all_freed = point.snapshots.keys().all(|resource| point.freed.contains(resource));
        if point.given_up || (all_freed && !point.snapshots.is_empty()) {
            self.state = State::Committed;
        }
    }
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
pub(in crate::run) mod tests {
    use super::*;
    use crate::{
        journal::{Ending, Header, Place, Request},
        resource::copies::{Exchange, Fingerprint, Lost},
    };
    use serde_json::{Value, json};

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
        /// As a later run looks at an exchange.
        fn settled(&mut self, run: RunId, resource: &str, exchange: Exchange) {
            let exchange = serde_json::to_value(exchange).unwrap();
            self.did(run, "backup.settle", resource, &[], exchange.clone());
            self.0.pop();
            let Some(Recorded { entry: Entry::Intent(request), .. }) = self.0.pop() else { panic!() };
            self.entry(run, Entry::Observed { request, result: Ok(exchange), millis: 1 });
        }
        fn did(&mut self, run: RunId, operation: &str, resource: &str, changes: &[&str], output: Value) {
            let request = Request {
                operation: operation.into(),
                class: "idempotent".into(),
                label: "x".into(),
                resource: resource.into(),
                changes: changes.iter().map(ToString::to_string).collect(),
                disturbs: false,
                request: json!({ "snapshot": output }),
            };
            self.entry(run, Entry::Intent(request));
            self.1 -= 1;
            self.entry(run, Entry::Outcome { result: Ok(output), millis: 1 });
        }
        fn ended(&mut self, run: RunId, outcome: &str) {
            self.entry(
                run,
                Entry::RunEnded(Ending {
                    outcome: outcome.into(),
                    exit: 0,
                    message: String::new(),
                    ..Ending::default()
                }),
            );
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
            position: None,
            chosen: None,
        })
        .unwrap()
    }

    /// A restore point of one copy.
    pub fn point(run: RunId, package: &str, proven: bool, at: i64) -> Point {
        let mut told = Told::default();
        told.run(run, "prepare", 0);
        let Value::Object(mut copy) = snapshot("copy") else { panic!() };
        copy.insert("proven".into(), proven.into());
        told.did(run, "backup.take", "database:orders", &[], copy.into());
        Point { package: package.to_owned(), at, ..points(&told.0).remove(0) }
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
        assert!(point.restore_point().changed.contains(&ResourceId::new("database", "orders")));
        assert!(!point.restore_point().changed.contains(&ResourceId::new("tree", "app")));
        assert!(!point.restore_point().one_cut, "taken one by one");
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
        assert!(point.restore_point().restored.contains(&ResourceId::new("database", "orders")));
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
        assert_eq!(point.restore_point().unsettled[&orders], [json!({ "inode": 7 })]);
        assert!(point.restore_point().changed.contains(&orders));
        told.run(3, "rollback", 1);
        told.settled(3, "database:orders", Exchange::Done { aside: "there".into() });
        let point = points(&told.0).remove(0);
        assert!(point.restore_point().unsettled.is_empty());
        assert!(point.restore_point().restored.contains(&orders));
    }

    #[test]
    fn what_was_changed_while_it_was_copied_counts_as_changed() {
        let orders = ResourceId::new("database", "orders");
        for begins_first in [true, false] {
            let mut told = Told::default();
            told.run(1, "upgrade", 0);
            let tool = |told: &mut Told| told.did(1, "tool.run", "tool:t", &["database:orders"], Value::Null);
            let take = |told: &mut Told| told.did(1, "backup.take", "database:orders", &[], snapshot("1-orders"));
            if begins_first {
                tool(&mut told)
            } else {
                take(&mut told)
            }
            // Its end comes after what follows.
            let end = told.0.pop().unwrap();
            if begins_first {
                take(&mut told)
            } else {
                tool(&mut told)
            }
            told.0.push(end);
            assert!(points(&told.0)[0].restore_point().differs(&orders), "{begins_first}");
            take(&mut told);
            assert!(!points(&told.0)[0].restore_point().differs(&orders), "{begins_first}");
        }
    }

    #[test]
    fn an_exchange_that_nobody_can_judge_stays_unsettled() {
        let mut told = upgraded();
        told.run(2, "rollback", 1);
        told.did(2, "backup.restore", "database:orders", &["database:orders"], restored(true));
        told.0.pop();
        for (exchange, left) in [(Exchange::Unclear("look".into()), 1), (Exchange::NotDone, 0)] {
            told.settled(2, "database:orders", exchange);
            assert_eq!(points(&told.0)[0].restore_point().unsettled.len(), left);
        }
    }

    #[test]
    fn a_copy_is_as_proven_as_the_last_thing_that_was_done_to_it() {
        let mut told = upgraded();
        let why = |told: &Told| points(&told.0)[0].unproven(&ResourceId::new("tree", "app")).map(str::to_owned);
        assert_eq!(why(&told), None);
        assert!(points(&told.0)[0].is_way_back());
        told.did(1, "backup.refresh", "tree:app", &[], snapshot("1-app"));
        let ended = told.0.pop().unwrap();
        assert_eq!(why(&told).unwrap(), "copying it was begun, and has not ended");
        let failure = crate::failure::Failure::failed("the disk is gone");
        told.0.push(Recorded { entry: Entry::Outcome { result: Err(failure), millis: 1 }, ..ended });
        assert_eq!(why(&told).unwrap(), "bringing it up to date has failed");
        assert!(!points(&told.0)[0].is_way_back());
        told.did(1, "backup.refresh", "tree:app", &[], snapshot("1-app"));
        assert_eq!(why(&told), None);
        let Value::Object(mut unproven) = snapshot("1-app") else { panic!() };
        unproven.insert("proven".into(), false.into());
        told.did(1, "backup.take", "tree:app", &[], unproven.into());
        assert_eq!(why(&told).unwrap(), "it was never compared with what it is a copy of");
    }

    #[test]
    fn one_refresh_of_everything_is_one_cut() {
        let mut told = upgraded();
        told.did(1, "backup.refresh", "database:orders", &[], snapshot("1-orders"));
        assert!(!points(&told.0)[0].restore_point().one_cut);
        told.did(1, "backup.refresh", "tree:app", &[], snapshot("1-app"));
        assert!(points(&told.0)[0].restore_point().one_cut);
        told.did(1, "backup.take", "tree:app", &[], snapshot("1-app"));
        assert!(!points(&told.0)[0].restore_point().one_cut);
    }
}
