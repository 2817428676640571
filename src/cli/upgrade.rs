use super::{
    Exit, Global,
    lead::{self, Common, Lead},
    rehearsed,
    saved::{self, File},
    schema,
};
use crate::{
    dry::saved::other_steps,
    package::Package,
    run::{Phase, Run, life_cycle::Outcome},
};
use std::path::PathBuf;

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
        let saved = self.plan.as_deref().map(File::read).transpose()?;
        lead::lead(global, self.common, async |mut lead| {
            let package = lead.package(Some(&self.package), None)?;
            if saved.is_none() {
                saved::refuse_unplanned(&lead, &package)?;
            }
            let hold = lead.hold(lead.lend(&package)?).await?;
            lead.refuse_unfinished(&hold)?;
            rehearsed::refuse_unrehearsed(&lead, &package)?;
            schema::refuse_another(&package, &hold.resources).await?;
            if let Some(file) = &saved {
                lead.approved = Some(Box::new(file.approved(&lead, &package, &hold).await?));
            }
            let run = lead.begin("upgrade", &package, hold, None)?;
            go(&lead, &run, &package).await
        })
    }
}

/// From the plans to the end, also of a run that goes on.
pub async fn go(lead: &Lead, run: &Run, package: &Package) -> anyhow::Result<Exit> {
    let phases = [Phase::Prepare, Phase::Upgrade, Phase::Verify, Phase::Rollback];
    let plans = match lead.plans(run, &phases).await? {
        Ok(plans) => plans,
        Err(exit) => return Ok(exit),
    };
    let other = run.header().approved.as_ref().map(|approved| other_steps(approved, &plans));
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
