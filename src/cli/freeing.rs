//! What commands have in common that free the copies of restore points.
use super::{Refused, aside::kept, cut_off, lead::Lead, past, state, ui};
use crate::{
    journal::{Level, Reader, RunId, RunSummary},
    report::text,
    resource::ResourceId,
    run::{
        Hold, Locks, Run,
        life_cycle::Outcome,
        restore_point::{Point, State},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Copies that are to go, as far as the site still names what they are copies of.
pub struct Freeing {
    pub points: Vec<Point>,
    /// The others, and where they are.
    gone: BTreeMap<ResourceId, String>,
}

impl Freeing {
    /// Refused when none of them can be freed.
    pub fn new(mut points: Vec<Point>, hold: &Hold) -> anyhow::Result<Self> {
        let mut gone = BTreeMap::new();
        for point in &mut points {
            let absent = point.copies().filter(|(id, _)| !hold.holds(id));
            let absent: BTreeMap<_, _> = absent.map(|(id, copy)| (id.clone(), copy.place.clone())).collect();
            point.leave_out(|id| absent.contains_key(id));
            gone.extend(absent);
        }
        if points.iter().all(|point| point.copies().next().is_none())
            && let Some((id, place)) = gone.first_key_value()
        {
            return Err(Refused::new(format!("{} is not in the site any more", text::resource(&id.to_string())))
                .hint(put_back(id, place))
                .into());
        }
        Ok(Self { points, gone })
    }

    pub fn bytes(&self) -> String {
        text::bytes(self.points.iter().map(Point::bytes).fold(0, u64::saturating_add))
    }

    /// What goes with the copies, and what stays.
    pub fn say(&self) {
        let aside = self.points.iter().flat_map(Point::aside);
        let aside = aside.flat_map(|(_, aside)| &aside.lost).map(|l| l.rows).fold(0, u64::saturating_add);
        if aside > 0 {
            ui::say(&format!("{aside} rows that were set aside go with them."));
        }
        for (id, place) in &self.gone {
            let resource = text::resource(&id.to_string());
            ui::say(&format!("Not those of {resource}, which is not in the site any more: {}.", put_back(id, place)));
        }
    }

    /// `done`: how the run ends when all of them are free.
    pub async fn carry_out(&self, lead: &Lead, run: &Run, question: &str, done: Outcome) -> anyhow::Result<Outcome> {
        if let Err(refused) = lead.confirmed(question).await {
            return Ok(refused);
        }
        match run.discard(&self.points).await {
            Ok(freed) => {
                let bytes = freed.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
                run.say(Level::Info, format!("freed {}", text::bytes(bytes))).await?;
                cut_off::close_freeing(lead)?;
                prune_packages(lead, run).await?;
                Ok(done)
            }
            Err(error) => Ok(Outcome::Stopped(error.to_string())),
        }
    }
}

/// Packages that were kept for a way back which nobody has any more. What cannot be removed keeps nothing from having ended well.
async fn prune_packages(lead: &Lead, run: &Run) -> anyhow::Result<()> {
    let Some(reader) = Reader::find(&lead.journal())? else { return Ok(()) };
    let (runs, held) = (reader.runs()?, Locks::held(&lead.site.state)?);
    let points = lead.points()?;
    let to_go_back = points.iter().filter(|point| point.copies().next().is_some()).map(|point| point.digest.clone());
    let at_work = runs.iter().filter(|run| run.ending.is_none() && held.contains(&run.run));
    let to_go_on = past::unfinished(&reader, &lead.site.state)?;
    let runs_that_need_one = at_work.chain(&to_go_on).map(|run| run.header.digest.clone());
    let needed: BTreeSet<String> = to_go_back.chain(runs_that_need_one).collect();
    let removed = async || -> anyhow::Result<()> {
        for digest in state::kept_besides(&lead.site.state, &needed)? {
            let of = runs.iter().find(|run| run.header.digest == digest);
            let of = of.map(|run| format!(" of {} {}", run.header.package, run.header.version)).unwrap_or_default();
            run.say(Level::Info, format!("no run needs the package{of} any more ({digest}): removed")).await?;
            state::remove_kept(&lead.site.state, &digest)?;
        }
        Ok(())
    };
    if let Err(error) = removed().await {
        let text = format!("packages that nobody needs any more could not be removed: {error:#}");
        run.say(Level::Warn, text).await?;
    }
    Ok(())
}

/// What to do about copies of a resource that the site does not name any more.
fn put_back(id: &ResourceId, place: &str) -> String {
    let section = format!("{}.{}", id.kind, id.name);
    format!(
        "to free them, put `[{section}]` back into the site and say it again; they are in {}",
        text::line(place, 400)
    )
}

/// Restore points that somebody still needs, and who.
pub struct Needs(BTreeMap<RunId, String>);

impl Needs {
    pub fn of(lead: &Lead, points: &[Point]) -> anyhow::Result<Self> {
        let mut needs = BTreeMap::new();
        let unfinished = lead.unfinished()?;
        // What is freed in part is no way out of anything.
        for point in points.iter().filter(|point| point.state != State::Committed) {
            let own = |run: &&RunSummary| [run.run, run.header.restore_point].contains(&point.run);
            if let Some(run) = unfinished.iter().find(own) {
                let why = format!("run {} did not come to its end, and needs restore point {}", run.run, point.run);
                needs.insert(point.run, why);
            } else if !lead.in_order(point)? {
                let (last, run) = (point.last.0, point.run);
                let why = format!("run {last} did not come to a good end; restore point {run} is the way out");
                needs.insert(point.run, why);
            }
        }
        Ok(Self(needs))
    }

    pub fn why(&self, point: &Point) -> Option<&str> {
        self.0.get(&point.run).map(String::as_str)
    }
}

/// That somebody has said that what it set aside is to stay.
pub fn kept_by_word(point: &Point, now: i64) -> Option<String> {
    let (id, until) = point.kept_by_word(now)?;
    Some(format!("what was set aside of {} is kept {} (`aside keep`)", text::resource(&id.to_string()), kept(until)))
}

/// The same of a restore point that is to go, and what to do about it.
pub fn refuse_kept(point: &Point, now: i64) -> Option<(String, String)> {
    let hint = format!("`backout aside drop {}` frees it", point.run);
    Some((format!("restore point {} stays: {}", point.run, kept_by_word(point, now)?), hint))
}
