use super::{
    Exit, Global,
    columns::columns,
    moment,
    past::{Past, Run},
    ui,
};
use crate::report::text;
use serde::Serialize;

/// List the runs of this site
///
/// Newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// At most so many; 0 for all
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let mut runs = Past::open(global)?.runs()?;
        if self.limit > 0 {
            runs.truncate(self.limit);
        }
        if global.json {
            ui::json(&runs.iter().map(View::of).collect::<Vec<_>>())?;
        } else if runs.is_empty() {
            ui::result("there was no run yet");
        } else {
            ui::result(&table(&runs));
        }
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct View<'a> {
    run: u64,
    started: jiff::Timestamp,
    ended: Option<jiff::Timestamp>,
    millis: Option<u64>,
    command: &'a str,
    package: &'a str,
    version: &'a str,
    from_version: &'a str,
    to_version: &'a str,
    restore_point: u64,
    /// as in a report; `running` and `interrupted` besides
    outcome: &'a str,
    exit: Option<u8>,
    message: &'a str,
}

impl<'a> View<'a> {
    fn of(run: &'a Run) -> Self {
        let summary = &run.summary;
        Self {
            run: summary.run,
            started: moment::of(summary.started),
            ended: summary.ended.map(moment::of),
            millis: run.millis(),
            command: &summary.header.command,
            package: &summary.header.package,
            version: &summary.header.version,
            from_version: &summary.header.from_version,
            to_version: &summary.header.to_version,
            restore_point: summary.header.restore_point,
            outcome: run.outcome(),
            exit: summary.ending.as_ref().map(|e| e.exit),
            message: summary.ending.as_ref().map_or("", |e| &e.message),
        }
    }
}

fn table(runs: &[Run]) -> String {
    let mut rows = vec![["run", "began", "command", "package", "outcome", "took"].map(str::to_owned).to_vec()];
    for run in runs {
        let header = &run.summary.header;
        rows.push(vec![
            run.summary.run.to_string(),
            moment::local(run.summary.started),
            text::line(&header.command, 40),
            text::line(format!("{} {}", header.package, header.version).trim(), 80),
            outcome(run),
            run.millis().map(text::duration).unwrap_or_default(),
        ]);
    }
    columns(&rows)
}

/// A rehearsal says at once whether all held.
fn outcome(run: &Run) -> String {
    let outcome = run.outcome().replace('-', " ");
    let rehearsal = run.summary.ending.as_ref().and_then(|ending| ending.rehearsal.as_ref());
    match rehearsal.map_or(0, |rehearsal| rehearsal.findings.len() as u64) {
        0 => outcome,
        n => format!("{outcome}, {}", text::counted(n, "finding", "findings")),
    }
}
