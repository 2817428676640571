use super::{chosen, kept, point_of};
use crate::{
    cli::{
        Exit, Global, Refused, cut_off,
        freeing::{Freeing, Needs},
        lead::{self, Common},
        ui,
    },
    journal::{Reader, RunId},
    report::{news, text},
    resource::ResourceId,
    run::life_cycle::Outcome,
};
use std::collections::BTreeSet;

/// Free what was set aside
///
/// What is live, and what one can still go back to, stays. Refused while a run needs it. Says first what goes, and asks.
#[derive(Debug, clap::Args)]
pub struct Drop {
    /// The restore point, or the run that went back to it
    run: RunId,
    /// Only of this resource: `database.orders`
    resource: Option<String>,
    /// Do not ask before anything is freed
    #[arg(short, long)]
    yes: bool,
}

impl Drop {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, Common { yes: self.yes, ..Common::default() }, async |lead| {
            lead.refuse_another_past()?;
            // Before anything is read: whoever goes back meanwhile, or on, needs it.
            let hold = lead.hold(lead.site.everything()?).await?;
            cut_off::close_freeing(&lead)?;
            let (points, journal) = (lead.points()?, Reader::open(&lead.journal())?);
            let point = point_of(&points, &journal, self.run)?;
            let going: BTreeSet<ResourceId> =
                chosen(point, self.resource.as_deref())?.into_iter().map(|(id, _)| id).collect();
            if let Some(why) = Needs::of(&lead, &points)?.why(point) {
                return Err(Refused::new(why)
                    .hint("finish it with `backout resume`, or give it up with `backout rollback`")
                    .into());
            }
            for aside in point.set_aside().filter(|aside| going.contains(aside.resource)) {
                let kept = match aside.said {
                    Some(until) => format!(", kept {}", kept(until)),
                    None => String::new(),
                };
                let held = match news::set_aside(&aside.restored.lost).as_str() {
                    "" => "nothing that was not in the copy".to_owned(),
                    lost => lost.to_owned(),
                };
                ui::say(&format!("Set aside of {}{kept}: {held}.", text::resource(&aside.resource.to_string())));
            }
            let mut point = point.clone();
            point.leave_out(|id| !going.contains(id));
            let package = point.package.clone();
            let freeing = Freeing::new(vec![point], &hold)?;
            freeing.say();
            let run = lead.begin_tidying("drop", hold, &package)?;
            let outcome = freeing.carry_out(&lead, &run, "Free it?", Outcome::Dropped).await?;
            lead.end(&run, outcome).await
        })
    }
}
