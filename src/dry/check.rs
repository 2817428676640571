//! Plays the tests of a package and holds what comes of them against what was expected.
use super::{
    course::{Call, Condition, is_past},
    explore::{self, Bounds, Explored},
    plan,
    rules::Finding,
    scenario::{Rules, Scenario, Tests},
    stage::{MORNING, Stage, Told},
};
use crate::{
    diagnostic::{nearest, units},
    journal::Entry,
    resource::{Database, Kind, service::Status},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Tested {
    pub package: String,
    pub version: String,
    pub tests: Vec<Test>,
    pub passed: usize,
    pub failed: usize,
    /// Of the rules: paths that were played, and those that were known of and not played.
    pub paths: usize,
    pub left_out: usize,
}

/// A test as it went; it has passed when nothing differs and nothing was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Test {
    pub name: String,
    /// Empty: there is no file, it is built in.
    pub file: String,
    pub about: String,
    /// What came of it, in a few words.
    pub came_to: String,
    pub differences: Vec<Difference>,
    /// Of a plan that is not the accepted one: the lines of a unified difference.
    pub diff: Vec<String>,
    /// Steps that failed, calls that did so in other steps, and how it ended, when something differs.
    pub happened: Vec<String>,
    pub findings: Vec<Finding>,
    pub millis: u64,
}

impl Test {
    pub fn passed(&self) -> bool {
        self.differences.is_empty() && self.findings.is_empty()
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    pub expected: String,
    pub is: String,
    /// where it is expected, in the test's file; counted from 1
    pub line: Option<usize>,
}

fn differs(line: Option<usize>, expected: impl Into<String>, is: impl Into<String>) -> Difference {
    Difference { expected: expected.into(), is: is.into(), line }
}

pub async fn check(stage: &mut Stage, tests: &Tests, bounds: Bounds) -> Tested {
    let mut done = Vec::new();
    for scenario in &tests.scenarios {
        done.push(play(stage, scenario).await);
    }
    done.extend(down_time(stage, &tests.rules).await);
    let began = Instant::now();
    let mut explored = explore::explore(stage, bounds).await;
    explored.findings.retain(|finding| !tests.rules.off.contains_key(&finding.rule));
    let (paths, left_out) = (explored.paths, explored.left_out);
    done.push(held(explored, &tests.rules, began));
    let (package, version) = (stage.facts.package.clone(), stage.facts.version.clone());
    let mut tested = Tested { package, version, tests: Vec::new(), passed: 0, failed: 0, paths, left_out };
    done.into_iter().for_each(|test| tested.add(test));
    tested
}

impl Tested {
    pub fn add(&mut self, test: Test) {
        match test.passed() {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        self.tests.push(test);
    }
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn play(stage: &mut Stage, scenario: &Scenario) -> Test {
    let began = Instant::now();
    let usual = stage.facts.from_version.clone();
    if let Some(version) = &scenario.given.version {
        stage.facts.from_version.clone_from(version);
        stage.header.from_version.clone_from(version);
    }
    (stage.given, stage.later) = (scenario.given.clone(), scenario.later.clone());
    let told = stage.play(scenario.failing(), MORNING).await;
    (stage.given, stage.later) = Default::default();
    stage.facts.from_version.clone_from(&usual);
    stage.header.from_version = usual;
    let differences = differences(scenario, &told);
    let because = failed_first(&told).map(|step| format!(" after {step}")).unwrap_or_default();
    let ending = told.outcome.ending();
    Test {
        name: scenario.name.clone(),
        file: scenario.file.clone(),
        about: scenario.about.clone(),
        came_to: format!("{}{because}", ending.outcome),
        diff: Vec::new(),
        happened: if differences.is_empty() { Vec::new() } else { happened(&told) },
        differences,
        findings: Vec::new(),
        millis: millis(began),
    }
}

/// Steps of which the last attempt failed, in the order in which they did, each with the reason.
fn failed(told: &Told) -> Vec<(String, String)> {
    let mut failed: Vec<(String, bool, String)> = Vec::new();
    for recorded in &told.entries {
        if let Entry::StepEnded { result, .. } = &recorded.entry {
            let (title, again) = (recorded.place.title(), recorded.place.rolled_back);
            failed.retain(|(step, rolled_back, _)| *step != title || *rolled_back != again);
            if let Err(failure) = result {
                failed.push((title, again, failure.to_string()));
            }
        }
    }
    failed.into_iter().map(|(step, _, why)| (step, why)).collect()
}

fn failed_first(told: &Told) -> Option<String> {
    failed(told).into_iter().next().map(|(step, _)| step)
}

fn happened(told: &Told) -> Vec<String> {
    let failed = failed(told);
    let mut lines: Vec<String> = failed.iter().map(|(step, why)| format!("{step} failed: {why}")).collect();
    for call in told.calls.iter().filter(|call| failed.iter().all(|(step, _)| *step != call.step)) {
        if let Some(kind) = call.failed {
            let line = format!("{} went on although {} failed ({})", call.step, call.title(), kind.as_str());
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    let ending = told.outcome.ending();
    // The reason of the end is mostly that of a step.
    let known = lines.iter().any(|line| ending.message.split_once(": ").is_some_and(|(_, why)| line.contains(why)));
    let why = if ending.message.is_empty() || known { String::new() } else { format!(": {}", ending.message) };
    lines.push(format!("ended {}{why}", ending.outcome));
    lines
}

fn differences(scenario: &Scenario, told: &Told) -> Vec<Difference> {
    let expect = &scenario.expect;
    let mut found = Vec::new();
    let steps = steps(told);
    let line = |key: &str| expect.lines.get(key).copied();
    for condition in &scenario.when {
        // A test whose condition never comes true shows nothing.
        if !told.calls.iter().enumerate().any(|(n, _)| condition.meets(&told.calls, n)) {
            let is = why_never(condition, &steps, told);
            found.push(differs(Some(condition.line), format!("a call of {}", condition.title()), is));
        }
    }
    for later in &scenario.later {
        if !(0..told.calls.len()).any(|n| is_past(&later.after, &told.calls, n)) {
            let is = no_step(&later.after, &steps).unwrap_or_else(|| "no call comes after it".to_owned());
            found.push(differs(Some(later.line), later.title(), is));
        }
    }
    let ending = told.outcome.ending();
    if let Some(outcome) = expect.outcome
        && outcome != ending.outcome
    {
        found.push(differs(line("outcome"), outcome, ending.outcome.as_str()));
    }
    let failed = failed(told);
    let or_none = |step: Option<&(String, String)>| step.map_or("no step".to_owned(), |(step, _)| step.clone());
    if let Some(because) = &expect.because
        && failed.first().is_none_or(|(step, _)| step != because)
    {
        found.push(differs(line("because"), format!("because of {because}"), or_none(failed.first())));
    }
    if let Some(at) = &expect.at {
        let stopped = matches!(ending.outcome.as_str(), "stopped" | "in-doubt" | "refused");
        let last = failed.last().filter(|_| stopped);
        if last.is_none_or(|(step, _)| step != at) {
            let is = if stopped { or_none(last) } else { format!("{}, not stopped", ending.outcome) };
            found.push(differs(line("at"), format!("stopped at {at}"), is));
        }
    }
    if expect.as_before {
        found.extend(not_as_before(told, line("everything")));
    }
    for (label, expected) in &expect.services {
        let status = told.services.iter().find(|(id, _)| id.name == *label).map_or("unknown", |(_, s)| s.as_str());
        if status != *expected {
            found.push(differs(line(&format!("services.{label}")), format!("service {label} {expected}"), status));
        }
    }
    for (label, expected) in &expect.kept_aside {
        let aside = told.aside.iter().find(|(id, _)| id.kind == Database::NAME && id.name == *label);
        let lost = aside.map(|(_, lost)| lost.iter().map(|lost| (lost.part.clone(), lost.rows)).collect());
        let is: BTreeMap<String, u64> = lost.unwrap_or_default();
        if is != *expected {
            found.push(differs(
                line(&format!("kept-aside.{label}")),
                format!("kept aside of {label}: {}", rows(expected)),
                rows(&is),
            ));
        }
    }
    let risks: Vec<String> = told.plans.risks.iter().map(|r| format!("{} {}", r.severity, r.subject)).collect();
    for risk in expect.risks.iter().filter(|risk| !risks.contains(risk)) {
        let is = if risks.is_empty() { "none".to_owned() } else { risks.join(", ") };
        found.push(differs(line("risks"), format!("the risk {risk}"), is));
    }
    found
}

/// `3 in orders, 1 in items`
fn rows(tables: &BTreeMap<String, u64>) -> String {
    let tables: Vec<String> = tables.iter().map(|(table, rows)| format!("{rows} in {table}")).collect();
    if tables.is_empty() { "nothing".to_owned() } else { tables.join(", ") }
}

fn not_as_before(told: &Told, line: Option<usize>) -> Vec<Difference> {
    let mut found = Vec::new();
    for (id, by) in &told.different {
        let by = told.calls.iter().find(|call| by.as_ref().is_some_and(|by| *by == call.key()));
        let by = by.map(|call| format!(" by {} ({})", call.step, call.title())).unwrap_or_default();
        found.push(differs(line, format!("{} {} as before", id.kind, id.name), format!("changed{by}")));
    }
    for id in &told.fenced {
        found.push(differs(line, format!("{} {} as before", id.kind, id.name), "fenced"));
    }
    for (id, before) in &told.services_before {
        let now = told.services.get(id).copied();
        if now != Some(*before) {
            let is = now.map_or("unknown", Status::as_str);
            found.push(differs(line, format!("service {} as before: {}", id.name, before.as_str()), is));
        }
    }
    found
}

/// Every step that was planned.
fn steps(told: &Told) -> BTreeSet<String> {
    let mut titles = BTreeSet::new();
    for recorded in &told.entries {
        if let Entry::Planned { steps } = &recorded.entry {
            titles.extend(steps.iter().map(|step| format!("{}/{}", recorded.place.phase, step.name)));
        }
    }
    titles
}

/// `None`: there is this step.
fn no_step(step: &str, steps: &BTreeSet<String>) -> Option<String> {
    (!steps.contains(step)).then(|| match nearest(step, steps.iter().map(String::as_str)) {
        Some(near) => format!("no step {step}: did you mean {near}?"),
        None => format!("no step {step}"),
    })
}

fn why_never(condition: &Condition, steps: &BTreeSet<String>, told: &Told) -> String {
    if let Some(why) = condition.within.iter().chain(&condition.after).find_map(|step| no_step(step, steps)) {
        return why;
    }
    let calls: BTreeSet<String> = told.calls.iter().map(Call::title).collect();
    let wanted = format!("{} {}", condition.operation, condition.label.as_deref().unwrap_or_default());
    match nearest(&wanted, calls.iter().map(String::as_str)) {
        Some(near) if near != wanted => format!("never called, but {near} is"),
        _ => "never called".to_owned(),
    }
}

async fn down_time(stage: &Stage, rules: &Rules) -> Option<Test> {
    let (max, line) = rules.down_time?;
    let began = Instant::now();
    let seconds = plan::plan(stage).await.down.map_or(0, |down| down.estimate_seconds);
    let is = units::show_duration(std::time::Duration::from_secs(seconds));
    let max_shown = units::show_duration(max);
    let beyond = std::time::Duration::from_secs(seconds) > max;
    let expected = format!("down for at most {max_shown}");
    Some(Test {
        name: "down-time".to_owned(),
        file: rules.file.clone(),
        about: format!("services are down for at most {max_shown}, as the plan reckons"),
        came_to: format!("down for about {is}"),
        differences: beyond.then(|| differs(Some(line), expected, format!("about {is}"))).into_iter().collect(),
        diff: Vec::new(),
        happened: Vec::new(),
        findings: Vec::new(),
        millis: millis(began),
    })
}

fn held(explored: Explored, rules: &Rules, began: Instant) -> Test {
    let off: Vec<&str> = rules.off.keys().map(|rule| rule.as_str()).collect();
    let off = if off.is_empty() { String::new() } else { format!("; off: {}", off.join(", ")) };
    let found = match explored.findings.len() {
        0 => "every rule holds".to_owned(),
        1 => "1 finding".to_owned(),
        n => format!("{n} findings"),
    };
    Test {
        name: "rules".to_owned(),
        file: rules.file.clone(),
        about: "what holds on every path through the script".to_owned(),
        came_to: format!("{found}{off}"),
        differences: Vec::new(),
        diff: Vec::new(),
        happened: Vec::new(),
        findings: explored.findings,
        millis: millis(began),
    }
}
