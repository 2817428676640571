//! What the life-cycle commands have in common: from files to a run, from a run's end to an exit code.
use super::{Exit, Global, Refused, ending, past, progress::Display, state, ui};
use crate::{
    gate::Events,
    journal::{self, Approved, Reader, RunId, RunSummary},
    package::Package,
    report::{markdown, text},
    resource::{ResourceId, Resources, channel::Occasion, run::Memory},
    run::{
        Before, Hold, LockError, Phase, Run,
        life_cycle::{Outcome, Plans},
        restore_point::{self, Point},
    },
    site::Site,
};
use anyhow::Context;
use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Arguments of every command that leads a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// Do not ask before anything changes
    #[arg(short, long)]
    pub yes: bool,
    /// An approval that was given beforehand: who approves in which role
    #[arg(long, value_name = "ROLE=NAME")]
    pub approve: Vec<String>,
}

/// A command that is about to lead a run.
pub struct Lead {
    pub global: Global,
    pub common: Common,
    pub site: Site,
    /// What somebody says of operations that nobody else can tell, by the numbers of the entries with which they began.
    pub decisions: BTreeMap<i64, bool>,
    /// The plan to which a run is bound.
    pub approved: Option<Box<Approved>>,
    pub(super) events: Events,
    pub(super) cancel: CancellationToken,
    pub(super) display: Display,
}

/// Runs an async command with a runtime of its own, and with what stops it: Ctrl-C and SIGTERM at the next boundary in the
/// journal, a lost terminal never.
pub fn lead<F>(global: &Global, common: Common, command: impl FnOnce(Lead) -> F) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<Exit>>,
{
    let site = Site::load(&global.site)?;
    state::make_private(&site.state)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let done = runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signals(cancel.clone())?;
        let events = Events::default();
        let display = Display::start(&events, global.verbose);
        let decisions = BTreeMap::new();
        let global = global.clone();
        command(Lead { global, common, site, decisions, approved: None, events, cancel, display }).await
    });
    // A question that nobody will answer any more still waits for its line.
    runtime.shutdown_background();
    done
}

fn stop_on_signals(cancel: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("watch for SIGHUP")?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                // A lost terminal stops nothing.
                _ = hangup.recv() => continue,
            }
            if cancel.is_cancelled() {
                ui::say("still finishing what must not be cut off");
            } else {
                ui::say("stopping as soon as it is safe");
                cancel.cancel();
            }
        }
    });
    Ok(())
}

/// Nobody else changes these from here on; whoever does now is named.
pub async fn hold(site: &Site, resources: Resources) -> anyhow::Result<Hold> {
    Hold::take(&site.state, resources).await.map_err(|error| match error {
        LockError::Held { .. } => {
            Refused::new(error.to_string()).hint("wait for that run, or stop it with Ctrl-C").into()
        }
        other => anyhow::Error::new(other),
    })
}

impl Lead {
    pub fn journal(&self) -> PathBuf {
        self.site.state.join("journal.db")
    }

    /// Everything that the journal knows of restore points; none without a journal.
    pub fn points(&self) -> anyhow::Result<Vec<Point>> {
        let path = self.journal();
        if !path.exists() {
            return Ok(Vec::new());
        }
        Ok(restore_point::points(&Reader::open(&path)?.since(0)?))
    }

    /// Whoever goes on, takes back or frees copies acts on what the journal says: it must be the one that was written.
    pub fn refuse_another_past(&self) -> anyhow::Result<()> {
        let audit = journal::audit(&self.journal(), &[])?;
        let Some(finding) = audit.findings.first() else { return Ok(()) };
        let message = format!("the journal is not what was written, so nobody knows what was done: {finding}");
        Err(Refused::new(message).hint("`backout audit` tells all that is wrong with it").into())
    }

    /// Whether no run has touched the product since one that came to a good end, so that nobody needs the way back.
    pub fn in_order(&self, point: &Point) -> anyhow::Result<bool> {
        let reader = Reader::open(&self.journal())?;
        let mut in_order = true;
        // Oldest first: the last word counts.
        for run in reader.runs()?.iter().rev() {
            // The copies of older ones are freed with it.
            let of = if run.header.restore_point == 0 { run.run } else { run.header.restore_point };
            if run.header.package != point.package || of > point.run {
                continue;
            }
            in_order = match run.ending.as_ref().map(|ending| ending.outcome.as_str()) {
                Some("upgraded" | "rolled-back" | "prepared") => true,
                // Whether the product passes says nothing about what a run left half-way.
                Some("verified" | "unverified") => in_order,
                _ => in_order && !past::report(&reader, run.run, None)?.touched(),
            };
        }
        Ok(in_order)
    }

    /// The package that was named, or the one that the restore point was made with.
    pub fn package(&self, named: Option<&Path>, point: Option<&Point>) -> anyhow::Result<Package> {
        match (named, point) {
            (Some(path), _) => Ok(Package::open(path)?),
            (None, Some(point)) => self.kept(&point.digest, point.run),
            (None, None) => Err(Refused::new("no package is named, and there is no restore point that would name one")
                .hint("name the package's folder")
                .into()),
        }
    }

    /// The package that a run was made with.
    pub fn kept(&self, digest: &str, run: RunId) -> anyhow::Result<Package> {
        state::open_kept(&self.site.state, digest, run)
    }

    /// Runs that did not come to their end, newest first.
    pub fn unfinished(&self) -> anyhow::Result<Vec<RunSummary>> {
        match Reader::find(&self.journal())? {
            Some(reader) => past::unfinished(&reader, &self.site.state),
            None => Ok(Vec::new()),
        }
    }

    /// What is half-way is no state to begin from.
    pub fn refuse_unfinished(&self, hold: &Hold) -> anyhow::Result<()> {
        for run in self.unfinished()? {
            // One that only planned, or only looked, has left nothing.
            let at_work = matches!(run.header.command.as_str(), "upgrade" | "prepare" | "rollback")
                && Before::read(&self.journal(), run.run, &Memory::default())?.started;
            let held: Vec<ResourceId> =
                run.header.holds.iter().filter_map(|id| ResourceId::try_from(id.clone()).ok()).collect();
            if let Some(resource) = held.iter().find(|id| at_work && hold.holds(id)) {
                let number = run.run;
                let (title, resource) = (past::title(&run), text::resource(&resource.to_string()));
                let message = format!("run {number} ({title}) did not come to its end, and holds {resource}");
                let hint = format!(
                    "`backout resume {number}` goes on with it, `backout rollback --run {number}` gives it up and takes it back"
                );
                return Err(Refused::new(message).hint(hint).into());
            }
        }
        Ok(())
    }

    /// `--yes`, or a yes on the terminal.
    pub async fn yes_to(&self, question: &str) -> anyhow::Result<()> {
        let no = |outcome: Outcome| Refused::new(outcome.ending().message).into();
        self.confirmed(question).await.map_err(no)
    }

    /// Site against package: nothing starts while a right is missing.
    pub fn lend(&self, package: &Package) -> anyhow::Result<Resources> {
        Ok(self.site.lend(package)?)
    }

    /// Before anything is read that decides: from here on nobody else changes it, also while somebody is asked.
    pub async fn hold(&self, resources: Resources) -> anyhow::Result<Hold> {
        hold(&self.site, resources).await
    }

    /// Plans; a script that cannot even plan changes nothing. `None`: the run has ended.
    pub async fn plans(&self, run: &Run, phases: &[Phase]) -> anyhow::Result<Result<Plans, Exit>> {
        match run.plans(phases).await {
            Ok(plans) => Ok(Ok(plans)),
            Err(halt) => Ok(Err(self.end(run, run.before_anything(halt)).await?)),
        }
    }

    /// A blocker refuses, and so does what is riskier than the site allows.
    pub fn too_risky(&self, package: &Package, plans: &Plans) -> Option<String> {
        const ORDER: [&str; 4] = ["low", "medium", "high", "blocker"];
        let rank = |severity: &str| ORDER.iter().position(|s| *s == severity).unwrap_or(ORDER.len());
        let most = self.site.allows(package).and_then(|allow| allow.require.max_risk);
        let bar = rank(most.map_or("high", |most| most.as_str()));
        let worst = plans.risks.iter().max_by_key(|r| rank(&r.severity)).filter(|r| rank(&r.severity) > bar)?;
        Some(format!("a risk is too high: {} {}: {}", worst.severity, worst.subject, worst.detail))
    }

    /// Shows the plan and asks. `Err`: nothing shall happen, and the run ends like that. Whoever has it gone on with has agreed
    /// to it already.
    pub async fn agreed(&self, run: &Run, plans: &Plans, question: &str) -> Result<(), Outcome> {
        if run.before().is_none_or(|before| !before.started) {
            self.display.plan(plans);
            self.confirmed(question).await?;
        }
        run.tell_start();
        Ok(())
    }

    /// `--yes`, or a yes on the terminal. Without a terminal there is nobody to ask, which refuses.
    pub async fn confirmed(&self, question: &str) -> Result<(), Outcome> {
        if self.common.yes {
            return Ok(());
        }
        let (display, question, moot) = (self.display.clone(), question.to_owned(), self.cancel.clone());
        let answer = tokio::select! {
            answer = tokio::task::spawn_blocking(move || display.confirm(&question, &moot)) => answer,
            () = self.cancel.cancelled() => Ok(Ok(false)),
        };
        let why = match answer {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => "declined".to_owned(),
            Ok(Err(error)) => match error.downcast_ref::<Refused>().and_then(|refused| refused.hint.as_deref()) {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        Err(Outcome::Refused(why))
    }

    /// On the channels of the site, before it is over: what could not be told stands in the report, and changes nothing.
    async fn tell_end(&self, run: &Run, outcome: &Outcome) {
        if !run.is_told() {
            return;
        }
        let occasions: &[Occasion] = match outcome {
            Outcome::Stopped(_) | Outcome::InDoubt(_) => &[Occasion::NeedsPeople, Occasion::Failed, Occasion::End],
            Outcome::TurnedBack(_) | Outcome::RolledBack => &[Occasion::RolledBack, Occasion::End],
            Outcome::Refused(_) | Outcome::Unverified(_) => &[Occasion::Failed, Occasion::End],
            _ => &[Occasion::End],
        };
        run.flush().await;
        let ending = outcome.ending();
        let report = Reader::open(&self.journal()).and_then(|reader| past::report(&reader, run.id(), Some(outcome)));
        let (text, markdown) = match report {
            Ok(report) => (ending::text(&report, None), Some(markdown(&report))),
            Err(_) => (format!("{}: {}", ending.outcome, ending.message), None),
        };
        run.tell_end(occasions, &ending.outcome, text, markdown).await;
    }

    /// Ends the run, writes its report, tells people where things stand.
    pub async fn end(&self, run: &Run, outcome: Outcome) -> anyhow::Result<Exit> {
        let outcome = run.put_right(outcome).await;
        self.tell_end(run, &outcome).await;
        let outcome = match run.end(&outcome.ending()).await {
            Ok(()) => outcome,
            // Nothing counts as done that is not written down.
            Err(error) => {
                let (ending, error) = (outcome.ending(), error.to_string());
                let message = if ending.message.is_empty() { ending.outcome } else { ending.message };
                Outcome::Stopped(match message.contains(&error) {
                    true => message,
                    false => format!("the end of the run could not be written ({message}): {error}"),
                })
            }
        };
        let folder = self.site.state.join("runs").join(run.id().to_string());
        let report = Reader::open(&self.journal()).and_then(|reader| past::report(&reader, run.id(), Some(&outcome)));
        self.display.finish();
        // What the journal holds is safe, and the exit code true, also where no report can be written.
        match report {
            Ok(report) => {
                let kept = state::keep_report(&report, &folder);
                if self.global.json {
                    ui::json(&report)?;
                } else {
                    ui::result(&ending::text(&report, kept.is_ok().then_some(&folder)));
                }
                if let Err(error) = kept {
                    let hint = format!("`backout show {}` shows it as soon as there is room", run.id());
                    ui::warn(&error.context("the report could not be written"), Some(&hint));
                }
            }
            Err(error) => {
                let ending = outcome.ending();
                ui::result(&format!("{}: {}", ending.outcome, ending.message));
                ui::warn(&anyhow::Error::new(error).context("the report could not be made"), None);
            }
        }
        Ok(exit(&outcome))
    }
}

pub fn exit(outcome: &Outcome) -> Exit {
    match outcome.ending().exit {
        0 => Exit::Done,
        3 => Exit::Refused,
        4 => Exit::RolledBack,
        6 => Exit::InDoubt,
        10 => Exit::Findings,
        _ => Exit::Stopped,
    }
}
