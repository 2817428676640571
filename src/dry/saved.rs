//! A plan that was put aside for approval: what it is bound to, and what a run that keeps to it may do.
use super::{
    approval::Approval,
    plan::{Plan, Step},
};
use crate::{
    diagnostic::shown,
    journal::{self, Approved, ApprovedBy, ApprovedOperation, ApprovedStep},
    resource::{ResourceId, database, service::Observer},
    run::life_cycle::Plans,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Another format is refused, never guessed at.
const FORMAT: u64 = 1;

/// More than anybody waits for.
const MOST_APPROVALS: usize = 100;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    pub format: u64,
    pub bound: Bound,
    pub plan: Plan,
    /// Signatures over all of the above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
}

/// What a plan was made from. Where any of it is otherwise, the plan is stale.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bound {
    pub package: String,
    pub version: String,
    /// `sha256:…` of the package
    pub digest: String,
    /// what is installed; empty where the site does not say how to ask
    pub from_version: String,
    pub settings: BTreeMap<String, String>,
    /// `sha256:…` of each section of the site that the package uses, by its name (`database.orders`)
    pub sections: BTreeMap<String, String>,
    /// how each service stood, by its name on the site
    pub services: BTreeMap<String, String>,
    /// a digest of what is declared in each database, by its name on the site; of what it holds there is none, it changes all the time
    pub schemas: BTreeMap<String, String>,
}

impl Saved {
    pub fn new(bound: Bound, plan: Plan) -> Self {
        Self { format: FORMAT, bound, plan, approvals: Vec::new() }
    }

    pub fn text(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// `Err`: why it is none, in one line.
    pub fn read(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        match value.get("format").map(Value::as_u64) {
            Some(Some(FORMAT)) => {}
            Some(Some(other)) => return Err(format!("it has the format {other}, this Backout reads {FORMAT}")),
            _ => return Err("it has no format number".to_owned()),
        }
        let saved: Self = Self::deserialize(&value).map_err(|error| shown(&error.to_string()))?;
        // What this Backout would leave out when it writes it was never signed either.
        if serde_json::to_value(&saved).ok().as_ref() != Some(&value) {
            return Err("it says more, or says it otherwise, than this Backout writes".to_owned());
        }
        if saved.approvals.len() > MOST_APPROVALS {
            return Err(format!("it has more than {MOST_APPROVALS} approvals"));
        }
        Ok(saved)
    }

    /// `sha256:…` of all that is approved, in the one form that it has.
    pub fn digest(&self) -> serde_json::Result<String> {
        let text = serde_json::to_vec(&(self.format, &self.bound, &self.plan))?;
        Ok(format!("sha256:{:x}", Sha256::digest(text)))
    }

    /// What the run's journal keeps of it.
    pub fn approved(&self, approvals: Vec<ApprovedBy>) -> Approved {
        let step = |step: &Step| ApprovedStep {
            phase: step.phase.clone(),
            rolled_back: step.rolled_back,
            name: step.name.clone(),
            after: step.after.clone(),
            operations: step
                .operations
                .iter()
                .map(|o| ApprovedOperation {
                    operation: o.operation.clone(),
                    label: o.label.clone(),
                    // The way back depends on how far it came.
                    arguments: o.arguments.clone().filter(|_| !o.varies && !step.rolled_back),
                })
                .collect(),
        };
        Approved { approvals, steps: self.plan.steps.iter().chain(&self.plan.if_it_fails).map(step).collect() }
    }
}

impl Bound {
    /// All that is not as it was, in a line each.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut all = Vec::new();
        if (&self.package, &self.version) != (&now.package, &now.version) {
            let names = [&now.package, &now.version, &self.package, &self.version].map(|name| shown(name));
            let [package, version, was, was_version] = names;
            all.push(format!("the package is {package} {version}, the plan is of {was} {was_version}"));
        }
        if self.digest != now.digest {
            all.push(format!("the package has changed: it is {}, it was {}", now.digest, shown(&self.digest)));
        }
        if self.from_version != now.from_version {
            let [is, was] = [&now.from_version, &self.from_version].map(|v| word(Some(v)));
            all.push(format!("the installed version is {is}, it was {was}"));
        }
        all.extend(changes("the setting", &self.settings, &now.settings));
        let sections: BTreeSet<&String> = self.sections.keys().chain(now.sections.keys()).collect();
        for name in sections.into_iter().filter(|name| self.sections.get(*name) != now.sections.get(*name)) {
            let how = match (self.sections.contains_key(name), now.sections.contains_key(name)) {
                (true, true) => "has changed",
                (true, false) => "is gone",
                _ => "is new",
            };
            all.push(format!("the site's section [{}] {how}", shown(name)));
        }
        all.extend(changes("the service", &self.services, &now.services));
        let schemas: BTreeSet<&String> = self.schemas.keys().chain(now.schemas.keys()).collect();
        let other = schemas.into_iter().filter(|name| self.schemas.get(*name) != now.schemas.get(*name));
        let known =
            |schemas: &BTreeMap<String, String>, name| schemas.get(name).is_some_and(|digest| !digest.is_empty());
        all.extend(other.map(|name| {
            let what = match (known(&self.schemas, name), known(&now.schemas, name)) {
                (true, true) => "its schema has changed",
                (true, false) => "its schema cannot be read now",
                _ => "its schema could not be read when the plan was made",
            };
            format!("database {}: {what}", shown(name))
        }));
        all
    }
}

fn word(value: Option<&String>) -> String {
    value.filter(|value| !value.is_empty()).map_or("nothing".to_owned(), |value| format!("`{}`", shown(value)))
}

fn changes(what: &str, was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let other = names.into_iter().filter(|name| was.get(*name) != is.get(*name));
    other
        .map(|name| format!("{what} `{}` is {}, it was {}", shown(name), word(is.get(name)), word(was.get(name))))
        .collect()
}

/// How each service stands now.
pub async fn services<'r>(seen: impl Iterator<Item = (&'r ResourceId, &'r Observer)>) -> BTreeMap<String, String> {
    let mut services = BTreeMap::new();
    for (id, observer) in seen {
        let status = observer.status().await.ok().and_then(|status| serde_json::to_value(status).ok());
        let word = status.as_ref().and_then(Value::as_str).unwrap_or("not to be seen");
        services.insert(id.name.clone(), word.to_owned());
    }
    services
}

/// What is declared in each database now.
pub async fn schemas<'r>(
    seen: impl Iterator<Item = (&'r ResourceId, &'r database::Observer)>,
) -> BTreeMap<String, String> {
    let mut schemas = BTreeMap::new();
    for (id, observer) in seen {
        // One that cannot be read now can be read when the plan is carried out, or is not there then either.
        schemas.insert(id.name.clone(), observer.schema().await.unwrap_or_default());
    }
    schemas
}

/// Where the steps that a script plans are not those that were approved; a title may differ. The rollback's depend on how far
/// the upgrade came.
pub fn other_steps(approved: &Approved, plans: &Plans) -> Vec<String> {
    type Steps<'s> = Vec<(&'s str, &'s [String])>;
    let mut all = Vec::new();
    for (phase, now) in [("prepare", &plans.prepare), ("upgrade", &plans.upgrade), ("verify", &plans.verify)] {
        let here = approved.steps.iter().filter(|step| step.phase == phase && !step.rolled_back);
        let was: Steps<'_> = here.map(|step| (step.name.as_str(), step.after.as_slice())).collect();
        let is: Steps<'_> = now.iter().map(|s: &journal::Step| (s.name.as_str(), s.after.as_slice())).collect();
        if was != is {
            all.push(format!("{phase} has the steps {}, the plan has {}", listed(&is), listed(&was)));
        }
    }
    all
}

fn listed(steps: &[(&str, &[String])]) -> String {
    let step = |(name, after): &(&str, &[String])| match after {
        [] => (*name).to_owned(),
        after => format!("{name} (after {})", after.join(", ")),
    };
    let steps: Vec<String> = steps.iter().map(step).collect();
    if steps.is_empty() { "none".to_owned() } else { shown(&steps.join(", ")) }
}
