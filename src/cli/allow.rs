use super::{
    Exit, Global, Refused,
    check::MissingView,
    columns::{columns, count},
    ui,
};
use crate::{
    diagnostic::Mistakes,
    package::Package,
    resource::ResourceId,
    site::{self, Addition, Findings, Foreign, Missing, Site},
};
use anyhow::Context;
use serde::Serialize;
use std::{fmt::Write, path::PathBuf};
use tokio_util::sync::CancellationToken;

/// Grant a package the rights that it lacks, after asking
///
/// Shows the rights that a package lacks and why it wants them, asks once for all of them, and writes the grant into the
/// site file; comments and order stay. Nothing else ever asks for rights.
///
/// Without a terminal to ask on, nothing is changed unless `--yes` is given. A label of the package is bound to the
/// resource of the same name, else to the only one of its kind, else to what `--bind` says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder with a `package.toml`
    package: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Which resource a label means, as `database.orders=shop-prod`; more than once for several
    #[arg(long, value_name = "KIND.LABEL=NAME", value_parser = binding)]
    bind: Vec<(ResourceId, String)>,
    /// Also the rights that the package can do without
    #[arg(long)]
    optional: bool,
}

/// `database.orders=shop-prod`
fn binding(text: &str) -> Result<(ResourceId, String), String> {
    let parts = text.split_once('=').and_then(|(label, name)| Some((label.split_once('.')?, name)));
    match parts {
        Some(((kind, label), name)) if !label.is_empty() && !name.is_empty() && site::KINDS.contains(&kind) => {
            Ok((ResourceId::new(kind, label), name.to_owned()))
        }
        _ => Err(format!("write KIND.LABEL=NAME, with a kind of {}", site::KINDS.join(", "))),
    }
}

#[derive(Serialize)]
struct View<'a> {
    package: String,
    digest: &'a str,
    site: String,
    missing: Vec<MissingView<'a>>,
    /// what goes into the file, below `[allow."PACKAGE"]`
    lines: Vec<String>,
    written: bool,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let (site, package) = both(Site::load(&global.site), Package::open(&self.package))?;
        let findings = site.check(&package);
        let missing = self.missing(&site, &package, findings)?;
        let name = package.title();
        let view = |missing: &'_ [Missing], additions: &[Addition], written| {
            ui::json(&View {
                package: name.clone(),
                digest: &package.digest,
                site: site.path.display().to_string(),
                missing: missing.iter().map(MissingView::new).collect(),
                lines: additions.iter().map(Addition::line).collect(),
                written,
            })
        };
        if missing.is_empty() {
            if global.json {
                view(&missing, &[], false)?;
            } else {
                ui::result(&format!("{name} has every right that it asks for; nothing was changed"));
            }
            return Ok(Exit::Done);
        }
        let additions = site.additions(&package, &missing, &self.bind).map_err(Mistakes)?;
        let text = site.with(&package, &additions)?;
        let question = question(&site, &package, &missing, &additions, &text);
        if !global.json || (!self.yes && ui::interactive()) {
            ui::say(&question);
        }
        let all = match additions.len() {
            1 => "it",
            2 => "both",
            _ => "all of them",
        };
        let allowed = self.yes || ui::interactive() && ui::confirm(&format!("Allow {all}?"), &CancellationToken::new());
        if !allowed {
            if global.json {
                view(&missing, &additions, false)?;
            }
            let hint = "without a terminal: backout allow --yes PACKAGE; or edit the site file";
            return Err(Refused::new("nothing was changed").hint(hint).into());
        }
        let path = &site.path;
        site::replace(path, site.text(), &text).with_context(|| format!("{} was not changed", path.display()))?;
        if global.json {
            view(&missing, &additions, true)?;
        } else {
            ui::result(&format!("{} now allows it to {name}", site.name()));
        }
        Ok(Exit::Done)
    }

    fn missing(&self, site: &Site, package: &Package, findings: Findings) -> Result<Vec<Missing>, Mistakes> {
        findings.mistakes.none_or()?;
        let mut missing = findings.missing;
        if self.optional {
            let optional = package.manifest.needs.iter().filter(|need| need.optional);
            missing.extend(optional.filter_map(|need| {
                let grant = site.grant(package, need);
                let rights = grant.map_or_else(|| need.may.clone(), |grant| need.may.without(&grant.may));
                let bound = grant.map(|grant| grant.is.clone());
                (!rights.is_empty()).then(|| Missing { need: need.clone(), rights, bound })
            }));
            missing.sort_by_key(|missing| missing.need.location.span.start);
        }
        Ok(missing)
    }
}

/// Both, or the mistakes of both.
fn both(site: Result<Site, Mistakes>, package: Result<Package, Mistakes>) -> Result<(Site, Package), Mistakes> {
    match (site, package) {
        (Ok(site), Ok(package)) => Ok((site, package)),
        (Err(mut site), Err(package)) => {
            site.0.extend(package.0);
            Err(site)
        }
        (Err(wrong), _) | (_, Err(wrong)) => Err(wrong),
    }
}

/// All that a person must know to answer, in one piece.
fn question(site: &Site, package: &Package, missing: &[Missing], additions: &[Addition], text: &str) -> String {
    let rights: usize = missing.iter().map(|missing| missing.rights.iter().count()).sum();
    let mut out = format!("{} asks for {} that it does not have yet:\n\n", package.title(), count(rights, "right"));
    // The site as it would be: a tool becomes dangerous by the right to write its program.
    let after = site.changed(text).ok();
    let foreign = after.as_ref().map(Site::foreign_code_here).unwrap_or_default();
    let mut rows = Vec::new();
    for (missing, addition) in missing.iter().zip(additions) {
        let named = format!("{} \"{}\"", addition.kind, addition.is.name);
        for (index, right) in addition.rights.iter().enumerate() {
            let meaning = site::meaning(&addition.kind, right);
            let label = if index == 0 { named.clone() } else { String::new() };
            rows.push(vec![label, right.to_string(), meaning.to_owned()]);
        }
        rows.push(vec![String::new(), String::new(), format!("because: {}", missing.need.why)]);
    }
    out.push_str(&columns(&rows));
    let own: Vec<_> = foreign.iter().filter(|code| code.package == package.manifest.name).collect();
    out.push_str(if own.is_empty() { "" } else { "\n" });
    for code in own {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "  ! {}", warning(code));
    }
    let _ = writeln!(out, "\nThis goes into {}, below [allow.\"{}\"]:", site.name(), package.manifest.name);
    for addition in additions {
        let _ = writeln!(out, "  {} {}", if addition.more { '~' } else { '+' }, addition.line());
    }
    out
}

fn warning(code: &Foreign<'_>) -> String {
    let (kind, name) = (&code.id.kind, &code.id.name);
    let user = code.runs_as();
    format!("{kind} {name} runs what the package may write (tree {}), outside the sandbox, as {user}", code.tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_names_kind_label_and_resource() {
        let bound = (ResourceId::new("database", "orders"), "shop-prod".to_owned());
        assert_eq!(binding("database.orders=shop-prod").unwrap(), bound);
        assert_eq!(binding("tree.v1.2=app").unwrap().0, ResourceId::new("tree", "v1.2"));
        for wrong in ["", "orders=shop", "database.orders", "database.=x", "database.x=", "run.x=y", "Database.x=y"] {
            assert!(binding(wrong).is_err(), "{wrong}");
        }
    }
}
