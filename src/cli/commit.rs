use super::{
    Exit, Global, Refused,
    lead::{self, Common},
    ui,
};
use crate::{
    journal::{Level, RunId},
    report::text,
    resource::ResourceId,
    run::{
        life_cycle::Outcome,
        restore_point::{Point, State},
    },
};
use std::collections::BTreeMap;

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
            // Before anything is read: a rollback that goes on while somebody thinks about the question needs the copies.
            let hold = lead.hold(lead.site.everything()?).await?;
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
            let mut freed: Vec<Point> = points
                .iter()
                .filter(|p| p.package == newest.package && p.run <= newest.run && p.copies().next().is_some())
                .cloned()
                .collect();
            let mut gone = BTreeMap::new();
            for point in &mut freed {
                let absent = point.copies().filter(|(id, _)| !hold.holds(id));
                let absent: BTreeMap<_, _> = absent.map(|(id, copy)| (id.clone(), copy.place.clone())).collect();
                point.leave_out(|id| absent.contains_key(id));
                gone.extend(absent);
            }
            if freed.iter().all(|point| point.copies().next().is_none())
                && let Some((id, place)) = gone.first_key_value()
            {
                return Err(Refused::new(format!("{} is not in the site any more", text::resource(&id.to_string())))
                    .hint(put_back(id, place))
                    .into());
            }
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
            let aside = freed.iter().flat_map(Point::aside);
            let aside = aside.flat_map(|(_, aside)| &aside.lost).map(|l| l.rows).fold(0, u64::saturating_add);
            if aside > 0 {
                ui::say(&format!("{aside} rows that were set aside go with them."));
            }
            for (id, place) in &gone {
                let resource = text::resource(&id.to_string());
                ui::say(&format!(
                    "Not those of {resource}, which is not in the site any more: {}.",
                    put_back(id, place)
                ));
            }
            let run = lead.begin_without_script("commit", hold, Some(newest))?;
            if let Err(refused) = lead.confirmed("Free them?").await {
                return lead.end(&run, refused).await;
            }
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

/// What to do about copies of a resource that the site does not name any more.
fn put_back(id: &ResourceId, place: &str) -> String {
    let section = format!("{}.{}", id.kind, id.name);
    format!(
        "to free them, put `[{section}]` back into the site and say it again; they are in {}",
        text::line(place, 400)
    )
}
