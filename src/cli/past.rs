//! Runs that have been, from the journal.
use super::Global;
use crate::{
    journal::{self, Entry, Reader, Recorded, RunId, RunSummary},
    report::Report,
    run::{Locks, life_cycle::Outcome},
    site::Site,
};
use std::{collections::BTreeSet, path::PathBuf};

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
