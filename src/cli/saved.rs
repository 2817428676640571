//! A saved plan as the commands find it in a file: whether it is one, whether it is still true, and who has approved it.
use super::{Refused, lead::Lead, moment};
use crate::{
    diagnostic::{Mistake, Mistakes, shown},
    dry::saved::{self, Bound, Saved},
    journal::{Approved, ApprovedBy},
    package::Package,
    run::Hold,
    site::Signed,
};
use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::Path,
};

/// More than a plan ever has; a file may be of any length.
const MAX_PLAN: u64 = 64 << 20;

/// A plan without findings.
pub struct File {
    pub name: String,
    pub text: String,
    pub saved: Saved,
}

impl File {
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let name = shown(&file.display().to_string());
        let text = fs::File::open(file).and_then(|open| {
            let about = open.metadata()?;
            if !about.is_file() || about.len() > MAX_PLAN {
                return Err(io::Error::other(format!("it is no file of at most {MAX_PLAN} bytes")));
            }
            let mut text = String::new();
            open.take(MAX_PLAN).read_to_string(&mut text)?;
            Ok(text)
        });
        let read = text.map_err(|error| error.to_string()).and_then(|text| Ok((Saved::read(&text)?, text)));
        let (saved, text) = read.map_err(|why| {
            Refused::new(format!("the plan {name} cannot be used: {why}")).hint("`backout plan --save` makes one")
        })?;
        match saved.plan.findings.first() {
            None => Ok(Self { name, text, saved }),
            Some(finding) => {
                let (rule, text) = (finding.rule.as_str(), shown(&finding.text));
                let message = format!("the plan {name} has findings: {rule}: {text}");
                Err(Refused::new(message).hint("put the package right, and save a plan of it").into())
            }
        }
    }

    /// What a run keeps to: all is as it was, and those have approved it who must have. Everything that is in the way is said at
    /// once.
    pub async fn approved(&self, lead: &Lead, package: &Package, hold: &Hold) -> anyhow::Result<Approved> {
        let mut mistakes = Vec::new();
        let differences = self.saved.bound.differences(&bound(lead, package, hold).await?);
        if !differences.is_empty() {
            let mistake = Mistake::new(format!("the plan is stale: {}", differences.join("; ")));
            mistakes.push(mistake.hint("save a plan anew, and have it approved"));
        }
        let signed = self.signed().map_err(|altered| mistakes.extend(altered)).unwrap_or_default();
        let counted = lead.site.approved(package, &signed, &runner(), moment::now());
        let counted = counted.map_err(|wrong| mistakes.extend(wrong)).unwrap_or_default();
        Mistakes(mistakes).none_or()?;
        let mut by: Vec<ApprovedBy> = Vec::new();
        for approval in &self.saved.approvals {
            let is = |name: &String, role: &String| *name == approval.by && *role == approval.role;
            // Whoever has signed twice has approved once.
            if counted.iter().any(|c| is(&c.by, &c.role) && c.at == approval.at)
                && !by.iter().any(|known| is(&known.name, &known.role))
            {
                by.push(ApprovedBy { name: approval.by.clone(), role: approval.role.clone(), at: approval.at });
            }
        }
        Ok(self.saved.approved(by))
    }

    /// The approvals, if each of them bears its signature of this plan.
    pub fn signed(&self) -> Result<Vec<Signed>, Vec<Mistake>> {
        // What has been read can be written.
        let digest = self.saved.digest().unwrap_or_default();
        let (mut signed, mut altered) = (Vec::new(), Vec::new());
        for approval in &self.saved.approvals {
            let (by, role) = (approval.by.clone(), approval.role.clone());
            match approval.signer(&digest) {
                Some(key) => signed.push(Signed { by, role, key, at: approval.at }),
                None => {
                    let message = format!(
                        "the approval of `{}` as `{}` does not bear a signature of this plan: it is of another plan, or one of \
                         them was altered",
                        shown(&by),
                        shown(&role)
                    );
                    altered.push(Mistake::new(message).hint("save a plan anew, and have it approved"));
                }
            }
        }
        if altered.is_empty() { Ok(signed) } else { Err(altered) }
    }
}

/// An upgrade that must have been approved needs a plan.
pub fn refuse_unplanned(lead: &Lead, package: &Package) -> anyhow::Result<()> {
    let Some(approval) = lead.site.approval(package) else { return Ok(()) };
    let roles: Vec<String> = approval.roles.iter().map(|role| format!("`{}`", shown(&role.value))).collect();
    let (name, roles) = (&package.manifest.name, roles.join(" and "));
    let mistake = Mistake::new(format!("{name} is upgraded by an approved plan alone: it must be approved as {roles}"));
    let hint = "backout plan --save PLAN PACKAGE; backout approve PLAN …; backout upgrade --plan PLAN PACKAGE";
    Err(Mistakes(vec![mistake.at(&approval.location).hint(hint)]).into())
}

async fn bound(lead: &Lead, package: &Package, hold: &Hold) -> anyhow::Result<Bound> {
    let facts = lead.facts(package, &lead.site.installed_version()?.unwrap_or_default())?;
    let services = hold.resources.service.0.values();
    let databases = hold.resources.database.0.values();
    Ok(Bound {
        package: facts.package,
        version: facts.version,
        digest: package.digest.clone(),
        from_version: facts.from_version,
        settings: facts.settings,
        sections: lead.site.sections_of(package, &hold.resources),
        services: saved::services(services.map(|lend| (&lend.id, &*lend.access.observer))).await,
        schemas: saved::schemas(databases.map(|lend| (&lend.id, &*lend.access.observer))).await,
    })
}

/// The accounts of whoever runs this: also the one that logged in, where the system keeps it, whoever it has become since.
fn runner() -> BTreeSet<u32> {
    let login = fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
    let login = login.filter(|uid| *uid != u32::MAX);
    let own = [rustix::process::getuid(), rustix::process::geteuid()];
    own.into_iter().map(|uid| uid.as_raw()).chain(login).collect()
}
