use super::{
    Exit, Global,
    lead::{self, Common, Lead},
};
use crate::{
    package::Package,
    run::{Run, life_cycle::Outcome},
};
use std::path::PathBuf;

/// Ask the script what may go wrong here and now
///
/// Asks the script what may go wrong here and now. Changes nothing; a blocker is a finding (exit code 10).
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
            let run = lead.begin("assess", &package, hold, None)?;
            go(&lead, &run, &package).await
        })
    }
}

/// From the script's risks to the end, also of a run that goes on.
pub async fn go(lead: &Lead, run: &Run, package: &Package) -> anyhow::Result<Exit> {
    let plans = match lead.plans(run, &[]).await? {
        Ok(plans) => plans,
        Err(exit) => return Ok(exit),
    };
    let outcome = match lead.too_risky(package, &plans) {
        Some(risk) => Outcome::Unverified(risk),
        None => Outcome::Assessed,
    };
    lead.end(run, outcome).await
}
