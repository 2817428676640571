use super::{Exit, Global, columns::columns, moment, past::Past, ui};
use crate::{
    report::text,
    run::restore_point::{self, Point, State},
};
use serde::Serialize;

/// List what one can go back to
///
/// Lists the restore points of this site, newest first: what one can go back to, and what copies take up room.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those whose copies were freed as well
    #[arg(short, long)]
    all: bool,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let past = Past::open(global)?;
        let mut points = match past.reader() {
            Some(reader) => restore_point::points(&reader.since(0)?),
            None => Vec::new(),
        };
        points.retain(|point| self.all || point.copies().next().is_some());
        points.reverse();
        if global.json {
            ui::json(&points.iter().map(View::of).collect::<Vec<_>>())?;
        } else if points.is_empty() {
            ui::result("there is no restore point");
        } else {
            ui::result(&table(&points, moment::now()));
        }
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct View<'a> {
    /// when the newest of its copies was brought up to date
    at: jiff::Timestamp,
    bytes: u64,
    proven: bool,
    #[serde(flatten)]
    point: &'a Point,
}

impl<'a> View<'a> {
    fn of(point: &'a Point) -> Self {
        Self { at: moment::of(point.at), bytes: point.bytes(), proven: point.proven(), point }
    }
}

fn table(points: &[Point], now: i64) -> String {
    let head = ["run", "of", "package", "goes back to", "state", "size", "proven", "one cut", "copies of"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for point in points {
        let age = u64::try_from(now.saturating_sub(point.at)).unwrap_or(0);
        let state = match point.state {
            State::Ready => "ready",
            State::Restored => "restored",
            State::Committed if point.copies().next().is_some() => "freed in part",
            State::Committed => "freed",
        };
        let yes = |yes: bool| if yes { "yes" } else { "NO" }.to_owned();
        let gone = point.copies().next().is_none();
        let copies =
            point.restore_point().snapshots.keys().filter(|id| gone || !point.restore_point().freed.contains(id));
        let copies = copies.map(|id| text::resource(&id.to_string()));
        rows.push(vec![
            point.run.to_string(),
            format!("{}, {} ago", moment::local(point.at), text::duration(age)),
            text::line(&format!("{} {}", point.package, point.to_version), 80),
            text::line(&point.from_version, 40),
            state.to_owned(),
            text::bytes(point.bytes()),
            yes(point.proven()),
            yes(point.restore_point().one_cut),
            copies.collect::<Vec<_>>().join(", "),
        ]);
    }
    let mut table = columns(&rows);
    for point in points {
        for (resource, aside) in point.aside() {
            let Some(place) = &aside.aside else { continue };
            let resource = text::resource(&resource.to_string());
            table += &format!("\nrun {}: what was live in {resource} is kept at {}", point.run, text::line(place, 400));
        }
    }
    table
}
