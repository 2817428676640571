use super::{
    Exit, Global, Refused,
    lead::{self, Common, Lead},
};
use crate::{
    diagnostic::shown,
    dry::saved::{self, Bound, Saved},
    package::Package,
    run::{Hold, Phase, Run, life_cycle::Outcome},
};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Assess, prepare, upgrade and verify; go back by itself when it fails
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The package: a folder with a package.toml
    package: PathBuf,
    /// Do what this plan says and nothing else, if all is as it was; `backout plan --save` makes it
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let saved = self.plan.as_deref().map(read).transpose()?;
        lead::lead(global, self.common, async |mut lead| {
            let package = lead.package(Some(&self.package), None)?;
            let hold = lead.hold(lead.lend(&package)?).await?;
            lead.refuse_unfinished(&hold)?;
            if let Some(saved) = &saved {
                refuse_stale(&lead, saved, &package, &hold).await?;
                lead.approved = Some(Box::new(saved.approved()));
            }
            let run = lead.begin("upgrade", &package, hold, None)?;
            go(&lead, &run, &package).await
        })
    }
}

/// More than a plan ever has; a file may be of any length.
const MAX_PLAN: u64 = 64 << 20;

fn read(file: &Path) -> anyhow::Result<Saved> {
    let name = shown(&file.display().to_string());
    let text = File::open(file).and_then(|open| {
        let about = open.metadata()?;
        if !about.is_file() || about.len() > MAX_PLAN {
            return Err(io::Error::other(format!("it is no file of at most {MAX_PLAN} bytes")));
        }
        let mut text = String::new();
        open.take(MAX_PLAN).read_to_string(&mut text)?;
        Ok(text)
    });
    let saved = match text {
        Ok(text) => Saved::read(&text),
        Err(error) => Err(error.to_string()),
    };
    let saved = saved.map_err(|why| {
        Refused::new(format!("the plan {name} cannot be used: {why}")).hint("`backout plan --save` makes one")
    })?;
    match saved.plan.findings.first() {
        None => Ok(saved),
        Some(finding) => {
            let message = format!("the plan {name} has findings: {}: {}", finding.rule.as_str(), shown(&finding.text));
            Err(Refused::new(message).hint("put the package right, and save a plan of it").into())
        }
    }
}

/// All that has changed is said at once.
async fn refuse_stale(lead: &Lead, saved: &Saved, package: &Package, hold: &Hold) -> anyhow::Result<()> {
    let facts = lead.facts(package, &lead.site.installed_version()?.unwrap_or_default())?;
    let lent = hold.resources.service.0.values();
    let now = Bound {
        package: facts.package,
        version: facts.version,
        digest: package.digest.clone(),
        from_version: facts.from_version,
        settings: facts.settings,
        sections: lead.site.sections_of(package, &hold.resources),
        services: saved::services(lent.map(|lend| (&lend.id, &*lend.access.observer))).await,
    };
    let differences = saved.bound.differences(&now);
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("the plan is stale: {}", differences.join("; "));
    Err(Refused::new(message).hint("save a plan anew, and have it approved").into())
}

/// From the plans to the end, also of a run that goes on.
pub async fn go(lead: &Lead, run: &Run, package: &Package) -> anyhow::Result<Exit> {
    let phases = [Phase::Prepare, Phase::Upgrade, Phase::Verify, Phase::Rollback];
    let plans = match lead.plans(run, &phases).await? {
        Ok(plans) => plans,
        Err(exit) => return Ok(exit),
    };
    let other = run.header().approved.as_ref().map(|approved| saved::other_steps(approved, &plans));
    if let Some(other) = other.filter(|other| !other.is_empty()) {
        let why = format!("the script plans other steps than were approved: {}", other.join("; "));
        return lead.end(run, Outcome::Refused(why)).await;
    }
    if let Some(risk) = lead.too_risky(package, &plans) {
        return lead.end(run, Outcome::Refused(risk)).await;
    }
    if let Err(refused) = lead.agreed(run, &plans, "Start? It can be taken back until you run `backout commit`.").await
    {
        return lead.end(run, refused).await;
    }
    let outcome = run.upgrade(&plans).await;
    lead.end(run, outcome).await
}
