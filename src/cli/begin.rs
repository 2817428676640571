//! From a package and what is held for it to a run: one that begins, or one that goes on.
use super::{Refused, lead::Lead, people::People, state, ui};
use crate::{
    gate::{Events, Quota},
    journal::{Header, Reader, Resumption, RunSummary},
    package::Package,
    resource::{
        channel,
        process::own_executable,
        run::{Approver, Facts, Memory},
    },
    run::{
        Audience, Hold, Run, Setup,
        restore_point::{self, Point},
    },
    session::{Engine, Limits, Script},
    site,
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::Path,
    sync::Arc,
    time::Duration,
};

impl Lead {
    pub fn script(&self, package: &Package) -> anyhow::Result<Script> {
        script(&self.site.state.join("cache"), package, self.site.limits.compile)
    }

    pub fn facts(&self, package: &Package, from_version: &str) -> anyhow::Result<Facts> {
        Ok(Facts {
            package: package.manifest.name.clone(),
            version: package.manifest.version.to_string(),
            from_version: from_version.to_owned(),
            to_version: package.manifest.version.to_string(),
            settings: self.site.settings(package)?,
            payloads: package.payloads.clone(),
            schemas: package.manifest.schemas.iter().map(|s| (s.label.clone(), s.revisions.clone())).collect(),
        })
    }

    /// Begins the run of a script.
    pub fn begin(&self, command: &str, package: &Package, hold: Hold, point: Option<&Point>) -> anyhow::Result<Run> {
        self.begin_at(command, package, hold, point, None)
    }

    /// `first_step`: those before it are taken as done.
    pub fn begin_at(
        &self,
        command: &str,
        package: &Package,
        hold: Hold,
        point: Option<&Point>,
        first_step: Option<&str>,
    ) -> anyhow::Result<Run> {
        let script = self.script(package)?;
        let from_version = match point {
            Some(point) => point.from_version.clone(),
            None => self.site.installed_version()?.unwrap_or_default(),
        };
        if point.is_none() {
            self.site.upgradable(package)?;
            // What could not be exchanged is found before the upgrade, not by its rollback.
            self.site.survey().none_or()?;
            state::keep_package(&self.site.state, package)?;
        }
        let facts = self.facts(package, &from_version)?;
        let header = Header {
            package: facts.package.clone(),
            version: facts.version.clone(),
            digest: package.digest.clone(),
            from_version,
            to_version: facts.to_version.clone(),
            sections: self.site.sections_of(package, &hold.resources),
            first_step: first_step.unwrap_or_default().to_owned(),
            ..self.header(command, point)
        };
        let memory = point.map(Point::memory).unwrap_or_default();
        self.start(Setup {
            header,
            facts,
            memory,
            hold,
            script: Some(script),
            limits: limits(&self.site.limits),
            approver: self.people(),
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        })
    }

    /// Goes on with a run. `memory`: of its restore point, as it was before the run began.
    pub fn resume(
        &self,
        run: &RunSummary,
        package: &Package,
        hold: Hold,
        memory: Memory,
        skip: Vec<String>,
    ) -> anyhow::Result<Run> {
        let resumption = Resumption {
            digest: package.digest.clone(),
            site: self.site.digest.clone(),
            backout: env!("CARGO_PKG_VERSION").to_owned(),
            skip,
        };
        let setup = Setup {
            header: run.header.clone(),
            facts: self.facts(package, &run.header.from_version)?,
            memory,
            hold,
            script: Some(self.script(package)?),
            limits: Limits::of(&run.header.limits),
            approver: self.people(),
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        };
        Ok(self.told(Run::resume(&self.site.state, run.run, resumption, setup)?))
    }

    /// Begins a run of the host alone.
    pub fn begin_without_script(&self, command: &str, hold: Hold, point: Option<&Point>) -> anyhow::Result<Run> {
        let mut header = self.header(command, point);
        if let Some(point) = point {
            header.package = point.package.clone();
            header.from_version = point.from_version.clone();
            header.to_version = point.to_version.clone();
        }
        self.begin_headed(header, hold, point)
    }

    /// The same, of a run that goes back to nothing; of one package, or of several when it is empty.
    pub fn begin_tidying(&self, command: &str, hold: Hold, package: &str) -> anyhow::Result<Run> {
        let header = Header { package: package.to_owned(), ..self.header(command, None) };
        self.begin_headed(header, hold, None)
    }

    fn begin_headed(&self, header: Header, hold: Hold, point: Option<&Point>) -> anyhow::Result<Run> {
        self.start(Setup {
            header,
            facts: Facts::default(),
            memory: point.map(Point::memory).unwrap_or_default(),
            hold,
            script: None,
            limits: Limits::default(),
            approver: self.people(),
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        })
    }

    /// Begins a run that does nothing to the product. `header` says of what it is.
    pub fn begin_beside(&self, command: &str, header: Header) -> anyhow::Result<Run> {
        let Header { command, site, host, seed, backout, .. } = self.header(command, None);
        self.start(Setup {
            header: Header { command, site, host, seed, backout, ..header },
            facts: Facts::default(),
            memory: Memory::default(),
            hold: Hold::default(),
            script: None,
            limits: Limits::default(),
            approver: self.people(),
            events: Events::default(),
            cancel: self.cancel.clone(),
        })
    }

    fn start(&self, setup: Setup) -> anyhow::Result<Run> {
        Ok(self.told(Run::begin(&self.site.state, setup)?))
    }

    /// Who cannot be told keeps no run from its work.
    fn told(&self, run: Run) -> Run {
        let mut audience = Vec::new();
        for (name, section) in self.site.channels.iter().filter(|(_, section)| !section.on.is_empty()) {
            match channel::drivers::open(name, section) {
                Ok(access) => audience.push(Audience {
                    name: name.clone(),
                    on: section.on.clone(),
                    within: section.within,
                    access,
                }),
                Err(failure) => ui::warn(&anyhow::anyhow!("nobody is told on channel {name}: {failure}"), None),
            }
        }
        run.tell_on(audience);
        run
    }

    fn header(&self, command: &str, point: Option<&Point>) -> Header {
        Header {
            command: command.to_owned(),
            site: self.site.digest.clone(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            seed: RandomState::new().build_hasher().finish(),
            backout: env!("CARGO_PKG_VERSION").to_owned(),
            restore_point: point.map_or(0, |p| p.run),
            approved: self.approved.clone(),
            ..Header::default()
        }
    }

    fn people(&self) -> Arc<dyn Approver> {
        let given = self.common.approve.iter().filter_map(|pair| pair.split_once('='));
        let given = given.map(|(role, name)| (role.to_owned(), name.to_owned())).collect();
        let (decisions, display, cancel) = (self.decisions.clone(), self.display.clone(), self.cancel.clone());
        let answers = self.site.answers().unwrap_or_else(|failure| {
            ui::warn(&anyhow::anyhow!("answers are taken on the terminal only: {failure}"), None);
            None
        });
        Arc::new(People { given, decisions, display, cancel, answers, within: self.site.answering.within })
    }
}

/// Compiles the script, or finds it in the cache.
pub fn script(cache: &Path, package: &Package, limit: Option<Duration>) -> anyhow::Result<Script> {
    let engine = Engine::new(cache)?.compiling_apart(own_executable(), limit);
    Ok(engine.load(&package.script).map_err(|e| Refused::new(e.to_string()))?)
}

/// What was known of its restore point before a run began.
pub fn memory_before(reader: &Reader, run: &RunSummary) -> anyhow::Result<Memory> {
    let point = run.header.restore_point;
    if point == 0 {
        return Ok(Memory::of(run.run));
    }
    let mut earlier = reader.since(point)?;
    let first = earlier.iter().find(|recorded| recorded.run == run.run).map_or(i64::MAX, |first| first.id);
    earlier.retain(|recorded| recorded.id < first);
    let points = restore_point::points(&earlier);
    Ok(points.iter().find(|p| p.run == point).map(Point::memory).unwrap_or_else(|| Memory::of(point)))
}

/// What the site does not limit otherwise is limited as it always is.
pub fn limits(site: &site::Limits) -> Limits {
    let usual = Limits::default();
    let quota = Quota {
        calls: site.host_calls.unwrap_or(usual.quota.calls),
        log_bytes: site.log_bytes.unwrap_or(usual.quota.log_bytes),
        store_bytes: site.store_bytes.unwrap_or(usual.quota.store_bytes),
        wall: site.time.unwrap_or(usual.quota.wall),
        ..usual.quota
    };
    Limits { memory: site.memory.unwrap_or(usual.memory), cpu: site.cpu.unwrap_or(usual.cpu), quota, ..usual }
}
