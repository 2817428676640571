use super::{
    Exit, Global,
    lead::{self, Common, Lead},
    schema,
};
use crate::run::{Phase, Run};
use std::path::PathBuf;

/// Make a restore point: proven copies and baselines
///
/// Makes a restore point: proven copies and baselines. Changes nothing of the product.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The package: a folder with a package.toml
    package: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.common, async |lead| {
            let package = lead.package(Some(&self.package), None)?;
            let hold = lead.hold(lead.lend(&package)?).await?;
            lead.refuse_unfinished(&hold)?;
            schema::refuse_another(&package, &hold.resources).await?;
            let run = lead.begin("prepare", &package, hold, None)?;
            go(&lead, &run).await
        })
    }
}

/// From the plan to the end, also of a run that goes on.
pub async fn go(lead: &Lead, run: &Run) -> anyhow::Result<Exit> {
    let plans = match lead.plans(run, &[Phase::Prepare]).await? {
        Ok(plans) => plans,
        Err(exit) => return Ok(exit),
    };
    if let Err(refused) = lead.agreed(run, &plans, "Make the copies?").await {
        return lead.end(run, refused).await;
    }
    let outcome = run.prepare(&plans).await;
    lead.end(run, outcome).await
}
