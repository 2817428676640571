use super::{
    Exit, Global,
    columns::{columns, count},
    dry, queries, schema, ui,
};
use crate::{
    diagnostic::{Mistake, Mistakes},
    package::Package,
    resource::{CallCtx, Database, Kind, ResourceId, Rights, database},
    site::{Findings, Missing, Note, Site},
};
use serde::Serialize;
use std::{fmt::Write, path::PathBuf, time::Duration};

/// Check the site file, and a package against it; runs nothing
///
/// Reads the site file and looks at the host: every mistake at once, with file and line. With a package, also what that
/// package needs of this site, and what it is granted without need.
///
/// Exit code 0: clean. 3: mistakes or missing rights, the package could not run here. 10: it could, but it is granted
/// rights that it never needs.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder with a `package.toml`; without one, the site file alone is checked
    package: Option<PathBuf>,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let checked = Checked::new(&self, global);
        if global.json {
            ui::json(&checked.view())?;
        } else {
            ui::result(&checked.text());
        }
        Ok(checked.exit())
    }
}

struct Checked {
    site: String,
    package: Option<String>,
    /// how the package was named
    path: Option<PathBuf>,
    findings: Findings,
}

#[derive(Serialize)]
struct View<'a> {
    site: &'a str,
    package: Option<&'a str>,
    mistakes: &'a Mistakes,
    missing: Vec<MissingView<'a>>,
    unneeded: &'a [Note],
    notes: &'a [Note],
}

#[derive(Serialize)]
pub struct MissingView<'a> {
    kind: &'a str,
    label: &'a str,
    rights: Vec<&'a str>,
    why: &'a str,
    bound: Option<&'a str>,
    location: String,
}

impl<'a> MissingView<'a> {
    pub fn new(missing: &'a Missing) -> Self {
        Self {
            kind: &missing.need.kind,
            label: &missing.need.label,
            rights: missing.rights.iter().map(|right| right.as_str()).collect(),
            why: &missing.need.why,
            bound: missing.bound.as_ref().map(|id| id.name.as_str()),
            location: missing.need.location.to_string(),
        }
    }
}

impl Checked {
    fn new(args: &Args, global: &Global) -> Self {
        let site = Site::load(&global.site);
        let package = args.package.as_ref().map(|path| Package::open(path));
        let mut findings = match (&site, &package) {
            (Ok(site), Some(Ok(package))) => site.check(package),
            _ => Findings::default(),
        };
        if let (Ok(site), Some(Ok(package))) = (&site, &package) {
            look_at_schemas(&mut findings, site, package);
        }
        if let Ok(site) = &site {
            ask_for_queries(&mut findings, site, package.as_ref().and_then(|package| package.as_ref().ok()));
            findings.notes.extend(ask_for_methods(site));
        }
        let mistakes = &mut findings.mistakes;
        match &site {
            Ok(site) => {
                mistakes.0.extend(site.survey().0);
                mistakes.0.extend(look_at_servers(site));
            }
            Err(wrong) => mistakes.0.extend(wrong.0.clone()),
        }
        match (&site, &package) {
            (_, Some(Err(wrong))) => mistakes.0.extend(wrong.0.clone()),
            (Ok(site), Some(Ok(package))) => {
                if let Err(wrong) = site.upgradable(package) {
                    mistakes.0.extend(wrong.0);
                }
            }
            (Ok(site), None) => {
                if let Err(wrong) = site.installed_version() {
                    mistakes.0.extend(wrong.0);
                }
            }
            _ => {}
        }
        mistakes.sort();
        let package = package.and_then(Result::ok).map(|package| package.title());
        Self { site: global.site.display().to_string(), package, path: args.package.clone(), findings }
    }

    fn exit(&self) -> Exit {
        if !self.findings.mistakes.0.is_empty() || !self.findings.missing.is_empty() {
            Exit::Refused
        } else if !self.findings.unneeded.is_empty() {
            Exit::Findings
        } else {
            Exit::Done
        }
    }

    fn view(&self) -> View<'_> {
        View {
            site: &self.site,
            package: self.package.as_deref(),
            mistakes: &self.findings.mistakes,
            missing: self.findings.missing.iter().map(MissingView::new).collect(),
            unneeded: &self.findings.unneeded,
            notes: &self.findings.notes,
        }
    }

    fn text(&self) -> String {
        let Findings { mistakes, missing, unneeded, notes } = &self.findings;
        let mut out = String::new();
        // Writing into a string cannot fail.
        if !mistakes.0.is_empty() {
            let _ = writeln!(out, "{mistakes}\n");
        }
        if !missing.is_empty() {
            let _ = writeln!(out, "missing:\n{}", columns(&missing_rows(missing)));
        }
        for (title, list) in [("granted, but never needed:", unneeded), ("to know:", notes)] {
            if !list.is_empty() {
                let rows: Vec<_> = list.iter().map(note_row).collect();
                let _ = writeln!(out, "{title}\n{}", columns(&rows));
            }
        }
        let what = match &self.package {
            Some(package) => format!("{package} on {}", self.site),
            None => self.site.clone(),
        };
        let rights: usize = missing.iter().map(|missing| missing.rights.iter().count()).sum();
        let mut parts = Vec::new();
        if !mistakes.0.is_empty() {
            parts.push(count(mistakes.0.len(), "mistake"));
        }
        if rights > 0 {
            let path = self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            parts.push(format!("{} missing (backout allow {path})", count(rights, "right")));
        }
        if !unneeded.is_empty() {
            parts.push(format!("{} without need", count(unneeded.len(), "grant")));
        }
        let verdict = if parts.is_empty() { "in order".to_owned() } else { parts.join(", ") };
        let _ = writeln!(out, "{what}: {verdict}");
        out
    }
}

/// Whether each server lets Backout do what the site lets packages do.
fn look_at_servers(site: &Site) -> Vec<Mistake> {
    let look = async {
        let mut mistakes = Vec::new();
        for (name, section) in &site.databases {
            let id = ResourceId::new(Database::NAME, name);
            let grants = site.allow.values().flat_map(|allow| &allow.grants).filter(|grant| grant.is == id);
            let rights: Rights = grants.flat_map(|grant| grant.may.iter()).collect();
            let call = CallCtx::aside("check".to_owned(), Duration::from_secs(20));
            let found = match database::drivers::lacking(section, &rights, &call).await {
                Ok(lacking) => lacking.into_iter().map(|lacking| (lacking.what, Some(lacking.say))).collect(),
                Err(failure) => vec![(failure.message, failure.hint)],
            };
            for (what, hint) in found {
                let mut mistake = Mistake::new(format!("database `{name}`: {what}"));
                if let Some(hint) = hint {
                    mistake = mistake.hint(hint);
                }
                mistakes.push(match site.location(&id) {
                    Some(location) => mistake.at(location),
                    None => mistake,
                });
            }
        }
        mistakes
    };
    dry::wait(look).unwrap_or_else(|error| vec![Mistake::new(error.to_string())])
}

/// How copies are made, where the site leaves the choice or they come about under the fence.
fn ask_for_methods(site: &Site) -> Vec<Note> {
    let ask = async {
        let mut notes = Vec::new();
        for (name, section) in &site.databases {
            let call = CallCtx::aside("check".to_owned(), Duration::from_secs(20));
            // What is wrong with the server is told elsewhere.
            let Ok(Some(way)) = database::drivers::open(name, section).observer.way(&call).await else { continue };
            let when = if way.later { "under the fence, " } else { "" };
            let text = format!("copies of database {name}: {when}{}", way.words);
            notes.push(Note { text, location: site.location(&ResourceId::new(Database::NAME, name)).cloned() });
        }
        notes
    };
    dry::wait(ask).unwrap_or_default()
}

/// What is there is told in any case, so that whoever writes the manifest can copy it. Without a right that is needed nobody looks.
fn look_at_schemas(findings: &mut Findings, site: &Site, package: &Package) {
    let Ok(resources) = site.lend(package) else { return };
    let looked = match dry::wait(schema::lent(package, &resources)) {
        Ok(looked) => looked,
        Err(error) => return findings.mistakes.0.push(Mistake::new(error.to_string())),
    };
    for looked in looked {
        findings.mistakes.0.extend(looked.no_start());
        if let Ok(text) = looked.told() {
            findings.notes.push(Note { text, location: Some(looked.location().clone()) });
        }
    }
}

/// With a package those that it is lent, else all that there are.
fn ask_for_queries(findings: &mut Findings, site: &Site, package: Option<&Package>) {
    let resources = match package {
        Some(package) => site.lend(package),
        None => site.everything(),
    };
    let Ok(resources) = resources else { return };
    match dry::wait(queries::lent(site, &resources)) {
        Ok(asked) => {
            findings.mistakes.0.extend(asked.mistakes);
            findings.notes.extend(asked.unknown.into_iter().map(|(text, location)| Note { text, location }));
        }
        Err(error) => findings.mistakes.0.push(Mistake::new(error.to_string())),
    }
}

pub fn missing_rows(missing: &[Missing]) -> Vec<Vec<String>> {
    let row = |missing: &Missing| {
        let rights: Vec<&str> = missing.rights.iter().map(|right| right.as_str()).collect();
        let name = format!("{} {}", missing.need.kind, missing.need.label);
        vec![name, rights.join(" "), missing.need.why.clone()]
    };
    missing.iter().map(row).collect()
}

fn note_row(note: &Note) -> Vec<String> {
    vec![note.location.as_ref().map(ToString::to_string).unwrap_or_default(), note.text.clone()]
}
