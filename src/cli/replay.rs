use super::{Exit, Global, Refused, begin, begin::memory_before, past, resume::CAN_GO_ON, state, ui};
use crate::{
    diagnostic::shown,
    journal::{self, Reader, RunId, RunSummary, export},
    package::Package,
    report::text,
    resource::run::Facts,
    run::replay::{Replayed, Setup, replay},
    session::Script,
    site::Site,
};
use anyhow::Context;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Run scripts again from the journal alone, and see whether they do the same
///
/// Touches nothing. Whatever differs is a finding (exit code 10).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Runs by their numbers, or files that `backout export` has written, which need no site; all runs of the site's journal
    /// that ran a script when none is named
    #[arg(value_name = "RUN|FILE")]
    runs: Vec<String>,
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

/// A recorded run, with what it is told to.
struct Record {
    journal: PathBuf,
    run: RunSummary,
    package: Package,
    script: Script,
    /// What was unpacked lies here.
    _export: Option<export::Opened>,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        let named = || self.package.as_deref().map(Package::open).transpose();
        let name = named()?.map(|package| package.manifest.name);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
        let (mut found, mut differ, mut untold) = (Vec::new(), 0, 0);
        let mut tell = |record: Record| -> anyhow::Result<()> {
            let Record { journal, run, package, script, .. } = &record;
            let replayed = runtime.block_on(of_run(journal, run, package, script.clone()))?;
            if !global.json {
                ui::result(&line(run, &replayed));
            }
            differ += usize::from(!replayed.differences.is_empty());
            let view = View { run: run.run, equal: replayed.differences.is_empty(), replayed: &replayed };
            found.push(serde_json::to_value(view)?);
            Ok(())
        };
        let (numbers, files): (Vec<_>, Vec<_>) = self.runs.iter().partition(|run| run.parse::<RunId>().is_ok());
        if files.is_empty() || !numbers.is_empty() {
            let numbers: Vec<RunId> = numbers.iter().filter_map(|run| run.parse().ok()).collect();
            let site = Site::load(&global.site)?;
            let journal = site.state.join("journal.db");
            let Some(reader) = Reader::find(&journal)? else {
                return Err(Refused::new("there was no run yet").into());
            };
            for run in chosen(&reader, &numbers, name.as_deref())? {
                let package = match named()? {
                    Some(package) => package,
                    // Whoever asks for all runs wants those that can be told.
                    None if numbers.is_empty() && !state::kept_package(&site.state, &run.header.digest).exists() => {
                        let what = format!("run {} ({})", run.run, past::title(&run));
                        ui::say(&format!(
                            "{what} is not told: its package is not kept any more, `--package` names one"
                        ));
                        untold += 1;
                        continue;
                    }
                    None => state::open_kept(&site.state, &run.header.digest, run.run)?,
                };
                let script = begin::script(&site.state.join("cache"), &package, site.limits.compile)?;
                tell(Record { journal: journal.clone(), run, package, script, _export: None })?;
            }
        }
        for file in files {
            tell(exported(Path::new(file), named()?)?)?;
        }
        if found.is_empty() && untold > 0 {
            let refused = Refused::new("no recorded run could be told: none of their packages is kept any more");
            return Err(refused.hint("`--package` names one").into());
        }
        match global.json {
            true => ui::json(&found)?,
            false => ui::result(&summary(found.len(), differ, untold, name.is_some())),
        }
        Ok(if differ == 0 { Exit::Done } else { Exit::Findings })
    }
}

/// From a file by somebody else: nothing of it is trusted before it is verified.
fn exported(file: &Path, other: Option<Package>) -> anyhow::Result<Record> {
    let opened = export::open(file).map_err(|error| Refused::new(error.to_string()))?;
    let run = opened.reader()?.run(opened.run)?;
    let package = match other {
        Some(package) => package,
        None => {
            let package = Package::open(&opened.files());
            let package =
                package.with_context(|| format!("open the package in {}", shown(&file.display().to_string())))?;
            if package.digest != run.header.digest {
                return Err(Refused::new("the package in it is another one than its run names").into());
            }
            package
        }
    };
    let journal = opened.journal();
    let cache = journal.with_file_name("cache");
    let script = begin::script(&cache, &package, None)?;
    Ok(Record { journal, run, package, script, _export: Some(opened) })
}

fn chosen(reader: &Reader, wanted: &[RunId], package: Option<&str>) -> anyhow::Result<Vec<RunSummary>> {
    let mut runs = reader.runs()?;
    runs.reverse();
    if let Some(missing) = wanted.iter().find(|run| !runs.iter().any(|r| r.run == **run)) {
        return Err(Refused::new(format!("there is no run {missing}")).hint("`backout runs` lists all").into());
    }
    let scripted = |run: &RunSummary| CAN_GO_ON.contains(&run.header.command.as_str());
    if let Some(other) = runs.iter().find(|run| wanted.contains(&run.run) && !scripted(run)) {
        return Err(Refused::new(format!("run {} ran no script", other.run)).into());
    }
    let mine = |run: &RunSummary| package.is_none_or(|name| name == run.header.package);
    runs.retain(|run| match wanted {
        [] => scripted(run) && mine(run),
        wanted => wanted.contains(&run.run),
    });
    if let Some(other) = runs.iter().find(|run| !mine(run)) {
        return Err(Refused::new(format!("run {} is one of {}", other.run, other.header.package)).into());
    }
    Ok(runs)
}

/// Whether the script of a package does what the run's did.
pub async fn of_run(journal: &Path, run: &RunSummary, package: &Package, script: Script) -> anyhow::Result<Replayed> {
    let entries =
        |from: i64| -> Result<journal::Lines, journal::Error> { Ok(Reader::open(journal)?.lines(run.run, from)) };
    let setup = Setup {
        run: run.run,
        header: run.header.clone(),
        // All else that a script is told is recorded.
        facts: Facts { payloads: package.payloads.clone(), ..Facts::default() },
        memory: memory_before(&Reader::open(journal)?, run)?,
        script,
        entries: &entries,
    };
    Ok(replay(setup).await?)
}

fn line(run: &RunSummary, replayed: &Replayed) -> String {
    let what = format!("run {} ({})", run.run, past::title(run));
    let (calls, operations) =
        (text::counted(replayed.calls, "call", "calls"), text::counted(replayed.operations, "operation", "operations"));
    if replayed.differences.is_empty() {
        return format!("✓ {what}: equal, {calls}, {operations}");
    }
    let mut lines = vec![format!("✗ {what}: differs, {calls}, {operations}")];
    let differences = replayed.differences.iter();
    lines.extend(differences.map(|difference| format!("  {}", text::line(&difference.to_string(), 1_000))));
    lines.join("\n")
}

fn summary(runs: usize, differ: usize, untold: usize, other: bool) -> String {
    let all = text::counted(runs as u64, "recorded run", "recorded runs");
    match (differ, other) {
        (0, _) if untold > 0 => format!("{all}: the script does the same in each; {untold} could not be told"),
        (0, _) => format!("{all}: the script does the same in each"),
        (_, true) => format!("{differ} of {all} would go differently with this package"),
        (_, false) => format!("{differ} of {all} went differently: the script does not depend on its answers alone"),
    }
}
