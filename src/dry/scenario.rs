//! The tests of a package as people write them: each file of `tests` is one scenario, and `tests/rules.toml` says which rules hold.
use super::{
    course::{Condition, Failing},
    given::{self, Given, Later},
    rules::Rule,
};
use crate::{
    diagnostic::{
        Mistake, Mistakes, Source,
        reader::{self, At, Item, Table},
        shown,
    },
    failure::FailureKind,
    package::{Manifest, Package, world},
    resource::{Database, Kind, Service},
    run::Phase,
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

/// More files than anybody reads.
const MOST_FILES: usize = 1000;

const KINDS: &[(&str, FailureKind)] = &[
    ("denied", FailureKind::Denied),
    ("not-found", FailureKind::NotFound),
    ("invalid", FailureKind::Invalid),
    ("unavailable", FailureKind::Unavailable),
    ("timed-out", FailureKind::TimedOut),
    ("conflict", FailureKind::Conflict),
    ("unproven", FailureKind::Unproven),
    ("inconclusive", FailureKind::Inconclusive),
    ("failed", FailureKind::Failed),
];

const OUTCOMES: &[(&str, &str)] = &[
    ("upgraded", "upgraded"),
    ("rolled-back", "rolled-back"),
    ("refused", "refused"),
    ("stopped", "stopped"),
    ("in-doubt", "in-doubt"),
];

/// Everything that a package says about how it is tested.
#[derive(Debug, Default)]
pub struct Tests {
    /// By the names of their files.
    pub scenarios: Vec<Scenario>,
    pub rules: Rules,
}

#[derive(Debug)]
pub struct Scenario {
    /// of its file, without the ending
    pub name: String,
    pub file: String,
    pub about: String,
    pub given: Given,
    pub when: Vec<Condition>,
    /// What becomes of the world by itself.
    pub later: Vec<Later>,
    pub expect: Expect,
}

impl Scenario {
    pub fn failing(&self) -> Failing {
        Failing::Calls(self.when.clone())
    }
}

/// What must have come of it. What is not said may be anything.
#[derive(Debug, Default)]
pub struct Expect {
    pub outcome: Option<&'static str>,
    /// The step that failed first.
    pub because: Option<String>,
    /// The step at which it stopped.
    pub at: Option<String>,
    /// Nothing differs from what was there at first.
    pub as_before: bool,
    /// `running` or `stopped` by label
    pub services: BTreeMap<String, &'static str>,
    /// What a restore has set aside, in rows by table, by label; no other table has any.
    pub kept_aside: BTreeMap<String, BTreeMap<String, u64>>,
    /// Each is told, among others: severity and subject.
    pub risks: Vec<String>,
    /// where each key stands in the file, counted from 1: `outcome`, `services.shop`
    pub lines: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
pub struct Rules {
    pub file: String,
    /// Rules that are switched off, with the reason.
    pub off: BTreeMap<Rule, String>,
    /// The longest time that the plan may close the product for, and where that stands.
    pub down_time: Option<(Duration, usize)>,
}

impl Tests {
    /// Reads the folder `tests` of a package; a package may have none.
    pub fn of(package: &Package) -> Result<Self, Mistakes> {
        let shown_folder = super::golden::tests_of(package);
        let folder = package.dir.join("tests");
        // A link that leads nowhere is no folder that is not there.
        if folder.symlink_metadata().is_err() {
            return Ok(Self::default());
        }
        let files = files(&folder, &package.dir).map_err(Mistakes::from)?;
        let (mut tests, mut mistakes) = (Self::default(), Mistakes::default());
        for file in files {
            let name = file.strip_suffix(".toml").unwrap_or(&file).to_owned();
            if let Err(why) = reader::name(&name) {
                let path = shown(&shown_folder.join(&file).display().to_string());
                let mistake = Mistake::new(format!("the name of the test {path} cannot be one"));
                mistakes.0.push(mistake.hint(why));
                continue;
            }
            let path = folder.join(&file);
            if !path.canonicalize().is_ok_and(|real| real.starts_with(&package.dir)) {
                let mistake = Mistake::new(format!("the test `{file}`: a link leads out of the package, or nowhere"));
                mistakes.0.push(mistake.hint("put the file itself into the package"));
                continue;
            }
            let source = match source(&path, &shown_folder.join(&file)) {
                Ok(source) => source,
                Err(mistake) => {
                    mistakes.0.push(mistake);
                    continue;
                }
            };
            let shown_path = source.name().to_owned();
            if name == "rules" {
                let (rules, wrong) = reader::read(&source, |table| rules(table, shown_path));
                tests.rules = rules.unwrap_or_default();
                mistakes.0.extend(wrong);
            } else {
                let read = |table: Table<'_>| scenario(table, name, shown_path, &package.manifest);
                let (scenario, wrong) = reader::read(&source, read);
                tests.scenarios.extend(scenario);
                mistakes.0.extend(wrong);
            }
        }
        mistakes.none_or().map(|()| tests)
    }
}

impl Scenario {
    /// A file that somebody names, wherever it is.
    pub fn open(path: &Path, package: &Package) -> Result<Self, Mistakes> {
        let source = source(path, path).map_err(Mistakes::from)?;
        let read = |table: Table<'_>| scenario(table, String::new(), source.name().to_owned(), &package.manifest);
        let (scenario, wrong) = reader::read(&source, read);
        let mistakes = Mistakes(wrong);
        match scenario {
            Some(scenario) => mistakes.none_or().map(|()| scenario),
            None => Err(mistakes),
        }
    }
}

fn source(path: &Path, shown_as: &Path) -> Result<Arc<Source>, Mistake> {
    let bytes = reader::read_bounded(path, reader::MAX_FILE, "the test")?;
    Ok(Source::new(shown_as.display().to_string(), bytes))
}

/// The names of the tests, in their order.
fn files(folder: &Path, package: &Path) -> Result<Vec<String>, Mistake> {
    let failed = |error: std::io::Error| Mistake::io("the folder of tests", folder, &error);
    if !folder.canonicalize().map_err(failed)?.starts_with(package) {
        let mistake = Mistake::new("the folder `tests`: a link leads out of the package");
        return Err(mistake.hint("put the folder itself into the package"));
    }
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".toml") {
            names.push(name);
        }
        if names.len() > MOST_FILES {
            return Err(Mistake::new(format!("there are more than {MOST_FILES} tests")));
        }
    }
    names.sort();
    Ok(names)
}

fn scenario(table: Table<'_>, name: String, file: String, manifest: &Manifest) -> Scenario {
    let about = table.required("about", "\"what it shows\"").and_then(|item| item.text());
    let given = table.table("given").map(|given| Given::read(given, manifest)).unwrap_or_default();
    let (mut when, mut later) = (Vec::new(), Vec::new());
    for item in table.get("when").and_then(|item| item.array()).unwrap_or_default() {
        match item.table() {
            Some(table) if Later::is_meant(&table) => later.extend(becomes(table, manifest)),
            Some(table) => when.extend(condition(table, manifest)),
            None => {}
        }
    }
    let expect = table.section("expect").map(|section| expect(section, manifest)).unwrap_or_default();
    table.finish();
    let about = about.map(|at| at.value).unwrap_or_default();
    Scenario { name, file, about, given, when, later, expect }
}

fn becomes(table: Table<'_>, manifest: &Manifest) -> Option<Later> {
    for key in ["call", "fails", "once", "in"] {
        if let Some(item) = table.get(key) {
            let mistake =
                Mistake::new(format!("`{key}` is about a call that fails, and here stands what becomes of the world"));
            item.mistake_at(mistake.hint("write a `[[when]]` for each"), &item.key_location());
        }
    }
    let after = table.required("after", "\"upgrade/start\"").and_then(|item| step(&item));
    let later = Later::read(&table, after.clone().unwrap_or_default(), manifest);
    table.finish();
    after.map(|_| later)
}

fn condition(table: Table<'_>, manifest: &Manifest) -> Option<Condition> {
    let line = table.location().line_and_column().0;
    let call = table.required("call", "\"metrics.watch\"").and_then(|item| called(&item, manifest));
    let kind = table.required("fails", "\"unavailable\"").and_then(|item| item.word(KINDS));
    let once = table.boolean("once").unwrap_or(false);
    let within = table.get("in").and_then(|item| step(&item));
    let after = table.get("after").and_then(|item| step(&item));
    table.finish();
    let (operation, label) = call?;
    Some(Condition { operation, label, kind: kind?, once, within, after, line })
}

/// `backup.restore orders`: a function of the host, and the package's word for a resource.
fn called(item: &Item<'_>, manifest: &Manifest) -> Option<(String, Option<String>)> {
    let At { value: text, location } = item.text()?;
    let (operation, label) = match text.trim().split_once(' ') {
        Some((operation, label)) => (operation, Some(label.trim())),
        None => (text.trim(), None),
    };
    let known = || {
        let functions = world::INTERFACES.iter().filter(|(interface, _)| !world::kinds(interface).is_empty());
        functions.flat_map(|(interface, functions)| functions.iter().map(move |f| format!("{interface}.{f}")))
    };
    if !known().any(|name| name == operation) {
        let known: Vec<String> = known().collect();
        let mistake = Mistake::new(format!("`{}` is no call on a resource", shown(operation)));
        item.mistake_at(mistake.known(operation, known.iter().map(String::as_str)), &location);
        return None;
    }
    if let Some(label) = label
        && !manifest.needs.iter().any(|need| need.label == label)
    {
        let labels = manifest.needs.iter().map(|need| need.label.as_str());
        let mistake = Mistake::new(format!("the package needs nothing that it calls `{}`", shown(label)));
        item.mistake_at(mistake.known(label, labels), &location);
        return None;
    }
    Some((operation.to_owned(), label.map(str::to_owned)))
}

/// `upgrade/install`
fn step(item: &Item<'_>) -> Option<String> {
    let text = item.text()?.value;
    let well = text.split_once('/').is_some_and(|(phase, step)| Phase::named(phase).is_some() && !step.is_empty());
    if !well {
        let mistake = Mistake::new(format!("`{}` is no step", shown(&text)));
        item.mistake(
            mistake.hint("write phase and name: `upgrade/install`; phases are prepare, upgrade, rollback, verify"),
        );
    }
    well.then_some(text)
}

fn expect(table: Table<'_>, manifest: &Manifest) -> Expect {
    let line = |item: &Item<'_>| item.key_location().line_and_column().0;
    let keys = ["outcome", "because", "at", "everything", "risks"].into_iter();
    let mut lines: BTreeMap<String, usize> =
        keys.filter_map(|key| Some((key.to_owned(), line(&table.get(key)?)))).collect();
    let outcome = table.required("outcome", "\"rolled-back\"").and_then(|item| item.word(OUTCOMES));
    let because = table.get("because").and_then(|item| step(&item));
    let at = table.get("at").and_then(|item| step(&item));
    let as_before = table.get("everything").and_then(|item| item.word(&[("as before", ())])).is_some();
    let mut services = BTreeMap::new();
    for (item, _) in given::labelled(&table, "services", Service::NAME, manifest) {
        lines.insert(format!("services.{}", item.key), line(&item));
        if let Some(status) = item.word(&[("running", "running"), ("stopped", "stopped")]) {
            services.insert(item.key.clone(), status);
        }
    }
    let kept_aside = given::labelled(&table, "kept-aside", Database::NAME, manifest).into_iter();
    let kept_aside = kept_aside.map(|(item, _)| {
        lines.insert(format!("kept-aside.{}", item.key), line(&item));
        (item.key.clone(), given::tables(&item))
    });
    let kept_aside = kept_aside.collect();
    let risks = table.strings("risks").unwrap_or_default();
    for risk in &risks {
        let severity = risk.value.split_once(' ').map(|(severity, _)| severity);
        if !severity.is_some_and(|severity| ["low", "medium", "high", "blocker"].contains(&severity)) {
            let mistake = Mistake::new(format!("`{}` is no risk", shown(&risk.value))).at(&risk.location);
            table.mistake(
                mistake.hint("write severity and subject: `high data`; severities are low, medium, high, blocker"),
            );
        }
    }
    table.finish();
    let risks = risks.into_iter().map(|risk| risk.value).collect();
    Expect { outcome, because, at, as_before, services, kept_aside, risks, lines }
}

fn rules(table: Table<'_>, file: String) -> Rules {
    let mut rules = Rules { file, ..Rules::default() };
    if let Some(section) = table.section("rules") {
        // What is seen or required on a site is nothing for a package to do without.
        for rule in Rule::ALL.iter().filter(|rule| !matches!(rule, Rule::NotRehearsed | Rule::OtherSchema)) {
            let Some(entry) = section.table(rule.as_str()) else { continue };
            if let Some(reason) = entry.required("off", "\"why it does not hold here\"").and_then(|item| item.text()) {
                rules.off.insert(*rule, reason.value);
            }
            entry.finish();
        }
        if let Some(entry) = section.table("down-time") {
            let max = entry.required("max", "\"3m\"").and_then(|item| item.duration());
            rules.down_time = max.map(|at| (at.value, at.location.line_and_column().0));
            entry.finish();
        }
        section.finish();
    }
    table.finish();
    rules
}
