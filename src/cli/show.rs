use super::{
    Exit, Global, Refused,
    past::{self, Past},
    ui,
};
use crate::{
    journal::{Error, RunId},
    report,
};

/// Show the report of a run
///
/// Shows the report of a run: what was done when, checks, metrics, down time, copies, what is left to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number of the run; the newest when it is left out
    run: Option<RunId>,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let past = Past::open(global)?;
        let newest = || past.runs().map(|runs| runs.first().map(|run| run.summary.run));
        let (Some(reader), Some(run)) = (past.reader(), self.run.map_or_else(newest, |run| Ok(Some(run)))?) else {
            return Err(Refused::new("there was no run yet").into());
        };
        let report = past::report(reader, run, None).map_err(|error| match error {
            Error::NoRun(_) => Refused::new(error.to_string()).hint("`backout runs` lists them").into(),
            error => anyhow::Error::new(error),
        })?;
        if global.json {
            ui::json(&report)?;
        } else {
            ui::result(&report::markdown(&report));
        }
        Ok(Exit::Done)
    }
}
