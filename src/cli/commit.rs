use super::{
    Exit, Global, Refused, cut_off,
    freeing::{Freeing, kept_by_word, refuse_kept},
    lead::{self, Common},
    moment, ui,
};
use crate::{
    journal::RunId,
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
            lead.refuse_another_past()?;
            // Before anything is read: a rollback that goes on while somebody thinks about the question needs the copies.
            let hold = lead.hold(lead.site.everything()?).await?;
            cut_off::close_freeing(&lead)?;
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
            if let Some((why, hint)) = refuse_kept(newest, moment::now()) {
                return Err(Refused::new(why).hint(hint).into());
            }
            let mine = |p: &&Point| p.package == newest.package && p.run <= newest.run && p.copies().next().is_some();
            let (stay, going): (Vec<_>, Vec<_>) =
                points.iter().filter(mine).partition(|point| kept_by_word(point, moment::now()).is_some());
            for why in stay.iter().filter_map(|point| refuse_kept(point, moment::now())) {
                ui::say(&format!("R{}; {}.", why.0.trim_start_matches('r'), why.1));
            }
            let freeing = Freeing::new(going.into_iter().cloned().collect(), &hold)?;
            let points = match freeing.points.len() {
                1 => "1 restore point".to_owned(),
                count => format!("{count} restore points"),
            };
            let (from, to) = (&newest.from_version, &newest.to_version);
            let what = match newest.state {
                State::Ready => format!(": {to} is kept for good; the way back to {from} ends"),
                State::Restored => format!(": {from} is kept for good; the way back to {to} ends"),
                State::Committed => ", left by a commit that was cut off".to_owned(),
            };
            ui::say(&format!("{points} of {}{what}. Copies: {}.", newest.package, freeing.bytes()));
            freeing.say();
            let run = lead.begin_without_script("commit", hold, Some(newest))?;
            let outcome = freeing.carry_out(&lead, &run, "Free them?", Outcome::Committed).await?;
            lead.end(&run, outcome).await
        })
    }
}
