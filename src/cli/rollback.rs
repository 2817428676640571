use super::{
    Exit, Global, Refused,
    lead::{self, Common, Lead},
    resume::{self, GivenUp},
    schema::{self, Looked},
};
use crate::{
    journal::{Level, RunId},
    package::Package,
    report::text,
    run::{
        Hold, Phase, Run,
        life_cycle::{Outcome, Plans},
        restore_point::{self, Point},
    },
};
use std::{collections::BTreeSet, path::PathBuf};

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
    /// Give up this run, which did not come to its end, and take back what it has done
    #[arg(long, value_name = "RUN", conflicts_with_all = ["to", "package"])]
    run: Option<RunId>,
    /// Begin with this step; those before it are taken as done
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// Go back although a database has a schema that the package does not know: all that was done to it since is set aside
    #[arg(long)]
    despite_schema: bool,
    #[command(flatten)]
    common: Common,
}

impl Args {
    fn named<'p>(&self, points: &'p [Point]) -> Option<&'p Point> {
        points.iter().rfind(|p| self.to.is_none_or(|run| p.run == run))
    }

    /// A rollback that leaves something out without a word would be none.
    fn refuse_what_is_gone(&self, lead: &Lead, hold: &Hold, point: &Point) -> anyhow::Result<()> {
        let kept = point.restore_point();
        let to_restore = kept.changed.difference(&kept.restored).filter(|id| kept.snapshots.contains_key(id));
        let mut needed: BTreeSet<_> = kept.unsettled.keys().collect();
        // Whoever names a step may want to do without the copies.
        if self.from.is_none() {
            needed.extend(to_restore);
        }
        let Some(gone) = needed.into_iter().find(|id| !hold.holds(id)) else { return Ok(()) };
        let resource = text::resource(&gone.to_string());
        let refused = if lead.site.has(gone) {
            Refused::new(format!("{resource} was changed, and is not granted to {} any more", point.package))
                .hint(format!("grant it again in `[allow.\"{}\"]`", point.package))
        } else {
            Refused::new(format!("{resource} was changed, and is not in the site any more"))
                .hint(format!("put `[{}.{}]` back into the site, with its grant", gone.kind, gone.name))
        };
        Err(refused.into())
    }

    /// Somebody may have gone on from where a finished upgrade has left a database. What is half-way may have any schema. What is
    /// to be said of those that are gone back from all the same.
    async fn refuse_what_has_gone_on(
        &self,
        lead: &Lead,
        hold: &Hold,
        package: &Package,
        point: &Point,
    ) -> anyhow::Result<Vec<String>> {
        if self.run.is_some() || !lead.in_order(point)? {
            return Ok(Vec::new());
        }
        let gone_on: Vec<String> =
            schema::lent(package, &hold.resources).await.iter().filter_map(Looked::gone_on).collect();
        if gone_on.is_empty() || self.despite_schema {
            return Ok(gone_on);
        }
        let hint =
            "look who has changed it; `--despite-schema` goes back all the same, and keeps aside what is there now";
        Err(Refused::new(gone_on.join("; ")).hint(hint).into())
    }

    pub fn execute(mut self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.common.clone(), async |lead| {
            lead.refuse_another_past()?;
            if let Some(number) = self.run {
                match resume::give_up(&lead, number).await? {
                    GivenUp::Ended(exit) => return Ok(exit),
                    GivenUp::TakeBack(point) => self.to = Some(point),
                }
            }
            let package = lead.package(self.package.as_deref(), self.named(&lead.points()?))?;
            let hold = lead.hold(lead.lend(&package)?).await?;
            // What counts is how things are now that nobody else changes them.
            let points = lead.points()?;
            if self.package.is_none() && self.named(&points).is_none_or(|point| point.digest != package.digest) {
                let refused = Refused::new("another run has changed the restore points at this moment");
                return Err(refused.hint("look at `backout restore-points`, and say it again").into());
            }
            let point = restore_point::choose(&points, &package.manifest.name, self.to)
                .map_err(|failure| Refused::new(failure.message))?;
            self.refuse_what_is_gone(&lead, &hold, point)?;
            let despite = self.refuse_what_has_gone_on(&lead, &hold, &package, point).await?;
            let run = lead.begin_at("rollback", &package, hold, Some(point), self.from.as_deref())?;
            for why in despite {
                let text = format!("{why}; that was asked for");
                if let Err(error) = run.say(Level::Warn, text).await {
                    return lead.end(&run, Outcome::Refused(error.to_string())).await;
                }
            }
            go(&lead, &run, point).await
        })
    }
}

/// From a look at the copies to the end, also of a run that goes on.
pub async fn go(lead: &Lead, run: &Run, point: &Point) -> anyhow::Result<Exit> {
    let from = Some(run.header().first_step.as_str()).filter(|step| !step.is_empty());
    // Of a run that goes on, the interrupted step looks itself.
    if run.before().is_none_or(|before| !before.started) {
        if let Err(halt) = run.settle(&point.restore_point().unsettled).await {
            return lead.end(run, run.before_anything(halt)).await;
        }
        // Whoever names a step may want to do without the copies.
        if from.is_none()
            && let Err(halt) = run.inspect().await
        {
            return lead.end(run, run.before_anything(halt)).await;
        }
    }
    let steps = match run.plan(Phase::Rollback, true).await {
        Ok(steps) => steps,
        Err(halt) => return lead.end(run, run.before_anything(halt)).await,
    };
    let skip: Vec<String> = match from {
        None => Vec::new(),
        Some(from) => {
            let Some(at) = steps.iter().position(|s| s.name == from) else {
                let names: Vec<_> = steps.iter().map(|s| s.name.as_str()).collect();
                let why = format!("rollback has no step `{from}`, its steps are: {}", names.join(", "));
                return lead.end(run, Outcome::Refused(why)).await;
            };
            steps[..at].iter().map(|s| s.name.clone()).collect()
        }
    };
    let plans = Plans { rollback: steps, ..Plans::default() };
    if let Err(refused) = lead.agreed(run, &plans, &format!("Go back to the restore point of run {}?", point.run)).await
    {
        return lead.end(run, refused).await;
    }
    let outcome = run.roll_back(&plans.rollback, &skip).await;
    lead.end(run, outcome).await
}
