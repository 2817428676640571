use super::{
    Exit, Global,
    columns::{columns, count},
    ui,
};
use crate::{
    diagnostic::units::show_bytes,
    package::{Need, Package, Schema},
    resource::{
        Database, Kind, ResourceId, Right, Rights,
        database::{Method, Revisions},
    },
    site::{Foreign, Site},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

/// Show what a package is, what it asks for and why; runs nothing
///
/// Reads a package without running or compiling anything of it. Where there is a site file, says which rights it has here.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder with a `package.toml`
    package: PathBuf,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let package = Package::open(&self.package)?;
        let site = match global.site.exists().then(|| Site::load(&global.site)) {
            Some(Err(mistakes)) => {
                let mistakes = count(mistakes.0.len(), "mistake");
                ui::say(&format!("{} has {mistakes}, so it is left out here: backout check", global.site.display()));
                None
            }
            Some(Ok(site)) => Some(site),
            None => None,
        };
        let view = View::new(&package, site.as_ref());
        if global.json {
            ui::json(&view)?;
        } else {
            ui::result(&view.text(&self.package));
        }
        Ok(Exit::Done)
    }
}

/// What is shown, as a machine reads it.
#[derive(Serialize)]
struct View {
    name: String,
    version: String,
    about: String,
    digest: String,
    script_bytes: usize,
    build: Option<String>,
    payloads: BTreeMap<String, u64>,
    upgrades_from: Option<String>,
    /// what the site says is installed now
    installed: Option<String>,
    settings: BTreeMap<String, SettingView>,
    needs: Vec<NeedView>,
    schemas: Vec<SchemaView>,
    /// An upper bound of what the script calls.
    imports: Vec<String>,
    /// Imported, but nothing that it works on is needed.
    imports_without_need: Vec<String>,
    wasi_imports: usize,
    /// Whether a site file was looked at.
    site: bool,
}

#[derive(Serialize)]
struct SettingView {
    about: String,
    default: Option<String>,
    min: Option<String>,
    max: Option<String>,
}

/// Between which revisions of a database's schema it goes.
#[derive(Serialize)]
struct SchemaView {
    /// of the need
    label: String,
    /// The query that tells the revision; `null`: it is the schema's fingerprint.
    revision: Option<String>,
    from: Vec<String>,
    to: String,
}

#[derive(Serialize)]
struct NeedView {
    kind: String,
    label: String,
    rights: Vec<Right>,
    queries: Vec<String>,
    optional: bool,
    why: String,
    /// the resource of the site
    bound: Option<String>,
    missing: Vec<Right>,
    /// Runs, outside the sandbox, a program that the package may write.
    runs_package_code: Option<Unsandboxed>,
    /// How copies of it are made here, where that is not the usual way.
    #[serde(skip_serializing_if = "Option::is_none")]
    copies: Option<String>,
}

#[derive(Serialize)]
struct Unsandboxed {
    tree: String,
    runs_as: String,
}

impl View {
    fn new(package: &Package, site: Option<&Site>) -> Self {
        let manifest = &package.manifest;
        let foreign = site.map(Site::foreign_code_here).unwrap_or_default();
        let settings = manifest.settings.iter().map(|(name, setting)| {
            let written = |value: &Option<crate::package::Value>| value.as_ref().map(|value| value.written());
            let view = SettingView {
                about: setting.about.clone(),
                default: written(&setting.default),
                min: written(&setting.min),
                max: written(&setting.max),
            };
            (name.clone(), view)
        });
        Self {
            name: manifest.name.clone(),
            version: manifest.version.to_string(),
            about: manifest.about.clone(),
            digest: package.digest.clone(),
            script_bytes: package.script.len(),
            build: manifest.build.clone(),
            payloads: package.payload_bytes.clone(),
            upgrades_from: manifest.from.as_ref().map(|from| from.value.to_string()),
            installed: site.and_then(|site| site.installed_version().ok().flatten()),
            settings: settings.collect(),
            needs: manifest.needs.iter().map(|need| NeedView::new(package, need, site, &foreign)).collect(),
            schemas: manifest.schemas.iter().map(SchemaView::new).collect(),
            imports: package.imports.iter().cloned().collect(),
            imports_without_need: package.unneeded_imports().into_iter().map(str::to_owned).collect(),
            wasi_imports: package.wasi.len(),
            site: site.is_some(),
        }
    }

    fn text(&self, path: &std::path::Path) -> String {
        let mut out = format!("{} {}   {}\n", self.name, self.version, self.about);
        out.push_str(&columns(&self.head()));
        if self.needs.is_empty() {
            out.push_str("\nIt asks for nothing.\n");
        } else {
            out.push('\n');
            out.push_str(&self.asks());
        }
        if !self.settings.is_empty() {
            out.push_str("\nSettings, which the site may override:\n");
            out.push_str(&columns(&self.settings.iter().map(|(name, setting)| setting.row(name)).collect::<Vec<_>>()));
        }
        // Writing into a string cannot fail.
        let _ = writeln!(out, "\nThe script cannot: {}.", self.cannot().join(", "));
        let _ = writeln!(out, "Not sandboxed, as with any upgrade: {}.", self.not_sandboxed());
        let _ = writeln!(out, "It can call at most: {}.", self.imports.join(", "));
        if !self.imports_without_need.is_empty() {
            let _ = writeln!(out, "  Not asked for, so in vain: {}.", self.imports_without_need.join(", "));
        }
        if self.wasi_imports > 0 {
            let _ = writeln!(out, "  {} of WASI, behind which is nothing.", count(self.wasi_imports, "interface"));
        }
        let missing: usize = self.needs.iter().filter(|n| !n.optional).map(|n| n.missing.len()).sum();
        if missing > 0 {
            let are = if missing == 1 { "is" } else { "are" };
            let path = path.display();
            let _ = writeln!(
                out,
                "\n{} {are} missing. To grant, after reading why:  backout allow {path}",
                count(missing, "right")
            );
        }
        out
    }

    fn head(&self) -> Vec<Vec<String>> {
        let row = |name: &str, text: String| vec![name.to_owned(), text];
        let mut rows = vec![row("digest", self.digest.clone())];
        let payload: u64 = self.payloads.values().sum();
        let script = show_bytes(self.script_bytes as u64);
        rows.push(row("size", format!("{}, script {script}", show_bytes(payload + self.script_bytes as u64))));
        if let Some(from) = &self.upgrades_from {
            let installed = self.installed.as_ref().map(|version| format!("; installed here: {version}"));
            rows.push(row("upgrades", format!("{from}  to {}{}", self.version, installed.unwrap_or_default())));
        }
        for schema in &self.schemas {
            rows.push(row("schema", schema.text()));
        }
        if let Some(build) = &self.build {
            rows.push(row("built by", build.clone()));
        }
        rows
    }

    fn asks(&self) -> String {
        let here = if self.site { "here" } else { "" };
        let mut rows = Vec::new();
        for need in &self.needs {
            rows.extend(need.rows(self.site));
        }
        // The heading stands two characters to the left of its column.
        let heading = ["It asks for", "", here, "because"].map(str::to_owned).to_vec();
        let text = columns(&std::iter::once(heading).chain(rows).collect::<Vec<_>>());
        text.replacen("  It asks for", "It asks for  ", 1)
    }

    fn labels(&self, kind: &str) -> Vec<String> {
        self.needs.iter().filter(|need| need.kind == kind).map(|need| format!("{kind} {}", need.label)).collect()
    }

    fn cannot(&self) -> Vec<String> {
        let except = |what: &str, labels: Vec<String>| match labels.is_empty() {
            true => what.to_owned(),
            false => format!("{what} (except through {})", labels.join(", ")),
        };
        let connections = [self.labels("probe"), self.labels("metrics"), self.labels("channel")].concat();
        let mut cannot = vec![
            except("see files", self.labels("tree")),
            except("open connections", connections),
            except("run commands", self.labels("tool")),
            "read the environment or passwords".to_owned(),
        ];
        if !self.imports.iter().any(|interface| interface == "clock") {
            cannot.push("read the clock".to_owned());
        }
        cannot
    }

    fn not_sandboxed(&self) -> String {
        let product = [self.labels("service"), self.labels("tool")].concat();
        let product = if product.is_empty() {
            "the product itself".to_owned()
        } else {
            format!("the product itself ({})", product.join(", "))
        };
        let payloads = self.payloads.iter().map(|(name, bytes)| format!("payload {name} {}", show_bytes(*bytes)));
        std::iter::once(product).chain(payloads).collect::<Vec<_>>().join(", ")
    }
}

impl SettingView {
    fn row(&self, name: &str) -> Vec<String> {
        let bound = |word: &str, value: &Option<String>| value.as_ref().map(|value| format!("{word} {value}"));
        let bounds: Vec<String> =
            [bound("at least", &self.min), bound("at most", &self.max)].into_iter().flatten().collect();
        let default = self.default.clone().unwrap_or_else(|| "(the site must say)".to_owned());
        vec![name.to_owned(), default, bounds.join(", "), self.about.clone()]
    }
}

impl SchemaView {
    fn new(schema: &Schema) -> Self {
        let Revisions { query, from, to } = schema.revisions.clone();
        Self { label: schema.label.clone(), revision: query, from, to }
    }

    fn text(&self) -> String {
        let told = self.revision.as_ref().map(|query| format!("; told by: {query}")).unwrap_or_default();
        format!("{}: {}  to {}{told}", self.label, self.from.join(" or "), self.to)
    }
}

/// How a database is copied, where it is not as usual. What `auto` would choose only its server tells.
fn copies(site: &Site, id: &ResourceId) -> Option<String> {
    let section = site.databases.get(&id.name).filter(|_| id.kind == Database::NAME)?;
    let words = match section.method {
        Method::Clone => "its copy is a clone, made under the fence",
        Method::Auto { .. } => {
            "its copy is a stand-by, or a clone that is made under the fence; `backout plan` says which, and why"
        }
        _ => return None,
    };
    Some(words.to_owned())
}

impl NeedView {
    fn new(package: &Package, need: &Need, site: Option<&Site>, foreign: &[Foreign<'_>]) -> Self {
        let grant = site.and_then(|site| site.grant(package, need));
        let missing = match (site, grant) {
            (None, _) => Rights::default(),
            (Some(_), None) => need.may.clone(),
            (Some(_), Some(grant)) => need.may.without(&grant.may),
        };
        let runs =
            grant.and_then(|grant| foreign.iter().find(|f| f.id == grant.is && f.package == package.manifest.name));
        Self {
            kind: need.kind.clone(),
            label: need.label.clone(),
            rights: need.may.iter().collect(),
            queries: need.queries.iter().map(|query| query.value.clone()).collect(),
            optional: need.optional,
            why: need.why.clone(),
            bound: grant.map(|grant| grant.is.name.clone()),
            missing: missing.iter().collect(),
            copies: site.zip(grant).and_then(|(site, grant)| copies(site, &grant.is)),
            runs_package_code: runs.map(|f| Unsandboxed { tree: f.tree.to_owned(), runs_as: f.runs_as() }),
        }
    }

    /// One line for what is granted, one for what is missing, one for what is not sandboxed.
    fn rows(&self, site: bool) -> Vec<Vec<String>> {
        let words = |rights: &[Right]| rights.iter().map(|right| right.as_str()).collect::<Vec<_>>().join(" ");
        let granted: Vec<Right> = self.rights.iter().copied().filter(|right| !self.missing.contains(right)).collect();
        let mut lines: Vec<(String, String)> = Vec::new();
        let bound = self.bound.as_ref().filter(|bound| **bound != self.label);
        if !granted.is_empty() {
            let here = bound.map_or("granted".to_owned(), |bound| format!("granted ({bound})"));
            lines.push((words(&granted), if site { here } else { String::new() }));
        }
        if !self.missing.is_empty() {
            let here = if self.optional { "not granted" } else { "missing" };
            lines.push((words(&self.missing), here.to_owned()));
        }
        if let Some((rights, _)) = lines.first_mut() {
            if !self.queries.is_empty() {
                rights.push_str(&format!(" ({})", self.queries.join(", ")));
            }
            if self.optional {
                rights.push_str(" (optional)");
            }
        }
        let mut rows = Vec::new();
        for (index, (rights, here)) in lines.into_iter().enumerate() {
            let first = index == 0;
            let name = if first { format!("{} {}", self.kind, self.label) } else { String::new() };
            rows.push(vec![name, rights, here, if first { self.why.clone() } else { String::new() }]);
        }
        if let Some(copies) = &self.copies {
            rows.push(vec![String::new(), String::new(), String::new(), copies.clone()]);
        }
        if let Some(runs) = &self.runs_package_code {
            let Unsandboxed { tree, runs_as } = runs;
            let text = format!("! runs what this package may write (tree {tree}), outside the sandbox, as {runs_as}");
            rows.push(vec![String::new(), String::new(), String::new(), text]);
        }
        rows
    }
}
