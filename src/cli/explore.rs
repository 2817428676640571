use super::{
    Exit, Global, Refused,
    dry::{self, Dry},
    pipeline::Pipeline,
    ui,
};
use crate::{
    dry::{Bounds, Path, explore, path},
    report::{self, annotation},
};
use serde::Serialize;
use std::time::Duration;

/// Try every way that a script can go, and find those from which it does not come back
///
/// Plays the life cycle once for each call that can fail or be cancelled, and again with a second failure after the first, all in a
/// simulated world. Each rule that a path breaks is a finding (exit code 10), with the number of the first path that shows it.
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
    /// Calls that fail on one path, or are cancelled
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    failures: usize,
    #[command(flatten)]
    pipeline: Pipeline,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let stage = self.dry.stage(global).inspect_err(|error| self.pipeline.refuse(error))?;
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
                false => ui::result(&report::explored::path(number, &told)),
            }
            return Ok(Exit::Done);
        }
        let explored = dry::wait(explore(&stage, bounds))?;
        match global.json {
            true => ui::json(&explored)?,
            false => ui::result(&report::explored::text(&explored)),
        }
        let annotations = annotation::of_findings(&explored.findings, &dry::manifest(&self.dry.package));
        let package = format!("{} {}", stage.facts.package, stage.facts.version);
        self.pipeline.tell(annotations, || report::explored::markdown(&package, &explored));
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
