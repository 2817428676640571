//! Runs that have been, from the journal.
use super::{Global, resume::CAN_GO_ON};
use crate::{
    journal::{self, Entry, Reader, Recorded, RunId, RunSummary},
    report::{Report, text},
    run::{Locks, life_cycle::Outcome},
    site::Site,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A site's state folder, as far as there is one.
pub struct Past {
    state: PathBuf,
    reader: Option<Reader>,
}

impl Past {
    pub fn open(global: &Global) -> anyhow::Result<Self> {
        let state = Site::load(&global.site)?.state;
        let reader = Reader::find(&state.join("journal.db"))?;
        Ok(Self { state, reader })
    }

    /// `None`: there was never a run.
    pub fn reader(&self) -> Option<&Reader> {
        self.reader.as_ref()
    }

    /// Newest first.
    pub fn runs(&self) -> anyhow::Result<Vec<Run>> {
        let Some(reader) = &self.reader else { return Ok(Vec::new()) };
        // A run ends before it lets its locks go, so whoever holds none and has not ended by now is gone.
        let held = Locks::held(&self.state)?;
        Ok(reader.runs()?.into_iter().map(|run| Run::new(run, &held)).collect())
    }
}

/// How a run stands.
pub struct Run {
    pub summary: RunSummary,
    pub goes_on: bool,
}

impl Run {
    fn new(summary: RunSummary, held: &BTreeSet<RunId>) -> Self {
        let goes_on = summary.ending.is_none() && held.contains(&summary.run);
        Self { summary, goes_on }
    }

    /// `upgraded`, `rolled-back`, …, or `running`, `interrupted`.
    pub fn outcome(&self) -> &str {
        match &self.summary.ending {
            Some(ending) => &ending.outcome,
            None if self.goes_on => "running",
            None => "interrupted",
        }
    }

    pub fn millis(&self) -> Option<u64> {
        u64::try_from(self.summary.ended?.saturating_sub(self.summary.started)).ok()
    }
}

/// `upgrade of acme/shop 2.0.0`
pub fn title(run: &RunSummary) -> String {
    let header = &run.header;
    text::line(format!("{} of {} {}", header.command, header.package, header.version).trim(), 120)
}

/// Whether a process is at it.
pub fn goes_on(state: &Path, run: &RunSummary) -> anyhow::Result<bool> {
    Ok(run.ending.is_none() && Locks::held(state)?.contains(&run.run))
}

/// Runs of a script that did not come to their end and were not given up, newest first.
pub fn unfinished(reader: &Reader, state: &Path) -> anyhow::Result<Vec<RunSummary>> {
    let held = Locks::held(state)?;
    let runs = reader.runs()?;
    let open = |run: &RunSummary| match &run.ending {
        Some(ending) => ending.is_half_way(),
        None => !held.contains(&run.run),
    };
    // Whoever has used its restore point since, or made a newer one, goes on from there.
    let point = |run: &RunSummary| if run.header.restore_point == 0 { run.run } else { run.header.restore_point };
    let given_up = |run: &RunSummary| {
        runs.iter().take_while(|later| later.run > run.run).any(|later| {
            let refused = later.ending.as_ref().is_some_and(|ending| ending.outcome == "refused");
            let takes_over = match later.header.command.as_str() {
                "rollback" | "commit" => point(later) == point(run),
                "upgrade" | "prepare" => later.header.package == run.header.package,
                _ => false,
            };
            takes_over && !refused
        })
    };
    let scripted = |run: &&RunSummary| CAN_GO_ON.contains(&run.header.command.as_str());
    Ok(runs.iter().filter(scripted).filter(|run| open(run) && !given_up(run)).cloned().collect())
}

/// The report of a run, as the journal tells it now. `outcome`: how it ended, which the journal may not have been able to take.
pub fn report(reader: &Reader, run: RunId, outcome: Option<&Outcome>) -> Result<Report, journal::Error> {
    let point = reader.run(run)?.header.restore_point;
    // The copies of a restore point are told by the runs that made and used it before.
    let earlier = if point == 0 { Vec::new() } else { reader.since(point)? };
    let mut entries = reader.entries(run)?;
    if let (Some(outcome), Some(last)) = (outcome, entries.last().cloned())
        && !matches!(last.entry, Entry::RunEnded(_))
    {
        entries.push(Recorded { id: last.id + 1, entry: Entry::RunEnded(outcome.ending()), ..last });
    }
    Ok(Report::of(&entries, &earlier))
}
