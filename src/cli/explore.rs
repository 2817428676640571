use super::{
    Exit, Global, Refused,
    dry::{self, Dry},
    ui,
};
use crate::{
    dry::{Bounds, Explored, Path, Told, explore, path},
    report::text,
};
use serde::Serialize;
use std::{fmt::Write, time::Duration};

/// Try every way that a script can go, and find those from which it does not come back
///
/// Plays the life cycle once for each call that can fail, and again with a second failure after the first, all in a simulated
/// world. Each rule that a path breaks is a finding (exit code 10), with the number of the first path that shows it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dry: Dry,
    /// Show one path, call by call
    #[arg(long, value_name = "NUMBER")]
    path: Option<usize>,
    /// Paths to play at the most
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000)]
    paths: usize,
    /// Seconds to take at the most
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Calls that fail on one path
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    failures: usize,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let stage = self.dry.stage(global)?;
        let time = Duration::from_secs(self.seconds);
        let bounds = Bounds { paths: self.paths, time, failures: self.failures };
        if let Some(number) = self.path {
            let Some((failing, told)) = dry::wait(path(&stage, bounds, number))? else {
                return Err(Refused::new(format!("there is no path {number}")).into());
            };
            match global.json {
                true => ui::json(&View {
                    path: number,
                    failing: &failing,
                    told: &told.calls,
                    outcome: told.outcome.ending(),
                })?,
                false => ui::result(&shown(number, &told)),
            }
            return Ok(Exit::Done);
        }
        let explored = dry::wait(explore(&stage, bounds))?;
        match global.json {
            true => ui::json(&explored)?,
            false => ui::result(&summary(&explored)),
        }
        Ok(if explored.findings.is_empty() { Exit::Done } else { Exit::Findings })
    }
}

#[derive(Serialize)]
struct View<'v> {
    path: usize,
    failing: &'v Path,
    told: &'v [crate::dry::Call],
    outcome: crate::journal::Ending,
}

fn summary(explored: &Explored) -> String {
    let mut out = String::new();
    explored.findings.iter().for_each(|finding| out.push_str(&dry::finding(finding)));
    if !explored.findings.is_empty() {
        out.push('\n');
    }
    let ends: Vec<String> = explored.outcomes.iter().map(|(end, count)| format!("{count} {end}")).collect();
    // Writing into a string cannot fail.
    let _ = writeln!(
        out,
        "{}: {}; {} of {} steps ran",
        text::counted(explored.paths as u64, "path", "paths"),
        ends.join(", "),
        explored.reached,
        explored.planned
    );
    if explored.left_out > 0 {
        let _ = writeln!(
            out,
            "left out: {} that were known of, and what follows from them (--paths, --seconds)",
            explored.left_out
        );
    }
    let _ = match explored.findings.len() {
        0 => writeln!(out, "nothing speaks against it"),
        n => writeln!(out, "{}", text::counted(n as u64, "finding", "findings")),
    };
    out
}

/// Call by call, with what fails.
fn shown(number: usize, told: &Told) -> String {
    let mut out = format!("path {number}\n");
    let mut step = String::new();
    for call in &told.calls {
        let here = format!(
            "{}{}",
            call.step,
            if call.attempt > 1 { format!(", attempt {}", call.attempt) } else { String::new() }
        );
        if here != step {
            let _ = writeln!(out, "  {here}");
            step = here;
        }
        let how = match (&call.failed, call.assumed) {
            (Some(kind), _) => format!("✗ {} fails ({})", call.title(), kind.as_str()),
            (None, true) => format!("? {}", call.title()),
            (None, false) => format!("✓ {}", call.title()),
        };
        let _ = writeln!(out, "    {how}");
        for change in told.changes.iter().filter(|change| change.call == call.key()) {
            let resource = format!("{} {}", change.resource.kind, change.resource.name);
            let _ = writeln!(out, "        {resource}: {}", text::line(&change.text, 200));
        }
    }
    let ending = told.outcome.ending();
    let why = if ending.message.is_empty() { String::new() } else { format!(": {}", text::line(&ending.message, 400)) };
    let _ = writeln!(out, "  ends {}{why}", ending.outcome);
    for id in told.different.keys() {
        let _ = writeln!(out, "  {} {} is not as it was", id.kind, id.name);
    }
    out
}
