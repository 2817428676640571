mod delete;

use super::{Exit, Global, columns::columns, lead, moment, past::Past, state, ui};
use crate::{
    report::{news, text},
    resource::{ResourceId, Resources},
    run::{
        loss::{self, Loss},
        restore_point::{self, Point, State},
    },
    site::Site,
};
use anyhow::Context;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// List what one can go back to, and delete what nobody needs
///
/// Lists the restore points of this site, newest first: what one can go back to, and what copies take up room.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Those whose copies were freed as well
    #[arg(short, long)]
    all: bool,
    /// What going back would set aside now, and whether the copies still are what was proven; reads what is live, and keeps runs
    /// away from it meanwhile
    #[arg(short, long)]
    loss: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Delete(delete::Delete),
    Prune(delete::Prune),
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        match self.action {
            Some(Action::Delete(delete)) => delete.execute(global),
            Some(Action::Prune(prune)) => prune.execute(global),
            None => list(global, self.all, self.loss),
        }
    }
}

fn list(global: &Global, all: bool, with_loss: bool) -> anyhow::Result<Exit> {
    let (points, losses) = if with_loss { with_losses(global)? } else { (points(global)?, None) };
    let mut views: Vec<View> = points.iter().map(View::of).collect();
    for view in &mut views {
        view.looked(losses.as_ref().and_then(|losses| losses.get(&view.point.run)));
    }
    views.retain(|view| all || view.point.copies().next().is_some());
    views.reverse();
    if global.json {
        ui::json(&views)?;
    } else if views.is_empty() {
        ui::result("there is no restore point");
    } else {
        ui::result(&told(&views));
    }
    Ok(Exit::Done)
}

/// Oldest first.
fn points(global: &Global) -> anyhow::Result<Vec<Point>> {
    Ok(match Past::open(global)?.reader() {
        Some(reader) => restore_point::points(&reader.since(0)?),
        None => Vec::new(),
    })
}

type Losses = BTreeMap<u64, Vec<Loss>>;

/// The restore points as they are while nobody can change them or what they are copies of.
fn with_losses(global: &Global) -> anyhow::Result<(Vec<Point>, Option<Losses>)> {
    let of = |points: &[Point]| -> BTreeSet<ResourceId> {
        let ready = points.iter().filter(|point| point.state == State::Ready);
        ready.flat_map(|point| point.copies().map(|(id, _)| id.clone())).collect()
    };
    let wanted = of(&points(global)?);
    if wanted.is_empty() {
        return Ok((points(global)?, Some(Losses::new())));
    }
    let site = Site::load(&global.site)?;
    state::make_private(&site.state)?;
    let mut all = site.everything()?;
    all.database.0.retain(|_, lend| wanted.contains(&lend.id));
    all.tree.0.retain(|_, lend| wanted.contains(&lend.id));
    let copied = Resources { database: all.database, tree: all.tree, ..Resources::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let hold = lead::hold(&site, copied).await?;
        let points = points(global)?;
        let mut losses = Losses::new();
        for point in points.iter().filter(|point| point.state == State::Ready) {
            losses.insert(point.run, loss::of(&hold.resources, point).await);
        }
        Ok((points, Some(losses)))
    })
}

#[derive(Serialize)]
struct View<'a> {
    /// when the newest of its copies was brought up to date
    at: jiff::Timestamp,
    age_seconds: u64,
    /// when a rollback to it came to a good end
    restored_at: Option<jiff::Timestamp>,
    bytes: u64,
    proven: bool,
    /// by resource, why its copy does not count as proven
    unproven: BTreeMap<&'a ResourceId, String>,
    /// by resource, what going back would set aside; only with `--loss`, of what one can go back to
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<&'a Vec<Loss>>,
    #[serde(flatten)]
    point: &'a Point,
}

impl<'a> View<'a> {
    fn of(point: &'a Point) -> Self {
        Self {
            at: moment::of(point.at),
            age_seconds: age(point) / 1000,
            restored_at: point.restored_at.map(moment::of),
            bytes: point.bytes(),
            proven: point.proven(),
            unproven: point.copies().filter_map(|(id, _)| Some((id, point.unproven(id)?.to_owned()))).collect(),
            loss: None,
            point,
        }
    }

    fn looked(&mut self, loss: Option<&'a Vec<Loss>>) {
        for loss in loss.into_iter().flatten() {
            let Some(why) = &loss.damaged else { continue };
            self.unproven.insert(&loss.resource, text::line(why, 400));
            self.proven = false;
        }
        self.loss = loss;
    }
}

/// Milliseconds.
fn age(point: &Point) -> u64 {
    u64::try_from(moment::now().saturating_sub(point.at)).unwrap_or(0)
}

fn told(views: &[View]) -> String {
    let head = ["run", "of", "package", "goes back to", "state", "size", "proven", "one cut", "copies of"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(views.iter().map(row));
    let mut text = columns(&rows);
    for View { point, unproven, loss, .. } in views {
        for (resource, why) in unproven {
            text += &format!("\nrun {}: the copy of {} does not count as proven: {why}", point.run, name(resource));
        }
        for (resource, aside) in point.aside() {
            let Some(place) = &aside.aside else { continue };
            let (resource, place) = (name(resource), text::line(place, 400));
            text += &format!("\nrun {}: what was live in {resource} is kept at {place}", point.run);
        }
        for loss in loss.iter().copied().flatten() {
            text += &format!("\nrun {}: {}", point.run, would_lose(point, loss));
        }
    }
    text
}

fn row(view: &View) -> Vec<String> {
    let point = view.point;
    let state = match point.state {
        State::Ready => "ready",
        State::Restored => "restored",
        State::Committed if point.copies().next().is_some() => "freed in part",
        State::Committed => "freed",
    };
    let yes = |yes: bool| if yes { "yes" } else { "NO" }.to_owned();
    let gone = point.copies().next().is_none();
    let copies = point.restore_point().snapshots.keys();
    let copies = copies.filter(|id| gone || !point.restore_point().freed.contains(id)).map(name);
    vec![
        point.run.to_string(),
        format!("{}, {} ago", moment::local(point.at), text::duration(age(point))),
        text::line(&format!("{} {}", point.package, point.to_version), 80),
        text::line(&point.from_version, 40),
        state.to_owned(),
        text::bytes(point.bytes()),
        yes(view.proven),
        yes(point.restore_point().one_cut),
        copies.collect::<Vec<_>>().join(", "),
    ]
}

fn would_lose(point: &Point, loss: &Loss) -> String {
    let resource = name(&loss.resource);
    match (&loss.unknown, news::set_aside(&loss.lost).as_str()) {
        (Some(why), _) => {
            format!("what going back would set aside of {resource} cannot be said: {}", text::line(why, 400))
        }
        _ if point.restore_point().restored.contains(&loss.resource) => {
            format!("{resource} is restored already")
        }
        _ if !loss.exchanged => format!("going back would leave {resource} alone, no run has changed it"),
        (None, "") => format!("going back would set nothing aside of {resource}"),
        (None, lost) => format!("going back would set aside of {resource}: {lost}"),
    }
}

fn name(resource: &ResourceId) -> String {
    text::resource(&resource.to_string())
}
