//! A plan: what an upgrade would do when all goes well, and what takes it back when its last call does not.
use super::{
    course::{Call, Deviation, Path},
    explore, otherwise,
    rules::{self, Finding, Rule},
    stage::{MORNING, Stage, Told},
};
use crate::{
    journal::{self, Risk},
    resource::{FailureKind, world::Change},
    run::life_cycle::Outcome,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub package: String,
    pub version: String,
    /// `sha256:…` of the package
    pub digest: String,
    pub from_version: String,
    /// The world is invented: there was no site to look at.
    pub offline: bool,
    pub risks: Vec<Risk>,
    /// In the order in which they run; those with equal `after` run at once.
    pub steps: Vec<Step>,
    /// What runs when the last call of the upgrade fails.
    pub if_it_fails: Vec<Step>,
    /// From the first step that stops a service to the one that starts it again.
    pub down: Option<Down>,
    /// Calls whose answer only the changed world could give, taken to be as the script wants them.
    pub assumed: Vec<String>,
    pub people: BTreeSet<String>,
    pub findings: Vec<Finding>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    pub phase: String,
    /// It runs after a rollback.
    pub rolled_back: bool,
    pub name: String,
    pub title: String,
    pub estimate_seconds: u64,
    /// earlier runs on this site that the estimate rests on; 0: the script's own reckoning
    pub measured_runs: u32,
    pub roles: Vec<String>,
    pub after: Vec<String>,
    pub operations: Vec<Operation>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    pub operation: String,
    pub label: String,
    /// Whether it changes anything, as its class says.
    pub changes: bool,
    pub assumed: bool,
    /// What the script says in it, of an operation that changes something; beyond 4 KiB the length and digest of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// What the script says in it follows from the time, or from what it reads, so that it is not held to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub varies: bool,
    /// What it makes of the simulated world, in words.
    pub effects: Vec<Effect>,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// `database orders`
    pub resource: String,
    pub text: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Down {
    pub from: String,
    pub to: String,
    pub estimate_seconds: u64,
}

pub async fn plan(stage: &Stage) -> Plan {
    drawn(stage, &BTreeSet::new()).await
}

/// As it is put aside for approval: with a word at each call whose arguments follow from what only the day of the upgrade can tell.
pub async fn plan_to_keep(stage: &Stage) -> Plan {
    drawn(stage, &otherwise::varying(stage).await).await
}

/// `varying`: the keys of calls.
async fn drawn(stage: &Stage, varying: &BTreeSet<String>) -> Plan {
    let good = stage.play_in_full(Path::new(), MORNING, None).await;
    let last = good.calls.iter().rposition(|call| call.phase() == "upgrade");
    let bad = match last {
        Some(call) => {
            let deviation = Deviation::fails(call, FailureKind::Failed, false);
            Some(stage.play_in_full(vec![deviation], MORNING, None).await)
        }
        None => None,
    };
    let uses = explore::uses_of(stage);
    let mut findings = rules::of_path(&good, &uses);
    if !matches!(good.outcome, Outcome::Upgraded) && findings.is_empty() {
        findings.push(cannot("the upgrade cannot be carried out", &good.outcome));
    }
    if let Some(bad) = &bad {
        findings.extend(rules::of_path(bad, &uses).into_iter().filter(|found| found.rule != Rule::HiddenError));
        if matches!(bad.outcome, Outcome::Stopped(_)) && findings.is_empty() {
            findings.push(cannot("it cannot be taken back", &bad.outcome));
        }
    }
    findings.dedup();
    let steps = steps(&good, varying);
    let if_it_fails = bad.as_ref().map(steps_back).unwrap_or_default();
    let assumed = good.calls.iter().filter(|call| call.assumed).map(|call| format!("{}: {}", call.step, call.title()));
    Plan {
        package: stage.facts.package.clone(),
        version: stage.facts.version.clone(),
        digest: stage.package.digest.clone(),
        from_version: stage.facts.from_version.clone(),
        offline: stage.real.is_none(),
        risks: good.plans.risks.clone(),
        down: down(&steps),
        assumed: assumed.collect(),
        people: steps.iter().chain(&if_it_fails).flat_map(|step| step.roles.clone()).collect(),
        steps,
        if_it_fails,
        findings,
    }
}

fn cannot(what: &str, outcome: &Outcome) -> Finding {
    let text = format!("{what}: {}", outcome.ending().message);
    let hint = "`backout explore` shows each path".to_owned();
    Finding { rule: Rule::NeverReached, text, hint, path: None }
}

fn steps(told: &Told, varying: &BTreeSet<String>) -> Vec<Step> {
    let plans = &told.plans;
    let phases = [("prepare", &plans.prepare), ("upgrade", &plans.upgrade), ("verify", &plans.verify)];
    let effects = effects(told);
    let of = |(phase, steps): &(&str, &Vec<journal::Step>)| {
        steps.iter().map(|s| step(phase, false, s, told, &effects, varying)).collect::<Vec<_>>()
    };
    phases.iter().flat_map(of).collect()
}

/// The steps as they were planned when they were due, after something had failed.
fn steps_back(told: &Told) -> Vec<Step> {
    let effects = effects(told);
    let planned = told.entries.iter().filter_map(|recorded| match &recorded.entry {
        journal::Entry::Planned { steps } if recorded.place.rolled_back => Some((&recorded.place.phase, steps)),
        _ => None,
    });
    // The rollback is planned before anything is done, and again when it is due.
    let due: BTreeMap<&str, &Vec<journal::Step>> = planned.map(|(phase, steps)| (phase.as_str(), steps)).collect();
    let phases = [("rollback", due.get("rollback")), ("verify", due.get("verify"))];
    let steps = phases
        .into_iter()
        .flat_map(|(phase, steps)| steps.into_iter().flat_map(move |s| s.iter().map(move |s| (phase, s))));
    steps.map(|(phase, s)| step(phase, true, s, told, &effects, &BTreeSet::new())).collect()
}

fn effects(told: &Told) -> BTreeMap<&str, Vec<&Change>> {
    let mut effects: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in &told.changes {
        effects.entry(change.call.as_str()).or_default().push(change);
    }
    effects
}

fn step(
    phase: &str,
    rolled_back: bool,
    step: &journal::Step,
    told: &Told,
    effects: &BTreeMap<&str, Vec<&Change>>,
    varying: &BTreeSet<String>,
) -> Step {
    let title = format!("{phase}/{}", step.name);
    let here = |call: &&Call| call.step == title && call.rolled_back == rolled_back;
    let operation = |call: &Call| Operation {
        operation: call.operation.clone(),
        label: call.label.clone(),
        changes: call.changes,
        assumed: call.assumed,
        arguments: call.arguments.clone(),
        varies: varying.contains(&call.key()),
        effects: effects
            .get(call.key().as_str())
            .into_iter()
            .flatten()
            .map(|change| Effect {
                resource: format!("{} {}", change.resource.kind, change.resource.name),
                text: change.text.clone(),
            })
            .collect(),
    };
    Step {
        phase: phase.to_owned(),
        rolled_back,
        name: step.name.clone(),
        title: step.title.clone(),
        estimate_seconds: step.estimate_seconds,
        measured_runs: step.measured_runs,
        roles: step.roles.clone(),
        after: step.after.clone(),
        operations: told.calls.iter().filter(here).map(operation).collect(),
    }
}

/// The steps of the upgrade between which a service is down, with both.
fn down(steps: &[Step]) -> Option<Down> {
    let upgrade: Vec<&Step> = steps.iter().filter(|step| step.phase == "upgrade").collect();
    let has = |step: &Step, text: &str| {
        step.operations
            .iter()
            .flat_map(|op| &op.effects)
            .any(|effect| effect.resource.starts_with("service ") && effect.text == text)
    };
    let from = upgrade.iter().position(|step| has(step, "running → stopped"))?;
    let to = upgrade.iter().rposition(|step| has(step, "stopped → running")).unwrap_or(upgrade.len() - 1);
    let between = upgrade.get(from..=to)?;
    Some(Down {
        from: upgrade.get(from)?.name.clone(),
        to: upgrade.get(to)?.name.clone(),
        estimate_seconds: between.iter().map(|step| step.estimate_seconds).sum(),
    })
}
