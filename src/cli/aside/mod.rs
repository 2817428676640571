//! What rollbacks have set aside: listing it, having it stay, freeing it.
mod drop;
mod keep;

use super::{Exit, Global, Refused, columns::columns, moment, past::Past, ui};
use crate::{
    journal::{Reader, RunId},
    report::{news, text},
    resource::{
        CallCtx, Database, Kind, ResourceId, Resources, Tree,
        copies::{Copied, Lost, Snapshot},
    },
    run::{
        aside::{Aside, Until},
        restore_point::{self, Point},
    },
    site::Site,
};
use anyhow::Context;
use serde::Serialize;
use std::time::Duration;

/// List, keep and drop what rollbacks have set aside
///
/// Lists what was live before a rollback and is still there: where, how much, and until when it is kept.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Keep(keep::Keep),
    Drop(drop::Drop),
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        match self.action {
            Some(Action::Keep(keep)) => keep.execute(global),
            Some(Action::Drop(drop)) => drop.execute(global),
            None => list(global),
        }
    }
}

/// Looking at names and sizes takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);

fn list(global: &Global) -> anyhow::Result<Exit> {
    let site = Site::load(&global.site)?;
    let points = match Past::open(global)?.reader() {
        Some(reader) => restore_point::points(&reader.since(0)?),
        None => Vec::new(),
    };
    let resources = site.everything()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let views = runtime.block_on(async {
        let mut views = Vec::new();
        for point in points.iter().rev() {
            for aside in point.set_aside() {
                let until = aside.until(point, keep_aside(&site, aside.resource));
                let bytes = bytes(&resources, point, aside.resource).await;
                views.push(View::of(point, &aside, until, bytes));
            }
        }
        views
    });
    if global.json {
        ui::json(&views)?;
    } else if views.is_empty() {
        ui::result("nothing is set aside");
    } else {
        ui::result(&told(&views));
    }
    Ok(Exit::Done)
}

/// `None`: it is not in the site any more, or cannot be looked at.
async fn bytes(resources: &Resources, point: &Point, id: &ResourceId) -> Option<u64> {
    let snapshot = point.restore_point().snapshots.get(id)?;
    let call = CallCtx::aside(format!("look/{}/{id}", point.run), PATIENCE);
    let looked = if id.kind == Tree::NAME {
        let lend = resources.tree.0.values().find(|lend| lend.id == *id)?;
        Tree::observe(&*lend.access.observer).aside_bytes(snapshot, &call).await
    } else {
        let lend = resources.database.0.values().find(|lend| lend.id == *id)?;
        Database::observe(&*lend.access.observer).aside_bytes(snapshot, &call).await
    };
    looked.ok().flatten()
}

#[derive(Serialize)]
struct View<'a> {
    /// of the restore point
    run: RunId,
    resource: &'a ResourceId,
    package: &'a str,
    from_version: &'a str,
    to_version: &'a str,
    set_aside_at: jiff::Timestamp,
    /// `null`: no longer kept, so that clearing away may take it; with `kept_for_good` it has no end
    kept_until: Option<jiff::Timestamp>,
    kept_for_good: bool,
    /// somebody has said so with `aside keep`
    kept_by_word: bool,
    /// `null`: nothing was live then
    place: Option<&'a str>,
    bytes: Option<u64>,
    lost: &'a [Lost],
    #[serde(skip)]
    until: Until,
}

impl<'a> View<'a> {
    fn of(point: &'a Point, aside: &Aside<'a>, until: Until, bytes: Option<u64>) -> Self {
        let over = until.is_over(moment::now());
        Self {
            run: point.run,
            resource: aside.resource,
            package: &point.package,
            from_version: &point.from_version,
            to_version: &point.to_version,
            set_aside_at: moment::of(aside.at),
            kept_until: match until {
                Until::Moment(at) if !over => Some(moment::of(at)),
                _ => None,
            },
            kept_for_good: until == Until::ForGood,
            kept_by_word: aside.said.is_some_and(|said| said == until),
            place: aside.restored.aside.as_deref(),
            bytes,
            lost: &aside.restored.lost,
            until,
        }
    }
}

fn told(views: &[View]) -> String {
    let head = ["run", "set aside", "resource", "of", "size", "kept", "holds"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut places = String::new();
    for view in views {
        let resource = text::resource(&view.resource.to_string());
        let held = match news::set_aside(view.lost).as_str() {
            "" => "nothing that is not live".to_owned(),
            lost => lost.to_owned(),
        };
        rows.push(vec![
            view.run.to_string(),
            moment::local(view.set_aside_at.as_millisecond()),
            resource.clone(),
            text::line(&format!("{} {}", view.package, view.to_version), 80),
            view.bytes.map(text::bytes).unwrap_or_default(),
            kept(view.until),
            text::line(&held, 200),
        ]);
        if let Some(place) = view.place {
            places += &format!("\nrun {}: {resource} is at {}", view.run, text::line(place, 400));
        }
    }
    columns(&rows) + &places
}

/// `until 2026-03-01 14:02:11`, `for good`, `no longer`
pub(in crate::cli) fn kept(until: Until) -> String {
    match until {
        Until::ForGood => "for good".to_owned(),
        Until::Moment(at) if until.is_over(moment::now()) => format!("no longer (until {})", moment::local(at)),
        Until::Moment(at) => format!("until {}", moment::local(at)),
    }
}

/// What the site says of how long what is set aside is kept; `None`: the resource is not in it any more.
pub(in crate::cli) fn keep_aside(site: &Site, id: &ResourceId) -> Option<Duration> {
    match id.kind.as_str() {
        Database::NAME => site.databases.get(&id.name).map(|section| section.keep_aside),
        _ => site.trees.get(&id.name).map(|section| section.keep_aside),
    }
}

/// The restore point of this number, or the one that the run of this number has used.
pub(in crate::cli) fn point_of<'p>(points: &'p [Point], reader: &Reader, run: RunId) -> anyhow::Result<&'p Point> {
    let used = || reader.run(run).ok().map(|summary| summary.header.restore_point);
    let found = points.iter().find(|point| point.run == run);
    let found = found.or_else(|| used().and_then(|used| points.iter().find(|point| point.run == used)));
    found.ok_or_else(|| {
        Refused::new(format!("run {run} neither made a restore point nor went back to one"))
            .hint("`backout aside` lists what is set aside, by run")
            .into()
    })
}

/// What was set aside of a restore point, or of one resource of it: `database.orders`, `database:orders` or just `orders`.
fn chosen(point: &Point, resource: Option<&str>) -> anyhow::Result<Vec<(ResourceId, Snapshot)>> {
    let means = |id: &ResourceId, word: &str| {
        id.name == word || id.to_string() == word || format!("{}.{}", id.kind, id.name) == word
    };
    let copies = &point.restore_point().snapshots;
    let there =
        point.set_aside().filter_map(|aside| Some((aside.resource.clone(), copies.get(aside.resource)?.clone())));
    let there: Vec<_> = there.collect();
    let chosen: Vec<_> = there.iter().filter(|(id, _)| resource.is_none_or(|word| means(id, word))).cloned().collect();
    match (chosen.as_slice(), resource) {
        ([], None) => Err(Refused::new(format!("nothing is set aside of run {}", point.run))
            .hint("`backout aside` lists what is set aside, by run")
            .into()),
        ([], Some(word)) => {
            Err(Refused::new(format!("nothing called {} is set aside of run {}", text::line(word, 80), point.run))
                .hint("`backout aside` lists what is set aside, by run")
                .into())
        }
        ([_, _, ..], Some(word)) => Err(Refused::new(format!("{} means more than one resource", text::line(word, 80)))
            .hint("name its kind as well, as in `database.orders`")
            .into()),
        _ => Ok(chosen),
    }
}
