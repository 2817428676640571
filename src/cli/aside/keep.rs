use super::{chosen, kept, point_of};
use crate::{
    cli::{
        Exit, Global, cut_off,
        lead::{self, Common},
        moment,
    },
    diagnostic::units,
    journal::{Level, Reader, RunId},
    report::text,
    run::{aside::Until, life_cycle::Outcome},
};
use std::time::Duration;

/// Have what was set aside stay
///
/// For so long from now on, or for good. Until then `commit`, `restore-points delete` and `prune` leave it alone; `aside drop` frees
/// it. What was said last counts; it is never less than `keep-aside` of the site.
#[derive(Debug, clap::Args)]
pub struct Keep {
    /// The restore point, or the run that went back to it
    run: RunId,
    /// Only of this resource: `database.orders`
    resource: Option<String>,
    #[command(flatten)]
    time: Time,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Time {
    /// So long from now on: `30d`, `12h`
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    r#for: Option<Duration>,
    /// Until somebody drops it
    #[arg(long)]
    forever: bool,
}

impl Keep {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, Common::default(), async |lead| {
            lead.refuse_another_past()?;
            let hold = lead.hold(lead.site.everything()?).await?;
            cut_off::close_keeping(&lead)?;
            let (points, journal) = (lead.points()?, Reader::open(&lead.journal())?);
            let point = point_of(&points, &journal, self.run)?;
            let aside = chosen(point, self.resource.as_deref())?;
            let until = self
                .time
                .r#for
                .map(|time| moment::now().saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)));
            let run = lead.begin_tidying("keep", hold, &point.package)?;
            let outcome = match run.keep(&aside, until).await {
                Ok(()) => {
                    let which: Vec<_> = aside.iter().map(|(id, _)| text::resource(&id.to_string())).collect();
                    let until = kept(until.map_or(Until::ForGood, Until::Moment));
                    let what =
                        format!("what was set aside of {} (run {}) is kept {until}", which.join(", "), point.run);
                    run.say(Level::Info, what).await?;
                    Outcome::Kept
                }
                Err(error) => Outcome::Stopped(error.to_string()),
            };
            lead.end(&run, outcome).await
        })
    }
}
