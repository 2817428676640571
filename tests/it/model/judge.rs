//! The model: what a journal may hold of a plot, whatever befell the processes that carried it out. It knows nothing of how a run
//! works, only what it promises.
use super::{
    life::RUN,
    plot::Act,
    plot::{Asked, Plot, Step},
    world::World,
};
use backout::{
    journal::{Entry, Place, Recorded, Request},
    resource::{Failure, FailureKind},
    run::{Phase, life_cycle::Outcome},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen in a history, so that nobody takes a test for one that has looked at nothing.
pub type Seen = BTreeMap<&'static str, usize>;

pub struct Judge<'j> {
    pub plot: &'j Plot,
    pub at_once: usize,
    pub world: &'j World,
}

#[derive(Default)]
struct Told<'j> {
    places: BTreeMap<Place, Attempt<'j>>,
    /// How often the run was taken up.
    life: usize,
    /// At which attempts a step begins anew, because the run had ended with it as it was.
    anew: BTreeMap<(String, bool, String), u32>,
    ending: BTreeMap<(String, bool, String), u32>,
    turned_back: bool,
    /// Steps that are at work in this life.
    active: BTreeSet<Place>,
    /// What each key of the store may hold: all that was ever written there, and the last.
    store: BTreeMap<String, Vec<String>>,
    disturbed: bool,
}

#[derive(Default)]
struct Attempt<'j> {
    started: bool,
    operations: Vec<Operation<'j>>,
    ended: Option<(Result<(), FailureKind>, usize)>,
}

struct Operation<'j> {
    request: &'j Request,
    intent: bool,
    decided: Option<bool>,
    result: Option<&'j Result<Value, Failure>>,
}

impl<'j> Judge<'j> {
    /// Of a whole history; `outcomes`: what the lives that came to an end said, with how many entries there were then.
    pub fn judge(&self, entries: &'j [Recorded], outcomes: &[(usize, Outcome)], seen: &mut Seen) {
        let mut told = Told::default();
        for (at, recorded) in entries.iter().enumerate() {
            assert_eq!(recorded.run, RUN);
            if let Some((_, outcome)) = outcomes.iter().find(|(count, _)| *count == at + 1) {
                self.outcome(&told, recorded, outcome, seen);
            }
            self.entry(&mut told, recorded, seen);
        }
        self.effects(&told, seen);
    }

    fn entry(&self, told: &mut Told<'j>, recorded: &'j Recorded, seen: &mut Seen) {
        let place = &recorded.place;
        let mut saw = |what| *seen.entry(what).or_default() += 1;
        if !place.step.is_empty() && !matches!(recorded.entry, Entry::StepEnded { .. }) {
            told.active.insert(place.clone());
            assert!(told.active.len() <= self.at_once, "more than {} steps at once: {:?}", self.at_once, told.active);
        }
        match &recorded.entry {
            Entry::StepStarted => self.starts(told, place),
            Entry::StepEnded { result, limit, .. } => {
                assert!(!limit);
                let result = result.as_ref().copied().map_err(|failure| failure.kind);
                self.ends(told, place, result);
                told.active.remove(place);
                saw(if result.is_ok() { "steps done" } else { "attempts failed" });
            }
            Entry::Intent(request) | Entry::Observed { request, .. } => {
                let intent = matches!(recorded.entry, Entry::Intent(_));
                assert!(intent || request.class == "observe", "{request:?} without an intent");
                assert!(!intent || request.class != "observe" || request.operation == "clock.sleep", "{request:?}");
                told.disturbed |= intent && request.disturbs;
                let result = match &recorded.entry {
                    Entry::Observed { result, .. } => Some(result),
                    _ => None,
                };
                let attempt = told.places.entry(place.clone()).or_default();
                assert_eq!(attempt.operations.len() + 1, recorded.seq as usize, "a gap at {place:?}");
                assert!(attempt.operations.last().is_none_or(|last| last.result.is_some()), "two at once in {place:?}");
                attempt.operations.push(Operation { request, intent, decided: None, result });
                if request.operation == "store.get" {
                    self.reads(told, place, request, result.unwrap());
                }
            }
            Entry::Evidence { .. } => {
                self.open(told, recorded);
            }
            Entry::Decided { done, .. } => {
                let operation = self.open(told, recorded);
                assert_eq!(operation.request.class, "once", "a question about what may be done twice");
                operation.decided = Some(*done);
                saw("decided by people");
            }
            Entry::Outcome { result, .. } => {
                let operation = self.open(told, recorded);
                operation.result = Some(result);
                let request = operation.request;
                if request.operation == "store.set" {
                    let text = |field: &str| request.request[field].as_str().unwrap().to_owned();
                    told.store.entry(text("key")).or_default().push(text("value"));
                }
            }
            Entry::TurnedBack { .. } => {
                assert!(!told.turned_back, "turned back twice");
                assert!(self.failed(told, Phase::Upgrade, false) || self.failed(told, Phase::Verify, false));
                told.turned_back = true;
            }
            Entry::RunResumed(_) => {
                told.life += 1;
                told.active.clear();
                saw("resumed");
            }
            Entry::RunEnded(ending) => {
                if ending.is_half_way() {
                    // In the order of their attempts: what counts is how the last one ended.
                    for (place, attempt) in told.places.iter().filter(|(_, attempt)| attempt.started) {
                        let step = (place.phase.clone(), place.rolled_back, place.step.clone());
                        let before = told.anew.get(&step).copied().unwrap_or(0);
                        let failed = matches!(attempt.ended, Some((Err(_), _)));
                        told.ending.insert(step, if failed { place.attempt } else { before });
                    }
                    told.anew.append(&mut told.ending);
                }
            }
            Entry::Planned { steps } => {
                let phase = Phase::named(&place.phase).unwrap();
                let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
                let wanted: Vec<&str> = self.plot.steps(phase).iter().map(|step| step.name.as_str()).collect();
                assert_eq!(names, wanted);
            }
            Entry::RunStarted(_) | Entry::Assessed { .. } => {}
            Entry::Said { text, .. } => assert!(text.contains("is done all the same"), "{text}"),
            other => panic!("nobody asked for this: {other:?}"),
        }
    }

    fn open<'t>(&self, told: &'t mut Told<'j>, recorded: &Recorded) -> &'t mut Operation<'j> {
        let attempt = told.places.get_mut(&recorded.place).expect("an operation that was begun");
        assert_eq!(recorded.seq as usize, attempt.operations.len());
        let operation = attempt.operations.last_mut().filter(|o| o.intent && o.result.is_none());
        operation.expect("an operation that is open")
    }

    fn step(&self, place: &Place) -> (usize, &'j Step, &'j [Step]) {
        let steps = self.plot.steps(Phase::named(&place.phase).unwrap());
        let at = steps.iter().position(|step| step.name == place.step).expect("a step of the plot");
        (at, &steps[at], steps)
    }

    fn starts(&self, told: &mut Told<'j>, place: &Place) {
        let (at, step, steps) = self.step(place);
        let done =
            |name: &str| self.last(told, &place.phase, place.rolled_back, name).is_some_and(|(_, r, _)| r.is_ok());
        for first in step.first(at, steps) {
            assert!(done(first), "{} began before `{first}` was done", place.title());
        }
        let phase = Phase::named(&place.phase).unwrap();
        let whole = |phase: Phase, rolled_back| {
            let done = |step: &Step| {
                self.last(told, phase.as_str(), rolled_back, &step.name).is_some_and(|(_, result, _)| result.is_ok())
            };
            self.plot.steps(phase).iter().all(done)
        };
        match (phase, place.rolled_back) {
            (Phase::Prepare, false) => {}
            (Phase::Upgrade, false) => assert!(whole(Phase::Prepare, false) && !told.turned_back),
            (Phase::Verify, false) => assert!(whole(Phase::Upgrade, false) && !told.turned_back),
            (Phase::Rollback, true) => assert!(told.turned_back),
            (Phase::Verify, true) => assert!(whole(Phase::Rollback, true)),
            other => panic!("a phase that there is not: {other:?}"),
        }
        let anew = self.anew(told, &place.phase, place.rolled_back, &place.step);
        match self.last(told, &place.phase, place.rolled_back, &place.step) {
            None => {
                assert_eq!(place.attempt, 1, "{}", place.title());
                // Whoever goes on knows of a failure from the beginning.
                let failed = steps.iter().find(|other| {
                    let last = self.last(told, &place.phase, place.rolled_back, &other.name);
                    let anew = self.anew(told, &place.phase, place.rolled_back, &other.name);
                    last.is_some_and(|(attempt, result, life)| {
                        let for_good = |kind| attempt > anew && !self.again(other, attempt, anew, kind);
                        life < told.life && result.is_err_and(for_good)
                    })
                });
                assert!(
                    phase == Phase::Verify || failed.is_none(),
                    "{} began after `{}` had failed",
                    place.title(),
                    failed.unwrap().name
                );
            }
            Some((before, result, _)) => {
                assert_eq!(place.attempt, before + 1, "{}", place.title());
                let kind = result.expect_err("a step that is done began once more");
                assert!(
                    before == anew || self.again(step, before, anew, kind),
                    "{} has no attempt left",
                    place.title()
                );
            }
        }
        let attempt = told.places.entry(place.clone()).or_default();
        assert!(!attempt.started && attempt.operations.is_empty());
        attempt.started = true;
    }

    /// Whether another attempt follows by itself.
    fn again(&self, step: &Step, attempt: u32, anew: u32, kind: FailureKind) -> bool {
        matches!(kind, FailureKind::Unavailable | FailureKind::TimedOut) && attempt < anew + step.attempts
    }

    /// The number, end and life of the last attempt that has begun; one that has not ended is a mistake here.
    fn last(
        &self,
        told: &Told<'j>,
        phase: &str,
        rolled_back: bool,
        step: &str,
    ) -> Option<(u32, Result<(), FailureKind>, usize)> {
        let attempts = told.places.iter().filter(|(place, attempt)| {
            place.phase == phase && place.rolled_back == rolled_back && place.step == step && attempt.started
        });
        let (place, attempt) = attempts.max_by_key(|(place, _)| place.attempt)?;
        let (result, life) = attempt.ended?;
        Some((place.attempt, result, life))
    }

    /// What was asked, and what came of it, is what the plot says.
    fn ends(&self, told: &mut Told<'j>, place: &Place, result: Result<(), FailureKind>) {
        let (_, step, _) = self.step(place);
        let life = told.life;
        let attempt = told.places.get_mut(place).expect("an attempt that was begun");
        assert!(attempt.started && attempt.ended.is_none(), "{place:?}");
        assert!(attempt.operations.iter().all(|o| o.result.is_some()), "{place:?} ends with an open operation");
        let (wanted, end) = step.attempt(place.attempt, place.rolled_back);
        let asked =
            |o: &Operation<'_>| Asked { operation: o.request.operation.clone(), label: o.request.label.clone() };
        let asked: Vec<Asked> = attempt.operations.iter().map(asked).collect();
        assert_eq!(asked, wanted, "{place:?}");
        assert_eq!(result, end, "{place:?}");
        attempt.ended = Some((result, life));
    }

    /// What one finds in the store has been put there; what a step that came before has put there, one finds.
    fn reads(&self, told: &Told<'j>, place: &Place, request: &Request, result: &Result<Value, Failure>) {
        let key = request.request["key"].as_str().unwrap();
        let found = result.as_ref().unwrap().as_str();
        let written = told.store.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut writers = told.active.iter().filter(|other| other.step == key && *other != place);
        if writers.next().is_none() {
            assert_eq!(found, written.last().map(String::as_str), "`{key}` in {}", place.title());
        }
        assert!(found.is_none_or(|found| written.iter().any(|value| value == found)), "`{key}` in {}", place.title());
    }

    /// Whether a step has failed for good.
    fn failed(&self, told: &Told<'j>, phase: Phase, rolled_back: bool) -> bool {
        self.plot.steps(phase).iter().any(|step| {
            let Some((attempt, Err(kind), _)) = self.last(told, phase.as_str(), rolled_back, &step.name) else {
                return false;
            };
            !self.again(step, attempt, self.anew(told, phase.as_str(), rolled_back, &step.name), kind)
        })
    }

    /// At which attempt it last began anew.
    fn anew(&self, told: &Told<'j>, phase: &str, rolled_back: bool, step: &str) -> u32 {
        told.anew.get(&(phase.to_owned(), rolled_back, step.to_owned())).copied().unwrap_or(0)
    }

    fn whole(&self, told: &Told<'j>, phase: Phase, rolled_back: bool) -> bool {
        self.plot.steps(phase).iter().all(|step| {
            let last = self.last(told, phase.as_str(), rolled_back, &step.name);
            last.is_some_and(|(_, result, _)| result.is_ok())
        })
    }

    fn outcome(&self, told: &Told<'j>, last: &Recorded, outcome: &Outcome, seen: &mut Seen) {
        let Entry::RunEnded(ending) = &last.entry else { panic!("{outcome:?}, and then {last:?}") };
        assert_eq!(*ending, outcome.ending());
        let forward = self.whole(told, Phase::Prepare, false)
            && self.whole(told, Phase::Upgrade, false)
            && self.whole(told, Phase::Verify, false);
        let back = self.whole(told, Phase::Rollback, true) && self.whole(told, Phase::Verify, true);
        let cancelled = |why: &str| why.ends_with(": cancelled");
        match outcome {
            Outcome::Upgraded => assert!(forward && !told.turned_back),
            Outcome::TurnedBack(_) => assert!(told.turned_back && back),
            Outcome::Refused(why) => {
                assert!(!told.disturbed && !told.turned_back);
                assert!(self.failed(told, Phase::Prepare, false) || cancelled(why), "{why}");
            }
            Outcome::Stopped(why) => {
                let failed = match told.turned_back {
                    true => self.failed(told, Phase::Rollback, true) || self.failed(told, Phase::Verify, true),
                    false => told.disturbed && self.failed(told, Phase::Prepare, false),
                };
                assert!(failed || told.turned_back || told.disturbed, "{why}");
                assert!(failed && !why.contains("journal") || cancelled(why), "{why}");
            }
            Outcome::InDoubt(why) => {
                let mut operations = told.places.values().filter_map(|attempt| attempt.operations.last());
                assert!(operations.any(|o| o.result.is_none() && o.request.class == "once"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        *seen
            .entry(match outcome {
                Outcome::Upgraded => "upgraded",
                Outcome::TurnedBack(_) => "taken back",
                Outcome::Refused(_) => "refused",
                Outcome::InDoubt(_) => "in doubt",
                Outcome::Stopped(why) if cancelled(why) => "cancelled",
                _ => "stopped",
            })
            .or_default() += 1;
    }

    /// What must not happen twice has not; what is said to have happened has; nothing has happened without a word before it.
    fn effects(&self, told: &Told<'j>, seen: &mut Seen) {
        let mut keys = BTreeSet::new();
        for (place, attempt) in &told.places {
            for (at, operation) in attempt.operations.iter().enumerate().filter(|(_, o)| o.intent) {
                let key = super::world::key(place, at + 1);
                let what = match operation.request.operation.as_str() {
                    "tool.run" => operation.request.label.as_str(),
                    "service.restart" | "service.start" => "start",
                    "service.stop" => "stop",
                    _ => continue,
                };
                let times = self.world.times(what, &key);
                // Of a service that others start and stop at the same time, nobody can tell whose start it was.
                let alone = what != "start" && what != "stop" || self.alone(place);
                assert!(
                    operation.request.class != "once" || times <= 1 || !alone,
                    "{key}: {what} happened {times} times"
                );
                let done = matches!(operation.result, Some(Ok(_)));
                // What stands as it should is not done again.
                let stands = matches!(operation.request.operation.as_str(), "service.start" | "service.stop") || !alone;
                assert!(!done || times >= 1 || stands, "{key}: {what} did not happen");
                if let Some(done) = operation.decided
                    && operation.result.is_some()
                {
                    assert!(!done || times == 1, "{key}: {what} happened {times} times");
                }
                *seen.entry(if times > 1 { "done again" } else { "done once" }).or_default() += 1;
                keys.insert(key);
            }
        }
        for effect in self.world.effects() {
            assert!(keys.contains(&effect.key), "{effect:?} happened, and nobody had written it down");
        }
    }

    fn alone(&self, place: &Place) -> bool {
        let (at, _, steps) = self.step(place);
        let others = steps.iter().enumerate().filter(|(other, _)| *other != at);
        others.flat_map(|(_, step)| &step.acts).all(|act| !matches!(act, Act::Service(_)))
    }
}
