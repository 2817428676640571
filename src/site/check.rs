//! A site against a package: needs ∩ grants, and what is in only one of them.
use super::{Allow, Grant, Site, agree::words};
use crate::{
    diagnostic::{Location, Mistake, Mistakes, io_reason, shown},
    package::{Need, Package, Value},
    resource::{ResourceId, Rights},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// All that came up. Without mistakes and missing rights the package may run.
#[derive(Debug, Default)]
pub struct Findings {
    pub mistakes: Mistakes,
    pub missing: Vec<Missing>,
    /// Granted, but never asked for.
    pub unneeded: Vec<Note>,
    pub notes: Vec<Note>,
}

/// Rights that a need asks for and no grant gives.
#[derive(Clone, Debug)]
pub struct Missing {
    pub need: Need,
    pub rights: Rights,
    /// What the label is bound to already.
    pub bound: Option<ResourceId>,
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub text: String,
    #[serde(serialize_with = "place")]
    pub location: Option<Location>,
}

fn place<S: serde::Serializer>(location: &Option<Location>, serializer: S) -> Result<S::Ok, S::Error> {
    location.as_ref().map(ToString::to_string).serialize(serializer)
}

impl Note {
    fn new(text: impl Into<String>, location: Option<&Location>) -> Self {
        Self { text: text.into(), location: location.cloned() }
    }
}

impl Missing {
    /// `database orders: fence, restore`
    pub fn title(&self) -> String {
        let rights: Vec<&str> = self.rights.iter().map(|right| right.as_str()).collect();
        format!("{} {}: {}", self.need.kind, self.need.label, rights.join(", "))
    }
}

impl Findings {
    /// `Err` with everything that keeps the package from running here.
    pub fn refuse(self, package: &Package) -> Result<(), Mistakes> {
        let mut mistakes = self.mistakes;
        let hint = format!("to grant it, after reading why: backout allow {}", shown(&package.named));
        for (index, missing) in self.missing.iter().enumerate() {
            let message =
                format!("{} is not granted to {}: {}", missing.title(), package.manifest.name, missing.need.why);
            let mistake = Mistake::new(message).at(&missing.need.location);
            // The one command grants all of them.
            let last = index + 1 == self.missing.len();
            mistakes.0.push(if last { mistake.hint(&*hint) } else { mistake });
        }
        mistakes.none_or()
    }
}

impl Site {
    /// What the site says about this package, if anything.
    pub fn allows(&self, package: &Package) -> Option<&Allow> {
        self.allow.get(&package.manifest.name)
    }

    /// The grant for a need.
    pub fn grant(&self, package: &Package, need: &Need) -> Option<&Grant> {
        self.allows(package)?.grant(&need.kind, &need.label)
    }

    pub fn check(&self, package: &Package) -> Findings {
        let mut findings = Findings::default();
        let manifest = &package.manifest;
        let allow = self.allows(package);
        if let Some(allow) = allow {
            if let Some(versions) = allow.versions.as_ref().filter(|v| !v.value.matches(&manifest.version)) {
                let message =
                    format!("{} is version {}, allowed is {}", manifest.name, manifest.version, versions.value);
                let hint = "read what the new version asks for (`backout inspect PACKAGE`), then change `versions`";
                findings.mistakes.0.push(Mistake::new(message).at(&versions.location).hint(hint));
            }
            findings.unneeded = unneeded(allow, package);
        }
        for need in &manifest.needs {
            let grant = self.grant(package, need);
            let rights = match grant {
                Some(grant) => need.may.without(&grant.may),
                None => need.may.clone(),
            };
            if !rights.is_empty() {
                let words: Vec<&str> = rights.iter().map(|right| right.as_str()).collect();
                if need.optional {
                    let text =
                        format!("{} {}: {} is optional, and not granted", need.kind, need.label, words.join(", "));
                    findings.notes.push(Note::new(text, Some(&need.location)));
                } else {
                    let bound = grant.map(|grant| grant.is.clone());
                    findings.missing.push(Missing { need: need.clone(), rights, bound });
                }
            }
            if let Some(grant) = grant {
                findings.mistakes.0.extend(self.unknown_queries(need, grant));
            }
        }
        if let Err(mistakes) = self.typed_settings(package) {
            findings.mistakes.0.extend(mistakes.0);
        }
        let imports = package.unneeded_imports();
        if !imports.is_empty() {
            let text =
                format!("the script imports {}, but the package needs nothing that these work on", imports.join(", "));
            findings.notes.push(Note::new(text, Some(&package.manifest.script.location)));
        }
        findings.mistakes.sort();
        findings
    }

    /// Metrics that the script will ask for must be there: afterwards no data would be all that it gets.
    fn unknown_queries(&self, need: &Need, grant: &Grant) -> Vec<Mistake> {
        let Some(section) = self.metrics.get(&grant.is.name) else { return Vec::new() };
        let names = section.driver.names();
        let unknown = need.queries.iter().filter(|query| !names.contains(&query.value.as_str()));
        unknown
            .map(|query| {
                let message = format!("{} has no query `{}`", words(&grant.is), shown(&query.value));
                Mistake::new(message).at(&grant.location).known(&query.value, names.iter().copied())
            })
            .collect()
    }

    fn typed_settings(&self, package: &Package) -> Result<BTreeMap<String, Value>, Mistakes> {
        let declared = &package.manifest.settings;
        let mut mistakes = Mistakes::default();
        let overrides = self.allows(package).map(|allow| &allow.require.settings);
        for (name, written) in overrides.into_iter().flatten() {
            if !declared.contains_key(name) {
                let message = format!("{} has no setting `{}`", package.manifest.name, shown(name));
                let known = declared.keys().map(String::as_str);
                mistakes.0.push(Mistake::new(message).at(&written.location).known(name, known));
            }
        }
        let mut values = BTreeMap::new();
        for (name, setting) in declared {
            let value = match overrides.and_then(|overrides| overrides.get(name)) {
                Some(written) => setting.accept(&written.value).map_err(|why| {
                    Mistake::new(format!("`settings.{name}` {why}")).at(&written.location).hint(setting.about.clone())
                }),
                None => setting.default.clone().ok_or_else(|| {
                    let message = format!("the site must say the setting `{name}`: {}", setting.about);
                    let section = format!("[allow.\"{}\".require]", package.manifest.name);
                    Mistake::new(message)
                        .at(&setting.location)
                        .hint(format!("add `settings.{name} = …` to `{section}`"))
                }),
            };
            match value {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(mistake) => mistakes.0.push(mistake),
            }
        }
        mistakes.none_or()?;
        Ok(values)
    }

    /// The settings as the script reads them: the site's values, else the defaults. Durations in whole seconds.
    pub fn settings(&self, package: &Package) -> Result<BTreeMap<String, String>, Mistakes> {
        Ok(self.typed_settings(package)?.into_iter().map(|(name, value)| (name, value.to_string())).collect())
    }

    /// The version that is installed now, as the product's own files say. `None`: the site does not say how to ask.
    pub fn installed_version(&self) -> Result<Option<String>, Mistakes> {
        let Some(product) = &self.product else { return Ok(None) };
        let Some((version, tree)) = product.version.as_ref().and_then(|v| Some((v, self.trees.get(&v.tree)?))) else {
            return Ok(None);
        };
        let path = tree.path.join(&version.link);
        let wrong = |why: String| {
            let link = format!("{}:{}", version.tree, version.link.display());
            let message = format!("which version of {} is installed cannot be read from {link}: {why}", product.name);
            Mistakes::from(Mistake::new(message).at(&product.location))
        };
        let target = path
            .read_link()
            .map_err(|error| wrong(if path.exists() { "it is no link".to_owned() } else { io_reason(&error) }))?;
        let last = target.file_name().and_then(|name| name.to_str());
        let last = last.filter(|name| name.len() <= 64 && !name.contains(crate::plain::hidden));
        match last {
            Some(version) => Ok(Some(version.to_owned())),
            None => Err(wrong(format!("it points to {}", shown(&target.display().to_string())))),
        }
    }

    /// Whether the package upgrades from what is installed.
    pub fn upgradable(&self, package: &Package) -> Result<(), Mistakes> {
        let (Some(from), Some(installed)) = (&package.manifest.from, self.installed_version()?) else { return Ok(()) };
        if package.manifest.upgrades(&installed) {
            return Ok(());
        }
        let message = format!("{} upgrades from {}, installed is {installed}", package.title(), from.value);
        Err(Mistake::new(message).at(&from.location).hint("get the package for the version that is installed").into())
    }
}

fn unneeded(allow: &Allow, package: &Package) -> Vec<Note> {
    let mut notes = Vec::new();
    for grant in &allow.grants {
        let label = format!("{} {}", grant.kind, shown(&grant.label));
        match package.manifest.need(&grant.kind, &grant.label) {
            None => {
                let text = format!("{label} is granted, but {} needs no such thing", package.title());
                notes.push(Note::new(text, Some(&grant.location)));
            }
            Some(need) => {
                let rights = grant.may.without(&need.may);
                if !rights.is_empty() {
                    let rights: Vec<&str> = rights.iter().map(|right| right.as_str()).collect();
                    let text = format!("{label}: {} is granted, but never needed", rights.join(", "));
                    notes.push(Note::new(text, Some(&grant.location)));
                }
            }
        }
    }
    notes
}
