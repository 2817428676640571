//! A rehearsal: the real operations of an upgrade, and of the rollback that an operator would ask for after it, on copies of the
//! databases and trees. What is live is only read.
mod copies;
mod scratch;
mod stand_ins;

pub use copies::{Room, make, need};
pub use scratch::Scratch;
pub use stand_ins::StandIns;

use crate::{
    crash,
    dry::Agreeing,
    gate::Events,
    journal::{self, Ending, Entry, Header, Reader, Recorded, RehearsedStep, RunId},
    package::Package,
    resource::{
        CallCtx, ResourceId,
        copies::Fingerprint,
        holders,
        run::{Facts, Memory},
        service::Status,
    },
    run::{
        Hold, Phase, Run, Setup,
        life_cycle::{Outcome, Plans},
        restore_point::{self, Point},
    },
    session::{Limits, Script},
    site::Site,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something is wrong with what was asked, or with what it was asked of.
    Refused,
    Failed,
    /// The operator wanted it to end.
    Cancelled,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }
    fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }
    fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "stopped as you wished; nothing of the rehearsal is left")
    }
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<crate::run::Error> for Error {
    fn from(error: crate::run::Error) -> Self {
        Self::failed(error.to_string())
    }
}
impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// What did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    NotUpgraded,
    NoWayBack,
    NotRolledBack,
    NotRestored,
    LeftStopped,
    UsesLive,
}

impl What {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUpgraded => "not-upgraded",
            Self::NoWayBack => "no-way-back",
            Self::NotRolledBack => "not-rolled-back",
            Self::NotRestored => "not-restored",
            Self::LeftStopped => "left-stopped",
            Self::UsesLive => "uses-live",
        }
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    pub what: What,
    pub text: String,
}

/// A rehearsal, for machines.
#[derive(Serialize, JsonSchema)]
pub struct Rehearsed<'r> {
    /// the run by which the journal tells of it
    pub run: RunId,
    pub package: &'r str,
    pub version: &'r str,
    pub digest: &'r str,
    pub from_version: &'r str,
    pub room: &'r Room,
    /// `kind:name`, what stood in for something live
    pub twins: Vec<&'r ResourceId>,
    /// `kind:name`, what had no twin
    pub simulated: Vec<&'r ResourceId>,
    #[serde(flatten)]
    pub came: &'r Came,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Came {
    pub upgrade: Ending,
    /// `null`: there was nothing that could be asked to go back
    pub rollback: Option<Ending>,
    pub steps: Vec<RehearsedStep>,
    pub findings: Vec<Finding>,
}

/// All that a rehearsal works with; its copies are there.
pub struct Stage<'s> {
    pub site: &'s Site,
    pub package: &'s Package,
    pub script: Script,
    pub facts: Facts,
    pub limits: Limits,
    pub events: Events,
    pub cancel: CancellationToken,
    pub stand_ins: StandIns,
    /// What the copies held when they were made.
    pub copied: BTreeMap<ResourceId, Fingerprint>,
}

/// To start or to stop what stands in for a service, and to read a copy.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

fn call(what: &str) -> CallCtx {
    CallCtx::aside(format!("rehearsal/{what}"), PATIENCE)
}

impl Stage<'_> {
    /// Upgrade, rollback, comparison. `too_risky`: why the site would not let the upgrade begin.
    pub async fn play(&self, too_risky: impl Fn(&Plans) -> Option<String>) -> Result<Came, Error> {
        let rehearsal = self.site.rehearsal();
        self.start_twins().await?;
        let services_before = self.services().await;
        crash::point("before a rehearsal begins");
        let upgrade = self.upgrade(&rehearsal, too_risky).await?;
        let mut findings = self.of_live();
        let point = self.point(&rehearsal)?;
        let rollback = match (&upgrade, &point) {
            (Outcome::Upgraded, Some(point)) => Some(self.roll_back(&rehearsal, point).await?),
            _ => None,
        };
        let mut find = |what, text: String| findings.push(Finding { what, text });
        match (&upgrade, &rollback) {
            (Outcome::Upgraded, None) => find(What::NoWayBack, "no copy was proven that a rollback could use".into()),
            (Outcome::Upgraded, Some(Outcome::RolledBack)) => {}
            (Outcome::Upgraded, Some(other)) => find(What::NotRolledBack, other.ending().message),
            (Outcome::TurnedBack(why), _) => find(What::NotUpgraded, format!("it was taken back, because {why}")),
            (other, _) => find(What::NotUpgraded, other.ending().message),
        }
        let entries = Reader::open(&rehearsal.state.join("journal.db"))?.since(0)?;
        for (id, _) in services_before.into_iter().filter(|(_, before)| *before == Status::Running) {
            let after = self.service(&id).await.map_or("gone", Status::as_str);
            if after != Status::Running.as_str() {
                find(What::LeftStopped, format!("service {} is {after}, it was running", id.name));
            }
        }
        findings.extend(self.of_live());
        findings.dedup_by(|a, b| a.text == b.text);
        // What still runs may still write.
        let ended = crate::resource::service::drivers::process::end_all(&rehearsal.state, &call("end")).await;
        ended.map_err(|failure| Error::failed(format!("a twin cannot be ended: {}", failure.message)))?;
        for (id, then) in &self.copied {
            let by = changed_by(&entries, id).map(|by| format!(" (changed first by {by})")).unwrap_or_default();
            let differences = copies::differences(&rehearsal, id, then, &self.call("compare")).await;
            let find = |line| Finding { what: What::NotRestored, text: format!("{} {}: {line}{by}", id.kind, id.name) };
            findings.extend(differences.into_iter().map(find));
        }
        self.go_on()?;
        Ok(Came {
            upgrade: upgrade.ending(),
            rollback: rollback.map(|outcome| outcome.ending()),
            steps: self.steps(&entries),
            findings,
        })
    }

    fn call(&self, what: &str) -> CallCtx {
        CallCtx { cancel: self.cancel.clone(), ..call(what) }
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// As what they stand in for: a service that runs before an upgrade runs before a rehearsal.
    async fn start_twins(&self) -> Result<(), Error> {
        for lend in self.stand_ins.resources.service.0.values() {
            let Some(twin) = self.site.twin(&lend.id) else { continue };
            let Some(section) = self.site.services.get(&lend.id.name) else { continue };
            let live = crate::resource::service::drivers::open(&lend.id.name, section, &self.site.state);
            if live.observer.status().await.is_ok_and(|status| status == Status::Running) {
                self.go_on()?;
                let started = lend.access.mutator.start(&self.call("start")).await;
                started.map_err(|failure| {
                    let message = format!("the twin {} does not start: {}", twin.name, failure.message);
                    Error::refused(message).hint("put its section in the site right")
                })?;
            }
        }
        match self.of_live().into_iter().next() {
            Some(finding) => {
                Err(Error::refused(finding.text).hint("have it use the copies: `backout rehearse --help`"))
            }
            None => Ok(()),
        }
    }

    /// What twins have open of what is live.
    fn of_live(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for id in self.copied.keys() {
            let Some(live) = live(self.site, id) else { continue };
            let holders = match id.kind.as_str() {
                "tree" => holders::below_folder(&live),
                _ => holders::of_file(&[&live]),
            };
            let own = holders.unwrap_or_default().into_iter().filter(|holder| self.is_twin(holder.pid));
            found.extend(own.map(|holder| Finding {
                what: What::UsesLive,
                text: format!("a twin, {holder}, uses {} {} itself, not its copy", id.kind, id.name),
            }));
        }
        found
    }

    /// Everything that a twin has started bears the folder of the rehearsal in its environment.
    fn is_twin(&self, pid: u32) -> bool {
        let wanted = format!("{}={}", crate::resource::tool::SCRATCH, self.site.scratch().display());
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    }

    async fn services(&self) -> BTreeMap<ResourceId, Status> {
        let mut services = BTreeMap::new();
        for lend in self.stand_ins.resources.service.0.values() {
            if let Ok(status) = lend.access.observer.status().await {
                services.insert(lend.id.clone(), status);
            }
        }
        services
    }

    async fn service(&self, id: &ResourceId) -> Option<Status> {
        let lend = self.stand_ins.resources.service.0.values().find(|lend| lend.id == *id)?;
        lend.access.observer.status().await.ok()
    }

    async fn begin(&self, rehearsal: &Site, header: Header, memory: Memory) -> Result<Run, Error> {
        let resources = self.stand_ins.resources.clone();
        let hold = Hold::take(&rehearsal.state, resources).await.map_err(|e| Error::failed(e.to_string()))?;
        let header = Header {
            package: self.facts.package.clone(),
            version: self.facts.version.clone(),
            digest: self.package.digest.clone(),
            from_version: self.facts.from_version.clone(),
            to_version: self.facts.to_version.clone(),
            ..header
        };
        let setup = Setup {
            header,
            facts: self.facts.clone(),
            memory,
            hold,
            script: Some(self.script.clone()),
            limits: self.limits,
            approver: Arc::new(Agreeing),
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        };
        Ok(Run::rehearse(&rehearsal.state, setup, self.stand_ins.parts.clone())?)
    }

    async fn upgrade(&self, rehearsal: &Site, too_risky: impl Fn(&Plans) -> Option<String>) -> Result<Outcome, Error> {
        let header = Header { command: "upgrade".to_owned(), ..Header::default() };
        let run = self.begin(rehearsal, header, Memory::default()).await?;
        let outcome = match run.plans(&[Phase::Prepare, Phase::Upgrade, Phase::Verify, Phase::Rollback]).await {
            Ok(plans) => match too_risky(&plans) {
                Some(risk) => Outcome::Refused(risk),
                None => run.upgrade(&plans).await,
            },
            Err(halt) => run.before_anything(halt),
        };
        self.finish(&run, outcome).await
    }

    async fn roll_back(&self, rehearsal: &Site, point: &Point) -> Result<Outcome, Error> {
        let header = Header { command: "rollback".to_owned(), restore_point: point.run, ..Header::default() };
        let run = self.begin(rehearsal, header, point.memory()).await?;
        let settled = run.settle(&point.restore_point().unsettled).await;
        let inspected = match settled {
            Ok(()) => run.inspect().await,
            Err(halt) => Err(halt),
        };
        let planned = match inspected {
            Ok(()) => run.plan(Phase::Rollback, true).await,
            Err(halt) => Err(halt),
        };
        let outcome = match planned {
            Ok(steps) => run.roll_back(&steps, &[]).await,
            Err(halt) => run.before_anything(halt),
        };
        self.finish(&run, outcome).await
    }

    async fn finish(&self, run: &Run, outcome: Outcome) -> Result<Outcome, Error> {
        let (outcome, written) = run.finish(outcome).await;
        self.go_on()?;
        written?;
        Ok(outcome)
    }

    fn point(&self, rehearsal: &Site) -> Result<Option<Point>, Error> {
        let entries = Reader::open(&rehearsal.state.join("journal.db"))?.since(0)?;
        Ok(restore_point::points(&entries).into_iter().next_back())
    }

    fn steps(&self, entries: &[Recorded]) -> Vec<RehearsedStep> {
        let ended = |recorded: &Recorded| match &recorded.entry {
            Entry::StepEnded { result: Ok(()), millis, .. } => Some(RehearsedStep {
                phase: recorded.place.phase.clone(),
                name: recorded.place.step.clone(),
                millis: *millis,
                rolled_back: recorded.place.rolled_back,
                simulated: !self.stand_ins.parts.was_real(&recorded.place),
            }),
            _ => None,
        };
        entries.iter().filter_map(ended).collect()
    }
}

fn live(site: &Site, id: &ResourceId) -> Option<PathBuf> {
    match id.kind.as_str() {
        "tree" => site.trees.get(&id.name).map(|section| section.path.clone()),
        _ => site.databases.get(&id.name).and_then(|section| section.driver.path().map(Path::to_owned)),
    }
}

/// The call that may have changed it first.
fn changed_by(entries: &[Recorded], id: &ResourceId) -> Option<String> {
    let id = id.to_string();
    entries.iter().find_map(|recorded| match &recorded.entry {
        Entry::Intent(request) if request.changes.contains(&id) => {
            Some(format!("{}: {} {}", recorded.place.title(), request.operation, request.label))
        }
        _ => None,
    })
}
