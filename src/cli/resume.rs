use super::{
    Exit, Global, Refused, assess,
    begin::memory_before,
    lead::{self, Common, Lead},
    past, prepare, replay, rollback, ui, upgrade, verify,
};
use crate::{
    diagnostic::shown,
    journal::{Reader, RunId, RunSummary},
    package::Package,
    report::{self, Report, State, text},
    resource::service::Status,
    run::{Before, Hold, life_cycle::Outcome},
    site,
};
use std::path::PathBuf;

/// Go on with a run that was interrupted, or that stopped half-way
///
/// Steps that are done are not run again; one that was cut off goes on where it was. A step that failed is tried again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run; the newest that did not come to its end when it is left out
    run: Option<RunId>,
    /// Take this step (`rollback/restore`) as done without running it
    #[arg(long, value_name = "PHASE/STEP")]
    skip: Vec<String>,
    /// What you found out about an operation of which nobody else can tell whether it has happened
    #[arg(long, value_name = "OPERATION=done|not-done", value_parser = decision)]
    decide: Vec<(i64, bool)>,
    /// Another build of the package, if it has done so far what this one did
    #[arg(long, value_name = "PACKAGE")]
    package: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

fn decision(text: &str) -> Result<(i64, bool), String> {
    let (number, answer) = text.split_once('=').ok_or("it has the form 42=done or 42=not-done")?;
    let number = number.parse().map_err(|_| format!("`{}` is no number of an operation", shown(number)))?;
    match answer {
        "done" => Ok((number, true)),
        "not-done" => Ok((number, false)),
        _ => Err(format!("an operation is `done` or `not-done`, not `{}`", shown(answer))),
    }
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        lead::lead(global, self.common.clone(), async |mut lead| {
            lead.refuse_another_past()?;
            let run = self.chosen(&lead)?;
            let kept = lead.kept(&run.header.digest, run.run);
            let package = match &self.package {
                Some(path) => Package::open(path)?,
                None => kept?,
            };
            let hold = lead.hold(lead.lend(&package)?).await?;
            // What counts is how things are now that nobody else changes them.
            let run = self.chosen(&lead).ok().filter(|again| again.run == run.run).ok_or_else(|| {
                Refused::new(format!("run {} has been gone on with by somebody else at this moment", run.run))
            })?;
            let reader = Reader::open(&lead.journal())?;
            let memory = memory_before(&reader, &run)?;
            let before = Before::read(&lead.journal(), run.run, &memory)?;
            let report = past::report(&reader, run.run, None)?;
            self.refuse_what_has_changed(&lead, &run, &package, &hold, &report).await?;
            let skip = self.skipped(&before, &run)?;
            self.refuse_strange_decisions(&report)?;
            lead.decisions = self.decide.iter().copied().collect();
            let what = consequences(&report, &skip);
            what.iter().for_each(|line| ui::say(line));
            lead.yes_to(&format!("Go on with run {} ({})?", run.run, past::title(&run))).await?;
            let run_on = lead.resume(&run, &package, hold, memory, skip)?;
            match run.header.command.as_str() {
                "upgrade" => upgrade::go(&lead, &run_on, &package).await,
                "prepare" => prepare::go(&lead, &run_on).await,
                "verify" => verify::go(&lead, &run_on, before.verifies_rollback()).await,
                "assess" => assess::go(&lead, &run_on, &package).await,
                _ => {
                    let points = lead.points()?;
                    let point = points.iter().find(|point| point.run == run.header.restore_point);
                    let point = point.ok_or_else(|| Refused::new("its restore point is not there any more"))?;
                    rollback::go(&lead, &run_on, point).await
                }
            }
        })
    }

    fn chosen(&self, lead: &Lead) -> anyhow::Result<RunSummary> {
        let unfinished = lead.unfinished()?;
        let Some(number) = self.run else {
            return unfinished.into_iter().next().ok_or_else(|| {
                Refused::new("there is no run to go on with").hint("`backout runs` lists all of them").into()
            });
        };
        if let Some(run) = unfinished.into_iter().find(|run| run.run == number) {
            return Ok(run);
        }
        let run = Reader::find(&lead.journal())?.map(|reader| reader.run(number)).transpose();
        let run = run.map_err(|error| Refused::new(error.to_string()))?;
        let Some(run) = run else { return Err(Refused::new(format!("there is no run {number}")).into()) };
        Err(match &run.ending {
            _ if !CAN_GO_ON.contains(&run.header.command.as_str()) => {
                Refused::new(format!("run {number} is a {}, which is not gone on with", run.header.command))
                    .hint(format!("say `backout {}` again", run.header.command))
            }
            Some(ending) if !ending.is_half_way() => {
                let how = ending.outcome.replace('-', " ");
                Refused::new(format!("run {number} has come to its end ({how}), there is nothing to go on with"))
            }
            _ if past::goes_on(&lead.site.state, &run)? => {
                Refused::new(format!("run {number} still goes on")).hint("wait for it, or stop it with Ctrl-C")
            }
            _ => Refused::new(format!("run {number} was given up: a later run has taken its place")),
        }
        .into())
    }

    /// Whoever goes on must go on with the same script, on the same resources, which stand as the run left them.
    async fn refuse_what_has_changed(
        &self,
        lead: &Lead,
        run: &RunSummary,
        package: &Package,
        hold: &Hold,
        report: &Report,
    ) -> anyhow::Result<()> {
        let number = run.run;
        if package.digest != run.header.digest && run.header.approved.is_some() {
            let message = format!("run {number} keeps to a plan that was approved, of another build of the package");
            let hint = format!(
                "leave `--package` out to go on with the one that began it, or take it back: `backout rollback --run {number}`"
            );
            return Err(Refused::new(message).hint(hint).into());
        }
        if package.digest != run.header.digest {
            let replayed = replay::of_run(&lead.journal(), run, package, lead.script(package)?).await?;
            if let Some(difference) = replayed.differences.first() {
                let message =
                    format!("this build of the package would not have done what run {number} did: {difference}");
                return Err(Refused::new(message)
                    .hint("leave `--package` out to go on with the one that began it")
                    .into());
            }
        }
        let mut changed = site::changes(&run.header.sections, &lead.site.sections_of(package, &hold.resources));
        for standing in report.standing.iter().filter(|standing| standing.by_this_run) {
            let name = standing.resource.split_once(':').map_or("", |(_, name)| name);
            let resource = text::resource(&standing.resource);
            let services = hold.resources.service.0.values();
            if let Some(service) = services.into_iter().find(|lend| lend.id.to_string() == standing.resource) {
                match (standing.state, service.access.observer.status().await) {
                    (State::Stopped, Ok(Status::Running | Status::Starting)) => {
                        changed.push(format!("{resource} was stopped by the run, and somebody has started it"));
                    }
                    (State::Started, Ok(Status::Stopped | Status::Failed)) => {
                        ui::warn(&anyhow::anyhow!("{resource} was started by the run, and is down"), None);
                    }
                    _ => {}
                }
            }
            let databases = hold.resources.database.0.values();
            if let Some(database) = databases.into_iter().find(|lend| lend.id.to_string() == standing.resource)
                && standing.state == State::Fenced
                && !database.access.observer.fenced().await.unwrap_or(true)
            {
                changed.push(format!("database {name} was fenced by the run, and somebody has lifted the fence"));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let message = format!("not all is as run {number} left it: {}", changed.join("; "));
        let hint = format!("put it back as it was, or take the run back: `backout rollback --run {number}`");
        Err(Refused::new(message).hint(hint).into())
    }

    fn skipped(&self, before: &Before, run: &RunSummary) -> anyhow::Result<Vec<String>> {
        let unfinished: Vec<String> = before.unfinished().collect();
        for step in &self.skip {
            if !unfinished.contains(step) {
                let names = if unfinished.is_empty() { "none".to_owned() } else { unfinished.join(", ") };
                let message = format!("run {} has no step `{}` that was begun and is not done", run.run, shown(step));
                return Err(Refused::new(message).hint(format!("those are: {names}")).into());
            }
        }
        Ok(self.skip.clone())
    }

    fn refuse_strange_decisions(&self, report: &Report) -> anyhow::Result<()> {
        for (number, _) in &self.decide {
            if !report.unclear.iter().any(|deed| deed.number == *number) {
                let known: Vec<String> = report.unclear.iter().map(|deed| deed.number.to_string()).collect();
                let hint = match known.is_empty() {
                    true => "every operation of this run has an end: leave `--decide` out".to_owned(),
                    false => format!("those are: {}", known.join(", ")),
                };
                let message = format!("{number} is no operation of this run whose end is not known");
                return Err(Refused::new(message).hint(hint).into());
            }
        }
        Ok(())
    }
}

/// What becomes of a run that somebody does not want to go on with.
pub enum GivenUp {
    /// It had not touched anything yet, and has ended.
    Ended(Exit),
    /// It has to be taken back, to this restore point.
    TakeBack(RunId),
}

pub async fn give_up(lead: &Lead, number: RunId) -> anyhow::Result<GivenUp> {
    let args = Args { run: Some(number), skip: vec![], decide: vec![], package: None, common: lead.common.clone() };
    let run = args.chosen(lead)?;
    let point = if run.header.restore_point == 0 { run.run } else { run.header.restore_point };
    let reader = Reader::open(&lead.journal())?;
    let memory = memory_before(&reader, &run)?;
    let before = Before::read(&lead.journal(), run.run, &memory)?;
    if before.memory.disturbances > 0 {
        return Ok(GivenUp::TakeBack(point));
    }
    let package = lead.kept(&run.header.digest, run.run)?;
    let hold = lead.hold(lead.lend(&package)?).await?;
    lead.yes_to(&format!("Give up run {number} ({}), which has touched nothing?", past::title(&run))).await?;
    let run = lead.resume(&run, &package, hold, memory, Vec::new())?;
    let outcome = Outcome::Refused("it was given up".to_owned());
    Ok(GivenUp::Ended(lead.end(&run, outcome).await.map(|_| Exit::Done)?))
}

/// Runs of a script.
pub const CAN_GO_ON: &[&str] = &["upgrade", "prepare", "rollback", "verify", "assess"];

/// What it means that steps are left out, before anything is done.
fn consequences(report: &Report, skip: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for step in skip {
        lines.push(format!("{} will not be run, and counts as done:", text::line(step, 140)));
        // Whatever comes next works on that.
        lines.extend(report::left_standing(report).iter().map(|line| format!("  stays as it is   {line}")));
    }
    lines
}
