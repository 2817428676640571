//! `[allow."vendor/name"]`: what a package may do here.
use super::{
    KINDS,
    approval::{self, Approval},
};
use crate::{
    diagnostic::{
        Location, Mistake,
        reader::{At, Item, Table},
    },
    package::{self, Written},
    resource::{ResourceId, Rights},
};
use semver::VersionReq;
use std::{collections::BTreeMap, time::Duration};

#[derive(Clone, Debug)]
pub struct Allow {
    pub package: String,
    /// Which versions the grants are for.
    pub versions: Option<At<VersionReq>>,
    /// In the order of the file.
    pub grants: Vec<Grant>,
    pub require: Require,
    pub location: Location,
}

/// A label of the package, bound to a resource of the site.
#[derive(Clone, Debug)]
pub struct Grant {
    pub kind: String,
    pub label: String,
    pub is: ResourceId,
    pub may: Rights,
    pub location: Location,
    /// where the name of the resource stands; the label when it says both
    pub is_location: Location,
}

#[derive(Clone, Debug, Default)]
pub struct Require {
    /// `None`: `high`, because a blocker refuses anyway
    pub max_risk: Option<MaxRisk>,
    /// Who must have approved the plan of an upgrade.
    pub approval: Option<Approval>,
    /// An upgrade begins only if a rehearsal of the same package came to a good end so short a time before.
    pub rehearsed_within: Option<Duration>,
    /// Values that the site sets instead of the package's defaults.
    pub settings: BTreeMap<String, At<Written>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaxRisk {
    Low,
    Medium,
    High,
}

impl MaxRisk {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl Allow {
    pub fn grant(&self, kind: &str, label: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.kind == kind && grant.label == label)
    }
}

/// The grants as they are written: what they bind is looked up when all resources are known.
pub fn allow(root: &Table<'_>) -> Vec<Allow> {
    let Some(table) = root.table("allow") else { return Vec::new() };
    table.entries().iter().filter_map(|item| package_allow(&table, item)).collect()
}

fn package_allow(within: &Table<'_>, item: &Item<'_>) -> Option<Allow> {
    if !package::valid_package_name(&item.key) {
        let mistake = Mistake::new(format!("`{}` cannot be the name of a package", item.key));
        within.mistake(mistake.at(&item.key_location()).hint("write `[allow.\"vendor/name\"]`, with the quotes"));
        return None;
    }
    let table = item.table()?;
    let versions = table.get("versions").and_then(|item| package::requirement(&item));
    let mut grants: Vec<Grant> = Vec::new();
    for kind in KINDS {
        grants.extend(table.named(kind).iter().filter_map(|item| grant(kind, item)));
    }
    grants.sort_by_key(|grant| grant.location.span.start);
    let require = table.table("require").map(require).unwrap_or_default();
    let location = table.location();
    table.finish();
    Some(Allow { package: item.key.clone(), versions, grants, require, location })
}

fn grant(kind: &str, item: &Item<'_>) -> Option<Grant> {
    let table = item.table()?;
    let is = table.string("is");
    let example = crate::resource::Right::of_kind(kind).first().map_or(String::new(), |r| format!("[\"{r}\"]"));
    let may = table.required("may", &example).and_then(|item| package::rights(kind, &item));
    let location = table.location();
    table.finish();
    let (name, is_location) = match is {
        Some(At { value, location }) => (value, location),
        None => (item.key.clone(), location.clone()),
    };
    Some(Grant {
        kind: kind.to_owned(),
        label: item.key.clone(),
        is: ResourceId::new(kind, name),
        // Rights with a mistake in them are told; what they are for is looked up all the same.
        may: may.unwrap_or_default(),
        location,
        is_location,
    })
}

fn require(table: Table<'_>) -> Require {
    let words = [("low", MaxRisk::Low), ("medium", MaxRisk::Medium), ("high", MaxRisk::High)];
    let max_risk = table.get("max-risk").and_then(|item| item.word(&words));
    let approval = table.get("approval").and_then(|item| approval::approval(&item));
    let setting = |item: &Item<'_>| Some(At { value: Written::read(item)?, location: item.location() });
    let settings = table.named("settings").iter().filter_map(|item| Some((item.key.clone(), setting(item)?))).collect();
    let rehearsed_within = table.duration("rehearsed-within");
    table.finish();
    Require { max_risk, approval, rehearsed_within, settings }
}
