use super::{
    Exit, Global, Refused,
    lead::{self, Common},
    ui,
};
use crate::{
    journal::{Level, RunId},
    report::text,
    run::{
        life_cycle::Outcome,
        restore_point::{Point, State},
    },
};

/// End the way back and free the copies
///
/// Ends the way back: frees the copies of a restore point and of older ones of the same package, and what was set aside.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The restore point: the number of the run that made it; the newest when it is left out
    run: Option<RunId>,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.common, async |lead| {
            let points = lead.points()?;
            let newest = points.iter().rfind(|p| match self.run {
                Some(run) => p.run == run,
                None => p.copies().next().is_some(),
            });
            let Some(newest) = newest.filter(|point| point.copies().next().is_some()) else {
                return Err(Refused::new("there is no restore point to commit").into());
            };
            // What a commit that was cut off has left is no way out of anything.
            if newest.state != State::Committed && !lead.in_order(newest)? {
                let why = format!("run {} did not come to a good end; its copies are the way out", newest.last.0);
                return Err(Refused::new(why).hint("finish with `backout rollback` first").into());
            }
            let freed: Vec<Point> = points
                .iter()
                .filter(|p| p.package == newest.package && p.run <= newest.run && p.copies().next().is_some())
                .cloned()
                .collect();
            let bytes = text::bytes(freed.iter().map(Point::bytes).fold(0, u64::saturating_add));
            let points = match freed.len() {
                1 => "1 restore point".to_owned(),
                count => format!("{count} restore points"),
            };
            let (from, to) = (&newest.from_version, &newest.to_version);
            let what = match newest.state {
                State::Ready => format!(": {to} is kept for good; the way back to {from} ends"),
                State::Restored => format!(": {from} is kept for good; the way back to {to} ends"),
                State::Committed => ", left by a commit that was cut off".to_owned(),
            };
            ui::say(&format!("{points} of {}{what}. Copies: {bytes}.", newest.package));
            let aside = freed.iter().flat_map(|p| p.aside.iter().filter(|(resource, _)| !p.freed.contains(resource)));
            let aside = aside.flat_map(|(_, aside)| &aside.lost).map(|l| l.rows).fold(0, u64::saturating_add);
            if aside > 0 {
                ui::say(&format!("{aside} rows that were set aside go with them."));
            }
            if !lead.confirmed("Free them?").await? {
                return Err(Refused::new("declined").into());
            }
            let run = lead.begin_without_script("commit", Some(newest))?;
            let outcome = match run.discard(&freed).await {
                Ok(freed) => {
                    let bytes = freed.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
                    run.say(Level::Info, format!("freed {}", text::bytes(bytes))).await?;
                    Outcome::Committed
                }
                Err(error) => Outcome::Stopped(error.to_string()),
            };
            lead.end(&run, outcome).await
        })
    }
}
