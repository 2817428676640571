//! What there is to say at the end, for people and for machines.
use super::{Scenario, stage::Stage, story};
use crate::report::text;
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    AsBefore,
    Upgraded,
}

#[derive(Debug, Serialize)]
pub struct Summary {
    pub scenario: Scenario,
    pub folder: PathBuf,
    /// how it should end, and does when nothing is in `wrong`
    pub ending: Ending,
    pub wrong: Vec<String>,
    /// between the state before and the one after, where they should be equal
    pub differences: Vec<String>,
    /// what was compared
    pub compared: String,
    pub digest: String,
    pub runs: Vec<Run>,
    /// what 2.0 had written when it was taken back
    pub aside: Option<Aside>,
    pub freed_bytes: Option<u64>,
    pub client: Client,
    pub journal: PathBuf,
    pub seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct Run {
    pub run: u64,
    pub command: String,
    pub outcome: String,
    pub phases: Vec<Phase>,
    pub report: PathBuf,
}

#[derive(Debug, Serialize)]
pub struct Phase {
    pub name: String,
    pub millis: u64,
}

#[derive(Debug, Serialize)]
pub struct Aside {
    pub place: PathBuf,
    pub orders: u64,
}

#[derive(Debug, Serialize)]
pub struct Client {
    pub answers: u64,
    pub errors: u64,
    pub confirmed_orders: u64,
    /// in which no request was answered, in order
    pub outages_millis: Vec<u64>,
    pub longest_outage_millis: u64,
}

impl Summary {
    /// Times and places are Backout's own words, from `backout show`; what was kept is counted in the file itself.
    pub fn of(stage: &Stage, scenario: Scenario, ending: Ending) -> anyhow::Result<Self> {
        let mut runs = Vec::new();
        let mut aside = None;
        let listed = stage.json(&["runs"])?;
        // The newest is listed first.
        for run in listed.as_array().into_iter().flatten().rev().filter_map(|run| run["run"].as_u64()) {
            let report = stage.json(&["show", &run.to_string()])?;
            runs.push(Run::of(run, &report, &stage.folder.root));
            let exchanged = report["restored"].as_array().into_iter().flatten().filter(|r| r["exchanged"] == true);
            for restored in exchanged.filter(|r| r["resource"] == "database:shop") {
                let place = restored["aside"].as_str().context("a database was exchanged, and nothing kept aside")?;
                aside = Some(story::orders_aside(&stage.folder.path(place))?);
            }
        }
        let seen = stage.seen();
        let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            scenario,
            folder: stage.folder.root.clone(),
            ending,
            wrong: Vec::new(),
            differences: Vec::new(),
            compared: stage.before.counts(),
            digest: stage.before.digest(),
            runs,
            aside,
            freed_bytes: None,
            client: Client {
                answers: seen.answers,
                errors: seen.errors,
                confirmed_orders: seen.orders,
                outages_millis: seen.outages.iter().map(millis).collect(),
                longest_outage_millis: millis(&seen.longest_outage()),
            },
            journal: stage.folder.path("state/journal.db"),
            seconds: 0.0,
        })
    }

    pub fn finish(mut self, stage: &Stage, began: Instant) -> Self {
        self.wrong.clone_from(&stage.wrong);
        self.seconds = began.elapsed().as_secs_f64();
        self
    }

    pub fn text(&self, here: &Path) -> String {
        let near = |path: &Path| path.strip_prefix(here).unwrap_or(path).display().to_string();
        let mut lines = vec![String::new()];
        let mut line = |what: &str, text: String| lines.push(format!("  {what:<11} {text}"));
        match (self.ending, self.wrong.as_slice()) {
            (Ending::AsBefore, []) if self.scenario == Scenario::Denied => {
                line("✓ refused", "nothing was changed, and the client noticed nothing".to_owned());
            }
            (Ending::AsBefore, []) => line("✓ equal", "the shop is as it was before the upgrade".to_owned()),
            (Ending::Upgraded, []) => line("✓ upgraded", "the shop runs 2.0.1, and every order is there".to_owned()),
            (_, wrong) => wrong.iter().for_each(|wrong| line("✗ WRONG", wrong.clone())),
        }
        if self.ending == Ending::AsBefore {
            line("compared", format!("{}, by the demo's own code", self.compared));
            line("", format!("sha256 {}", self.digest));
        }
        if let Some(aside) = &self.aside {
            let Client { confirmed_orders, .. } = self.client;
            line(
                "kept aside",
                format!("{} orders that 2.0 took (the client has {confirmed_orders} confirmed)", aside.orders),
            );
            line("", near(&aside.place));
        }
        if let Some(freed) = self.freed_bytes {
            line("freed", format!("{} of copies; from now on there is no way back", text::bytes(freed)));
        }
        for run in &self.runs {
            let phases: Vec<String> =
                run.phases.iter().map(|phase| format!("{} {}", phase.name, seconds(phase.millis))).collect();
            let phases = if phases.is_empty() { String::new() } else { format!(": {}", phases.join(", ")) };
            line(&format!("run {}", run.run), format!("{}, {}{phases}", run.command, run.outcome));
        }
        let Client { answers, errors, outages_millis, longest_outage_millis, .. } = &self.client;
        let outages = match outages_millis.as_slice() {
            [] => "none".to_owned(),
            [only] => seconds(*only),
            several => {
                let all: Vec<String> = several.iter().map(|millis| seconds(*millis)).collect();
                format!("{} at the longest ({})", seconds(*longest_outage_millis), all.join(", "))
            }
        };
        line("outage", format!("{outages}, as the client saw it"));
        let share = 100.0 * *errors as f64 / (*answers).max(1) as f64;
        line("requests", format!("{answers} answered, {errors} of them with an error ({share:.1} %)"));
        if !self.runs.is_empty() {
            line("journal", near(&self.journal));
        }
        for run in &self.runs {
            line("report", near(&run.report));
        }
        line("took", format!("{:.1} s in all", self.seconds));
        lines.extend([String::new(), "Try next:".to_owned()]);
        let commands = self.next(&near(&self.folder));
        let widest = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
        lines.extend(
            commands.iter().map(|(command, why)| format!("  {command:<widest$}   {why}").trim_end().to_owned()),
        );
        lines.join("\n")
    }

    /// Demos first: they make their folder where one is.
    fn next(&self, folder: &str) -> Vec<(String, &'static str)> {
        let mut next = Vec::new();
        let mut add = |command: String, why| next.push((command, why));
        if let Some(alias) = alias() {
            add(alias, "");
        }
        let others = [
            (Scenario::BadUpgrade, "bad-upgrade", "2.0.0 errs, 1.0 comes back by itself"),
            (Scenario::GoodUpgrade, "good-upgrade", "2.0.1 is good, and stays"),
            (Scenario::Denied, "denied", "a right is missing"),
            (Scenario::BrokenRollback, "broken-rollback", "the way back is blocked"),
        ];
        for (_, scenario, why) in others.into_iter().filter(|(scenario, ..)| *scenario != self.scenario) {
            add(format!("backout demo --scenario {scenario}"), why);
        }
        add("backout demo --keep-running".to_owned(), "shop and client go on, for commands of your own");
        add(format!("cd {folder}"), "backout.toml is the site file");
        if self.scenario == Scenario::Denied {
            add("backout allow packages/shop-2.0".to_owned(), "why 2.0 asks for more; grants it");
        }
        if let Some(run) = self.runs.first() {
            add(format!("backout show {}", run.run), "what was done when, and what came of it");
        }
        add("backout inspect packages/shop-2.0".to_owned(), "what a package asks for, and what it cannot do");
        next
    }
}

impl Run {
    fn of(run: u64, report: &Value, root: &Path) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let phases = report["phases"].as_array().into_iter().flatten();
        let phases = phases.map(|phase| Phase {
            name: match phase["rolled_back"] == true && phase["name"] == "verify" {
                true => "verify again".to_owned(),
                false => text(&phase["name"]),
            },
            millis: phase["millis"].as_u64().unwrap_or_default(),
        });
        Self {
            run,
            command: text(&report["header"]["command"]),
            outcome: text(&report["ending"]["outcome"]),
            phases: phases.filter(|phase| phase.millis > 0).collect(),
            report: root.join(format!("state/runs/{run}/report.md")),
        }
    }
}

/// What makes the name known to a shell that would not find this program by it.
#[expect(clippy::disallowed_methods, reason = "it looks where a shell would look")]
fn alias() -> Option<String> {
    let here = std::env::current_exe().ok()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("backout")).find(|file| file.is_file());
    let known = found.and_then(|file| file.canonicalize().ok()).is_some_and(|found| found == here);
    (!known).then(|| format!("alias backout='{}'", here.display()))
}

fn seconds(millis: u64) -> String {
    format!("{:.2} s", millis as f64 / 1000.0)
}
