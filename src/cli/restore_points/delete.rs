//! Deleting single restore points, and clearing away old ones. Both are runs of the host alone, as `commit` is; whatever is cut
//! off is finished by saying it again.
use crate::{
    cli::{
        Exit, Global, Refused,
        aside::keep_aside,
        cut_off,
        freeing::{Freeing, Needs, kept_by_word, refuse_kept},
        lead::{self, Common, Lead},
        moment, ui,
    },
    diagnostic::units,
    journal::RunId,
    report::text,
    run::{
        life_cycle::Outcome,
        restore_point::{Point, State},
        retention::{self, Rule, Stays},
    },
    site::Site,
};
use std::{collections::BTreeSet, time::Duration};

/// Delete restore points
///
/// Frees the copies of the restore points that are named, and what was set aside; older and newer ones stay. Says first what goes,
/// and asks.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The restore points: the numbers of the runs that made them
    #[arg(required = true)]
    run: Vec<RunId>,
    #[command(flatten)]
    how: How,
}

/// Delete old restore points
///
/// Of each package by itself. What a run still needs stays, and so does what was set aside less than `keep-aside` of the site ago.
/// Says first what goes, and asks.
#[derive(Debug, clap::Args)]
pub struct Prune {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// Keep so many of each package: the newest that are proven
    #[arg(long, value_name = "COUNT")]
    keep: Option<usize>,
    /// Keep what is not older: `14d`, `12h`; with `--keep`, only what neither keeps goes
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    older_than: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Also the last proven one of a package: there is no way back then
    #[arg(long)]
    even_the_last: bool,
    /// Do not ask before anything is deleted
    #[arg(short, long)]
    yes: bool,
}

impl How {
    fn common(&self) -> Common {
        Common { yes: self.yes, ..Common::default() }
    }
}

impl Delete {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.how.common(), async |lead| {
            lead.refuse_another_past()?;
            // Before anything is read: whoever goes back meanwhile needs the copies.
            let hold = lead.hold(lead.site.everything()?).await?;
            cut_off::close_freeing(&lead)?;
            let points = lead.points()?;
            let named: BTreeSet<RunId> = self.run.iter().copied().collect();
            if let Some(unknown) = named.iter().find(|run| !points.iter().any(|point| point.run == **run)) {
                return Err(Refused::new(format!("there is no restore point {unknown}"))
                    .hint("`backout restore-points` lists them")
                    .into());
            }
            let (going, freed): (Vec<_>, Vec<_>) =
                points.iter().filter(|point| named.contains(&point.run)).partition(|p| p.copies().next().is_some());
            for point in &freed {
                ui::say(&format!("Restore point {} was freed before.", point.run));
            }
            let needs = Needs::of(&lead, &points)?;
            if let Some(why) = going.iter().find_map(|point| needs.why(point)) {
                return Err(Refused::new(why)
                    .hint("finish it with `backout resume`, or give it up with `backout rollback`")
                    .into());
            }
            if let Some((why, hint)) = going.iter().find_map(|point| refuse_kept(point, moment::now())) {
                return Err(Refused::new(why).hint(hint).into());
            }
            let lasts = retention::lasts(&points, &going.iter().map(|point| point.run).collect());
            if let (Some(last), false) = (points.iter().find(|p| lasts.contains(&p.run)), self.how.even_the_last) {
                let why = format!("restore point {} is the last proven one of {}", last.run, last.package);
                let hint = format!("without it nothing leads back to {}: `--even-the-last` says so", last.from_version);
                return Err(Refused::new(why).hint(hint).into());
            }
            if going.is_empty() {
                return Ok(Exit::Done);
            }
            free(&lead, Freeing::new(going.into_iter().cloned().collect(), &hold)?, hold).await
        })
    }
}

impl Prune {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.how.common(), async |lead| {
            lead.refuse_another_past()?;
            let hold = lead.hold(lead.site.everything()?).await?;
            cut_off::close_freeing(&lead)?;
            let mut points = lead.points()?;
            points.retain(|point| point.copies().next().is_some());
            let needs = Needs::of(&lead, &points)?;
            let (Which { keep, older_than }, now) = (self.which, moment::now());
            let rule = Rule { keep, older_than, even_the_last: self.how.even_the_last };
            let held = |point: &Point| needs.why(point).map(str::to_owned).or_else(|| aside(&lead.site, point, now));
            let judged = retention::judge(&points, rule, now, held);
            for (point, stays) in &judged {
                let why = match stays {
                    Some(Stays::Held(why)) => why.clone(),
                    Some(Stays::Last) => {
                        format!("it is the last proven one of {}, which `--even-the-last` takes as well", point.package)
                    }
                    Some(Stays::Kept) | None => continue,
                };
                ui::say(&format!("Restore point {} stays: {why}.", point.run));
            }
            let going: Vec<Point> =
                judged.into_iter().filter(|(_, stays)| stays.is_none()).map(|(point, _)| point.clone()).collect();
            if going.is_empty() {
                ui::say("No restore point is to be deleted.");
                return Ok(Exit::Done);
            }
            free(&lead, Freeing::new(going, &hold)?, hold).await
        })
    }
}

async fn free(lead: &Lead, freeing: Freeing, hold: crate::run::Hold) -> anyhow::Result<Exit> {
    let count = text::counted(freeing.points.len() as u64, "restore point is", "restore points are");
    ui::say(&format!("{count} to be deleted, {}:", freeing.bytes()));
    for point in &freeing.points {
        ui::say(&format!("  {}", described(point)));
    }
    freeing.say();
    let packages: BTreeSet<&str> = freeing.points.iter().map(|point| point.package.as_str()).collect();
    let package = if packages.len() == 1 { packages.first().copied().unwrap_or_default() } else { "" };
    let run = lead.begin_tidying("delete", hold, package)?;
    let outcome = freeing.carry_out(lead, &run, "Delete them?", Outcome::Deleted).await?;
    lead.end(&run, outcome).await
}

/// `run 3, 2 d 03 h ago: acme/shop back from 2.0.1 to 1.0.0, 26 MB`
fn described(point: &Point) -> String {
    let age = u64::try_from(moment::now().saturating_sub(point.at)).unwrap_or(0);
    let (package, to) = (text::line(&point.package, 80), text::line(&point.to_version, 40));
    let from = text::line(&point.from_version, 40);
    let what = match point.state {
        State::Ready if point.proven() => format!("the way back from {to} to {from}"),
        State::Ready => format!("from {to} to {from}, not proven"),
        State::Restored => format!("restored: {from} is live"),
        State::Committed => "freed in part".to_owned(),
    };
    format!("run {}, {} ago: {package}, {what}, {}", point.run, text::duration(age), text::bytes(point.bytes()))
}

/// Why what was set aside is not cleared away yet: somebody has said how long it is kept, or the site does.
fn aside(site: &Site, point: &Point, now: i64) -> Option<String> {
    if let Some(kept) = kept_by_word(point, now) {
        return Some(kept);
    }
    let since = u64::try_from(now.saturating_sub(point.restored_at?)).unwrap_or(0);
    let longest = point.aside().filter_map(|(id, _)| keep_aside(site, id)).max()?;
    let kept = text::duration(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
    (Duration::from_millis(since) < longest)
        .then(|| format!("what was set aside {} ago is kept for {kept} (`keep-aside`)", text::duration(since)))
}
