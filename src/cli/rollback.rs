use super::{
    Exit, Global, Refused,
    lead::{self, Common},
};
use crate::{
    journal::RunId,
    run::{
        Phase,
        life_cycle::{Outcome, Plans},
        restore_point,
    },
};
use std::path::PathBuf;

/// Bring the old version back
///
/// To the newest restore point, or to the one that is named.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The package; the one that made the restore point when it is left out
    package: Option<PathBuf>,
    /// The restore point: the number of the run that made it
    #[arg(long, value_name = "RUN")]
    to: Option<RunId>,
    /// Begin with this step; those before it are taken as done
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.common, async |lead| {
            let points = lead.points()?;
            let named = points.iter().rfind(|p| self.to.is_none_or(|run| p.run == run));
            let package = lead.package(self.package.as_deref(), named)?;
            let point = restore_point::choose(&points, &package.manifest.name, self.to)
                .map_err(|failure| Refused::new(failure.message))?;
            let resources = lead.lend(&package)?;
            let run = lead.begin("rollback", &package, resources, Some(point))?;
            if let Err(halt) = run.settle(point).await {
                return lead.end(&run, run.before_anything(halt)).await;
            }
            // Whoever names a step may want to do without the copies.
            if self.from.is_none()
                && let Err(halt) = run.inspect().await
            {
                return lead.end(&run, run.before_anything(halt)).await;
            }
            let steps = match run.plan(Phase::Rollback, true).await {
                Ok(steps) => steps,
                Err(halt) => return lead.end(&run, run.before_anything(halt)).await,
            };
            let skip: Vec<String> = match &self.from {
                None => Vec::new(),
                Some(from) => {
                    let Some(at) = steps.iter().position(|s| s.name == *from) else {
                        let names: Vec<_> = steps.iter().map(|s| s.name.as_str()).collect();
                        let why = format!("rollback has no step `{from}`, its steps are: {}", names.join(", "));
                        return lead.end(&run, Outcome::Refused(why)).await;
                    };
                    steps[..at].iter().map(|s| s.name.clone()).collect()
                }
            };
            let plans = Plans { rollback: steps, ..Plans::default() };
            if !lead.agreed(&plans, &format!("Go back to the restore point of run {}?", point.run)).await? {
                return lead.end(&run, Outcome::Refused("declined".into())).await;
            }
            let outcome = run.roll_back(&plans.rollback, &skip).await;
            lead.end(&run, outcome).await
        })
    }
}
