use super::{
    Exit, Global, Refused,
    columns::columns,
    cut_off,
    lead::{self, Common, Lead},
    schema, ui,
};
use crate::{
    diagnostic::units,
    journal::{Ending, Header, Rehearsal, RehearsedStep},
    package::Package,
    rehearse::{self, Came, Finding, Kind, Rehearsed, Room, Scratch, Stage, StandIns},
    report::text,
    resource::{CallCtx, Kind as _, Pace, ResourceId, Service, Tool, run::Facts},
    run::Run,
};
use std::{
    fmt::Write,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Try an upgrade and its rollback on copies of the databases and trees
///
/// Each database and tree that the package uses is copied into the site's state folder, and is itself only read. The real
/// upgrade runs on the copies, then the rollback, and what differs afterwards from what was copied is a finding (exit code 10).
/// All other resources are the twins that the site declares (`rehearse = "NAME"`); without one they are simulated, and named. Nothing is left of it but its times, which the next plan reckons with.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The package: a folder with a package.toml
    package: PathBuf,
    /// How much of what is live is read in a second, at the most; 0: as fast as it goes
    #[arg(long, value_name = "SIZE", default_value = "50MB", value_parser = units::bytes)]
    rate: u64,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        // The product comes first. Where it may not be lowered, it stays.
        let _ = rustix::process::setpriority_process(None, 19);
        lead::lead(global, Common::default(), async |lead| {
            let package = Package::open(&self.package)?;
            let stand_ins = StandIns::of(&lead.site, &package)?;
            lead.site.upgradable(&package)?;
            lead.site.survey().none_or()?;
            let mut scratch = Scratch::claim(&lead.site).await.map_err(told)?;
            cut_off::close_rehearsals(&lead)?;
            let mut run = None;
            let done = Box::pin(self.rehearse(&lead, &package, stand_ins, (&mut scratch, &mut run))).await;
            lead.display.finish();
            let cleared = scratch.clear().await.map_err(told);
            let ending = match &done {
                Ok((done, _)) => done.ending(),
                Err(error) => failed(error),
            };
            if let Some(run) = &run {
                run.end(&ending).await?;
            }
            let (done, room) = done?;
            cleared?;
            match &run {
                Some(run) => done.tell(&lead, run, &room),
                None => Ok(Exit::Error),
            }
        })
    }

    async fn rehearse(
        &self,
        lead: &Lead,
        package: &Package,
        stand_ins: StandIns,
        (scratch, begun): (&mut Scratch, &mut Option<Run>),
    ) -> anyhow::Result<(Done, Room)> {
        let call = |what: &str| CallCtx {
            cancel: lead.cancel.clone(),
            ..CallCtx::aside(format!("rehearsal/{what}"), Duration::from_secs(24 * 3600))
        };
        // No run may change anything while it is copied.
        let mut hold = lead.hold(lead.lend(package)?).await?;
        hold.tell("a rehearsal, which copies it")?;
        lead.refuse_unfinished(&hold)?;
        schema::refuse_another(package, &hold.resources).await?;
        let from_version = lead.site.installed_version()?.unwrap_or_default();
        let room = Room::reckon(&lead.site, &stand_ins.copies, &call("look")).await.map_err(told)?;
        ui::say(&announcement(&room, self.rate));
        let script = lead.script(package)?;
        let mut facts = lead.facts(package, &from_version)?;
        // What is simulated migrates no copy.
        if stand_ins.simulated.iter().any(|id| matches!(id.kind.as_str(), Tool::NAME | Service::NAME)) {
            facts.schemas.clear();
        }
        let run = begun.insert(lead.begin_beside("rehearse", header(package, &facts))?);
        scratch.name(run.id()).map_err(told)?;
        scratch.make(&lead.site, &stand_ins.copies).map_err(told)?;
        scratch.let_in(&lead.site).map_err(told)?;
        let began = Instant::now();
        let pace = Arc::new(Pace::new(self.rate));
        let copied = rehearse::make(&lead.site, &stand_ins.copies, &pace, &call("copy")).await.map_err(told)?;
        drop(hold);
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        ui::say(&format!("copied in {}; from here on nothing live is touched", text::duration(millis)));
        let (twins, simulated) = (stand_ins.twins.clone(), stand_ins.simulated.clone());
        let stage = Stage {
            site: &lead.site,
            package,
            script,
            facts,
            limits: super::begin::limits(&lead.site.limits),
            events: lead.events.clone(),
            cancel: lead.cancel.clone(),
            stand_ins,
            copied,
        };
        let came = stage.play(|plans| lead.too_risky(package, plans)).await.map_err(told)?;
        let done = Done { came, twins: twins.into_iter().collect(), simulated: simulated.into_iter().collect() };
        Ok((done, room))
    }
}

struct Done {
    came: Came,
    twins: Vec<ResourceId>,
    simulated: Vec<ResourceId>,
}

impl Done {
    fn exit(&self) -> Exit {
        if self.came.findings.is_empty() { Exit::Done } else { Exit::Findings }
    }

    fn tell(&self, lead: &Lead, run: &Run, room: &Room) -> anyhow::Result<Exit> {
        let header = run.header();
        if lead.global.json {
            ui::json(&Rehearsed {
                run: run.id(),
                package: &header.package,
                version: &header.version,
                digest: &header.digest,
                from_version: &header.from_version,
                room,
                twins: self.twins.iter().collect(),
                simulated: self.simulated.iter().collect(),
                came: &self.came,
            })?;
        } else {
            ui::result(&self.text(header));
        }
        Ok(self.exit())
    }

    fn ending(&self) -> Ending {
        let findings: Vec<String> = self.came.findings.iter().map(line).collect();
        let message = match findings.len() {
            0 => String::new(),
            n => format!("{}: {}", text::counted(n as u64, "finding", "findings"), findings.join("; ")),
        };
        let rehearsal = Rehearsal {
            findings,
            simulated: self.simulated.iter().map(ToString::to_string).collect(),
            steps: self.came.steps.clone(),
        };
        Ending {
            outcome: "rehearsed".to_owned(),
            exit: self.exit() as u8,
            message,
            rehearsal: Some(Box::new(rehearsal)),
        }
    }

    fn text(&self, header: &Header) -> String {
        let from = match header.from_version.as_str() {
            "" => String::new(),
            version => format!("{version} → "),
        };
        let mut out = format!("{} {from}{}   rehearsed on copies\n", header.package, header.version);
        // Writing into a string cannot fail.
        for (what, ids) in [("twins", &self.twins), ("simulated", &self.simulated)] {
            let ids: Vec<String> = ids.iter().map(|id| format!("{} {}", id.kind, id.name)).collect();
            if !ids.is_empty() {
                let _ = writeln!(out, "{what}: {}", ids.join(", "));
            }
        }
        let steps: Vec<Vec<String>> = self.came.steps.iter().map(step).collect();
        let _ = write!(out, "\n{}\n", columns(&steps));
        let _ = writeln!(out, "upgrade: {}", self.came.upgrade.outcome);
        if let Some(rollback) = &self.came.rollback {
            let _ = writeln!(out, "rollback: {}", rollback.outcome);
        }
        for finding in &self.came.findings {
            let _ = writeln!(out, "✗ {:<16}  {}", finding.what.as_str(), line(finding));
        }
        out += match self.came.findings.len() {
            0 => "everything is as it was copied\n".to_owned(),
            n => format!("{}\n", text::counted(n as u64, "finding", "findings")),
        }
        .as_str();
        out
    }
}

fn header(package: &Package, facts: &Facts) -> Header {
    Header {
        package: facts.package.clone(),
        version: facts.version.clone(),
        digest: package.digest.clone(),
        from_version: facts.from_version.clone(),
        to_version: facts.to_version.clone(),
        ..Header::default()
    }
}

/// Of one that did not come to its end.
fn failed(error: &anyhow::Error) -> Ending {
    let (outcome, message) = ("failed".to_owned(), text::line(&format!("{error:#}"), 600));
    Ending { outcome, exit: 1, message, ..Ending::default() }
}

/// What was only simulated took no time that would say anything.
fn step(step: &RehearsedStep) -> Vec<String> {
    let name = text::line(&format!("{}/{}", step.phase, step.name), 80);
    match step.simulated {
        true => vec![name, String::new(), "in part simulated".to_owned()],
        false => vec![name, text::duration(step.millis), String::new()],
    }
}

fn line(finding: &Finding) -> String {
    text::line(&finding.text, 400)
}

/// Before anything is copied.
fn announcement(room: &Room, rate: u64) -> String {
    let copies = room.copies.iter().map(|(id, bytes)| format!("{} {} ({})", id.kind, id.name, text::bytes(*bytes)));
    let copies: Vec<String> = copies.collect();
    let pace = match rate {
        0 => "as fast as it goes".to_owned(),
        rate => format!("at most {} a second", text::bytes(rate)),
    };
    let (bytes, free) = (text::bytes(room.bytes), text::bytes(room.free));
    let copies = if copies.is_empty() { "nothing".to_owned() } else { copies.join(", ") };
    format!("copying {copies}, {pace}; with what the script makes of it about {bytes}, of {free} that are free")
}

fn told(error: rehearse::Error) -> anyhow::Error {
    match error.kind {
        Kind::Refused => {
            let refused = Refused::new(error.message);
            match error.hint {
                Some(hint) => refused.hint(hint).into(),
                None => refused.into(),
            }
        }
        Kind::Failed | Kind::Cancelled => error.into(),
    }
}
