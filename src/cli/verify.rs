use super::{
    Exit, Global,
    lead::{self, Common, Lead},
};
use crate::run::{Phase, Run, restore_point::State};
use std::path::PathBuf;

/// Test the product as it is now
///
/// Tests the product as it is now. What does not pass is a finding (exit code 10).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The package; the one of the newest restore point when it is left out
    package: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.common, async |lead| {
            let package = lead.package(self.package.as_deref(), lead.points()?.last())?;
            let hold = lead.hold(lead.lend(&package)?).await?;
            // What counts is how things are now that nobody else changes them.
            let points = lead.points()?;
            let mine = points.iter().rfind(|p| p.package == package.manifest.name && p.state != State::Committed);
            let rolled_back = mine.is_some_and(|p| p.state == State::Restored);
            let run = lead.begin("verify", &package, hold, mine)?;
            go(&lead, &run, rolled_back).await
        })
    }
}

/// From the plan to the end, also of a run that goes on.
pub async fn go(lead: &Lead, run: &Run, rolled_back: bool) -> anyhow::Result<Exit> {
    let steps = match run.plan(Phase::Verify, rolled_back).await {
        Ok(steps) => steps,
        Err(halt) => return lead.end(run, run.before_anything(halt)).await,
    };
    let outcome = run.verify(&steps, rolled_back).await;
    lead.end(run, outcome).await
}
