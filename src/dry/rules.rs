//! What a path through a script must never show. Each rule looks at one path that was played, or at all of them.
use super::{
    course::Call,
    stage::{Told, beyond_a_limit},
};
use crate::{
    journal::{Entry, Place, Recorded},
    package::Package,
    resource::{ResourceId, Resources, service::Status},
    run::life_cycle::Outcome,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

macro_rules! rules { ($($name:ident = $word:literal: $about:literal,)*) => {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    pub enum Rule { $(#[doc = $about] $name,)* }
    impl Rule {
        pub const ALL: &'static [Self] = &[$(Self::$name),*];
        pub fn as_str(self) -> &'static str {
            match self { $(Self::$name => $word,)* }
        }
        pub fn about(self) -> &'static str {
            match self { $(Self::$name => $about,)* }
        }
    }
}; }
rules! {
    NotRestored = "not-restored": "after a rollback a resource that was changed is not as it was",
    NoRollback = "no-rollback": "something was changed, then a step failed, and no step of a rollback ran",
    HalfRestoredStart = "half-restored-start": "a service is started although a restore before it has failed",
    UncheckedRollback = "unchecked-rollback": "a restore is asked for while a service that uses the resource runs",
    HiddenError = "hidden-error": "a call fails, and its step ends well without having made it good",
    LeftFenced = "left-fenced": "a run comes to a good end and leaves a database shut",
    LeftStopped = "left-stopped": "a run comes to a good end and leaves a service down that ran before",
    NeverReached = "never-reached": "a step is planned and runs on no path, or no path ends well",
    Loop = "loop": "a script goes on for ever where a call fails for ever",
    DependsOnTime = "depends-on-time": "which calls a script makes depends on the time of day",
    UnusedRight = "unused-right": "a right is asked for and used on no path",
    OtherSchema = "other-schema": "a database has a schema from which the package does not go",
    NotRehearsed = "not-rehearsed": "the site requires a rehearsal, and there is none that holds",
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub rule: Rule,
    /// One line: what is wrong, and where.
    pub text: String,
    /// What can be done about it.
    pub hint: String,
    /// The number of the path that shows it; none where it takes all of them.
    pub path: Option<usize>,
}

impl Finding {
    fn of(rule: Rule, text: String, hint: &str) -> Self {
        Self { rule, text, hint: hint.to_owned(), path: None }
    }
}

/// What one path shows. `resources`: what each service uses.
pub fn of_path(told: &Told, uses: &BTreeMap<String, Vec<ResourceId>>) -> Vec<Finding> {
    let mut found = Vec::new();
    let went_back = matches!(told.outcome, Outcome::TurnedBack(_) | Outcome::RolledBack);
    let ended_well = went_back || told.outcome == Outcome::Upgraded;
    if let Some(why) = beyond_a_limit(told) {
        let hint = "bound it: by a number of attempts, or by a call that has a time of its own";
        found.push(Finding::of(Rule::Loop, why.to_owned(), hint));
        return found;
    }
    if went_back {
        for (id, by) in &told.different {
            let by = told.calls.iter().find(|call| by.as_ref().is_some_and(|by| *by == call.key()));
            let by = by.map(|call| format!(", changed by {} ({})", call.step, call.title()));
            let text = format!("{} {} is not as it was{}", id.kind, id.name, by.unwrap_or_default());
            let hint = "add `backup.restore` of it to a step of the rollback";
            found.push(Finding::of(Rule::NotRestored, text, hint));
        }
    }
    if let Outcome::Stopped(why) = &told.outcome
        && told.disturbed
        && !started(told, "rollback")
    {
        let text = format!("nothing is taken back: {why}");
        let hint = "`plan(rollback)` must have steps whatever state the product is in";
        found.push(Finding::of(Rule::NoRollback, text, hint));
    }
    found.extend(half_restored(told));
    found.extend(unchecked(told, uses));
    found.extend(half_way(told));
    found.extend(hidden(told));
    if ended_well {
        for id in &told.fenced {
            let text = format!("{} {} stays fenced: only Backout gets in", id.kind, id.name);
            found.push(Finding::of(Rule::LeftFenced, text, "call `database.unfence` before the service starts"));
        }
        for (id, status) in &told.services {
            if matches!(status, Status::Stopped | Status::Failed) {
                let text = format!("{} {} is down at the end", id.kind, id.name);
                found.push(Finding::of(Rule::LeftStopped, text, "start it again in the last step"));
            }
        }
    }
    found
}

fn started(told: &Told, phase: &str) -> bool {
    told.entries.iter().any(|e| e.place.phase == phase && matches!(e.entry, Entry::StepStarted))
}

/// Operations with how they ended, in the order in which they ended.
fn ended(entries: &[Arc<Recorded>]) -> Vec<(&Place, &str, &str, bool)> {
    let mut open: BTreeMap<(&Place, u32), (&str, &str)> = BTreeMap::new();
    let mut ended = Vec::new();
    for recorded in entries {
        match &recorded.entry {
            Entry::Intent(request) => {
                open.insert((&recorded.place, recorded.seq), (&request.operation, &request.label));
            }
            Entry::Outcome { result, .. } => {
                if let Some((operation, label)) = open.remove(&(&recorded.place, recorded.seq)) {
                    ended.push((&recorded.place, operation, label, result.is_ok()));
                }
            }
            Entry::Observed { request, result, .. } => {
                ended.push((&recorded.place, request.operation.as_str(), request.label.as_str(), result.is_ok()));
            }
            _ => {}
        }
    }
    ended
}

fn half_restored(told: &Told) -> Option<Finding> {
    let mut failed: BTreeSet<&str> = BTreeSet::new();
    for (place, operation, label, well) in ended(&told.entries) {
        match operation {
            "backup.restore" if well => drop(failed.remove(label)),
            "backup.restore" => drop(failed.insert(label)),
            "service.start" | "service.restart" if place.phase == "rollback" && !failed.is_empty() => {
                let which = failed.iter().copied().collect::<Vec<_>>().join(", ");
                let text = format!("{} starts {label} although {which} could not be restored", place.title());
                let hint = "let a failed `backup.restore` fail its step, so that the steps after it do not run";
                return Some(Finding::of(Rule::HalfRestoredStart, text, hint));
            }
            _ => {}
        }
    }
    None
}

fn unchecked(told: &Told, uses: &BTreeMap<String, Vec<ResourceId>>) -> Option<Finding> {
    let mut running: BTreeSet<&str> = uses.keys().map(String::as_str).collect();
    for (place, operation, label, well) in ended(&told.entries) {
        match operation {
            "service.start" | "service.restart" if well => drop(running.insert(label)),
            "service.stop" if well => drop(running.remove(label)),
            "backup.restore" => {
                let user = running
                    .iter()
                    .find(|service| uses.get(**service).is_some_and(|used| used.iter().any(|id| id.name == label)));
                if let Some(service) = user {
                    let text = format!("{} restores {label} while {service} runs", place.title());
                    let hint = "stop what uses it first: a restore refuses what somebody has open";
                    return Some(Finding::of(Rule::UncheckedRollback, text, hint));
                }
            }
            _ => {}
        }
    }
    None
}

/// What is looked at between two restores comes too late: when it speaks against going back, half of it is done.
fn half_way(told: &Told) -> Option<Finding> {
    let Outcome::Stopped(_) = told.outcome else { return None };
    let last = told.calls.last().filter(|call| call.phase() == "rollback" && call.failed.is_some() && !call.changes)?;
    let restored = told
        .calls
        .iter()
        .rfind(|call| call.operation == "backup.restore" && call.failed.is_none() && call.step == last.step)?;
    let left = told.different.keys().next()?;
    let text = format!(
        "{} asks {} when {} is restored already and {} {} is not",
        last.step,
        last.title(),
        restored.label,
        left.kind,
        left.name
    );
    let hint = "look at everything that speaks against going back before the first restore";
    Some(Finding::of(Rule::UncheckedRollback, text, hint))
}

/// A call that was made to fail, in a step that ended well, and that was not called again with success.
fn hidden(told: &Told) -> Option<Finding> {
    let failed = told.calls.iter().position(|call| call.failed.is_some())?;
    let found = told.calls.iter().skip(failed).filter(|call| call.failed.is_some()).find(|call| {
        let ended_well = told.entries.iter().any(|e| {
            e.run == call.run
                && e.place.title() == call.step
                && e.place.rolled_back == call.rolled_back
                && e.place.attempt == call.attempt
                && matches!(&e.entry, Entry::StepEnded { result: Ok(()), .. })
        });
        let same = |other: &&Call| {
            other.is_beside(call)
                && other.sequence > call.sequence
                && other.operation == call.operation
                && other.label == call.label
        };
        ended_well && !told.calls.iter().filter(same).any(|other| other.failed.is_none())
    })?;
    let text = format!("{} ends well although {} has failed", found.step, found.title());
    Some(Finding::of(Rule::HiddenError, text, "return the error, or do it again until it works"))
}

/// What only all paths together show. `complete`: each call was seen to fail, so that what was not seen is not there.
pub fn of_all(package: &Package, tolds: &[&Told], complete: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let reached: BTreeSet<String> = tolds
        .iter()
        .flat_map(|told| &told.entries)
        .filter(|e| matches!(e.entry, Entry::StepStarted))
        .map(|e| e.place.title())
        .collect();
    let mut planned: Vec<String> = Vec::new();
    for recorded in tolds.iter().flat_map(|told| &told.entries) {
        if let Entry::Planned { steps } = &recorded.entry {
            for step in steps {
                let title = format!("{}/{}", recorded.place.phase, step.name);
                if !planned.contains(&title) {
                    planned.push(title);
                }
            }
        }
    }
    for step in planned.iter().filter(|step| complete && !reached.contains(*step)) {
        let text = format!("{step} runs on no path");
        found.push(Finding::of(Rule::NeverReached, text, "look what it waits for, or take it out of the plan"));
    }
    if !tolds.iter().any(|told| told.outcome == Outcome::Upgraded) {
        let why = tolds.first().map(|told| told.outcome.ending().message).unwrap_or_default();
        let text = format!("no path ends with the upgrade done: {why}");
        found.push(Finding::of(Rule::NeverReached, text, "look at the first path"));
    }
    if complete {
        for need in &package.manifest.needs {
            let used = |right| {
                package.manifest.schemas.iter().any(|schema| schema.reads(need, right))
                    || tolds
                        .iter()
                        .flat_map(|told| &told.calls)
                        .any(|call| call.label == need.label && call.right == Some(right))
            };
            let unused: Vec<&str> = need.may.iter().filter(|right| !used(*right)).map(|right| right.as_str()).collect();
            if !unused.is_empty() {
                let text = format!("{} {}: {} is used on no path", need.kind, need.label, unused.join(", "));
                let hint = "ask for what the script uses, and for nothing more";
                found.push(Finding::of(Rule::UnusedRight, text, hint));
            }
        }
    }
    found
}

/// What each service uses, by the package's word for it.
pub fn uses(resources: &Resources) -> BTreeMap<String, Vec<ResourceId>> {
    let databases = resources.database.0.iter().map(|(label, lend)| (&lend.id, label.as_str()));
    let trees = resources.tree.0.iter().map(|(label, lend)| (&lend.id, label.as_str()));
    let labels: BTreeMap<&ResourceId, &str> = databases.chain(trees).collect();
    let named = |id: &ResourceId| ResourceId::new(id.kind.as_str(), *labels.get(id).unwrap_or(&id.name.as_str()));
    let services = resources.service.0.iter();
    services.map(|(label, lend)| (label.clone(), lend.uses.iter().map(named).collect())).collect()
}
