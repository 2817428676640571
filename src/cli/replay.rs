use super::{
    Exit, Global, Refused,
    lead::{self, Common, Lead},
    past, resume, ui,
};
use crate::{
    journal::{self, Reader, RunId, RunSummary},
    package::Package,
    report::text,
    run::replay::{Replayed, Setup, replay},
};
use serde::Serialize;
use std::path::PathBuf;

/// Run scripts again from the journal alone, and see whether they do the same
///
/// Touches nothing. Whatever differs is a finding (exit code 10).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runs; all that ran a script when they are left out
    runs: Vec<RunId>,
    /// Another build of the package; the one that each run was made with when it is left out
    #[arg(long, value_name = "PACKAGE")]
    package: Option<PathBuf>,
}

#[derive(Serialize)]
struct View<'a> {
    run: RunId,
    equal: bool,
    #[serde(flatten)]
    replayed: &'a Replayed,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, Common::default(), async |lead| {
            let Some(reader) = Reader::find(&lead.journal())? else {
                return Err(Refused::new("there was no run yet").into());
            };
            let package = self.package.as_deref().map(Package::open).transpose()?;
            let runs = self.chosen(&reader, package.as_ref())?;
            let mut found = Vec::new();
            for run in runs {
                let made_with;
                let package = match &package {
                    Some(package) => package,
                    None => {
                        made_with = lead.kept(&run.header.digest, run.run)?;
                        &made_with
                    }
                };
                let replayed = of_run(&lead, &run, package).await?;
                if !global.json {
                    ui::result(&line(&run, &replayed));
                }
                found.push((run.run, replayed));
            }
            lead.quiet();
            let differ = found.iter().filter(|(_, replayed)| !replayed.differences.is_empty()).count();
            if global.json {
                let view = |(run, replayed): &'_ (RunId, Replayed)| {
                    serde_json::to_value(View { run: *run, equal: replayed.differences.is_empty(), replayed })
                };
                ui::json(&found.iter().map(view).collect::<Result<Vec<_>, _>>()?)?;
            } else {
                ui::result(&summary(found.len(), differ, self.package.is_some()));
            }
            Ok(if differ == 0 { Exit::Done } else { Exit::Findings })
        })
    }

    fn chosen(&self, reader: &Reader, package: Option<&Package>) -> anyhow::Result<Vec<RunSummary>> {
        let mut runs = reader.runs()?;
        runs.reverse();
        if let Some(missing) = self.runs.iter().find(|run| !runs.iter().any(|r| r.run == **run)) {
            return Err(Refused::new(format!("there is no run {missing}")).hint("`backout runs` lists all").into());
        }
        let scripted = |run: &RunSummary| resume::CAN_GO_ON.contains(&run.header.command.as_str());
        if let Some(other) = runs.iter().find(|run| self.runs.contains(&run.run) && !scripted(run)) {
            return Err(Refused::new(format!("run {} ran no script", other.run)).into());
        }
        let mine = |run: &RunSummary| package.is_none_or(|package| package.manifest.name == run.header.package);
        runs.retain(|run| match self.runs.is_empty() {
            true => scripted(run) && mine(run),
            false => self.runs.contains(&run.run),
        });
        if let Some(other) = runs.iter().find(|run| !mine(run)) {
            return Err(Refused::new(format!("run {} is one of {}", other.run, other.header.package)).into());
        }
        Ok(runs)
    }
}

/// Whether the script of a package does what the run's did.
pub async fn of_run(lead: &Lead, run: &RunSummary, package: &Package) -> anyhow::Result<Replayed> {
    let path = lead.journal();
    let entries =
        |from: i64| -> Result<journal::Entries, journal::Error> { Ok(Reader::open(&path)?.stream(run.run, from)) };
    let setup = Setup {
        run: run.run,
        header: run.header.clone(),
        facts: lead.facts_of_record(package),
        memory: lead.memory_before(&Reader::open(&path)?, run)?,
        script: lead.script(package)?,
        entries: &entries,
    };
    Ok(replay(setup).await?)
}

fn line(run: &RunSummary, replayed: &Replayed) -> String {
    let what = format!("run {} ({})", run.run, past::title(run));
    let counts = format!(
        "{}, {}",
        text::counted(replayed.calls, "call", "calls"),
        text::counted(replayed.operations, "operation", "operations")
    );
    if replayed.differences.is_empty() {
        return format!("✓ {what}: equal, {counts}");
    }
    let mut lines = vec![format!("✗ {what}: differs, {counts}")];
    lines.extend(
        replayed.differences.iter().map(|difference| format!("  {}", text::line(&difference.to_string(), 1_000))),
    );
    lines.join("\n")
}

fn summary(runs: usize, differ: usize, other: bool) -> String {
    let all = text::counted(runs as u64, "recorded run", "recorded runs");
    match (differ, other) {
        (0, _) => format!("{all}: the script does the same in each"),
        (_, true) => format!("{differ} of {all} would go differently with this package"),
        (_, false) => format!("{differ} of {all} went differently: the script does not depend on its answers alone"),
    }
}
