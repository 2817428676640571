//! What takes the place of a site's resources in a rehearsal: copies of databases and trees, and the twins of all else.
use super::{
    Site,
    agree::{named, words},
    path,
};
use crate::{
    diagnostic::{Mistake, shown},
    resource::{ResourceId, database, metrics, service, tool::SCRATCH},
};
use std::path::{Path, PathBuf};

/// The kinds of resources that a twin may stand for.
pub(super) const KINDS: [&str; 4] = ["service", "metrics", "probe", "tool"];

impl Site {
    /// The folder of a rehearsal. It is always the same one, so that a twin can be told of it.
    pub fn scratch(&self) -> PathBuf {
        self.state.join("rehearsal")
    }

    /// Where the copy of a database or tree is while a rehearsal goes on.
    pub fn scratch_of(&self, id: &ResourceId) -> Option<PathBuf> {
        match id.kind.as_str() {
            "database" => {
                let path = self.databases.get(&id.name)?.driver.path()?;
                Some(self.scratch().join("databases").join(&id.name).join(path.file_name()?))
            }
            "tree" => self.trees.get(&id.name).map(|_| self.scratch().join("trees").join(&id.name)),
            _ => None,
        }
    }

    /// What takes the place of a resource in a rehearsal.
    pub fn twin(&self, id: &ResourceId) -> Option<ResourceId> {
        self.twins.get(id).map(|twin| ResourceId::new(id.kind.as_str(), twin.value.as_str()))
    }

    /// Whether it is there for rehearsals alone.
    pub fn is_twin(&self, id: &ResourceId) -> bool {
        self.twins.iter().any(|(of, twin)| of.kind == id.kind && twin.value == id.name)
    }

    /// This site as a rehearsal has it. What has no twin is as it was.
    pub fn rehearsal(&self) -> Self {
        let mut site = self.clone();
        site.state = self.scratch().join("state");
        for (name, section) in &mut site.databases {
            // What a rehearsal copies is nobody's way back.
            section.method = database::Method::StandBy;
            if let (database::Driver::Sqlite { path }, Some(copy)) =
                (&mut section.driver, self.scratch_of(&ResourceId::new("database", name)))
            {
                *path = copy;
            }
            if let Some(copy) = database::drivers::rehearsed(section) {
                *section = copy;
            }
        }
        for (name, section) in &mut site.trees {
            section.archive = None;
            if let Some(copy) = self.scratch_of(&ResourceId::new("tree", name)) {
                section.path = copy;
            }
        }
        let scratch = || (SCRATCH.to_owned(), self.scratch().display().to_string());
        for (id, twin) in &self.twins {
            let (name, twin) = (id.name.clone(), &twin.value);
            match id.kind.as_str() {
                "service" => {
                    let (Some(of), Some(twin)) = (self.services.get(&name), self.services.get(twin)) else { continue };
                    let mut section = service::Section { uses: of.uses.clone(), ..twin.clone() };
                    if let service::Driver::Process(process) = &mut section.driver {
                        process.env.extend([scratch()]);
                    }
                    site.services.insert(name, section);
                }
                "tool" => {
                    let (Some(of), Some(twin)) = (self.tools.get(&name), self.tools.get(twin)) else { continue };
                    let mut section = twin.clone();
                    section.uses = of.uses.clone();
                    section.env.extend([scratch()]);
                    site.tools.insert(name, section);
                }
                "metrics" => drop(self.metrics.get(twin).map(|twin| site.metrics.insert(name, twin.clone()))),
                _ => drop(self.probes.get(twin).map(|twin| site.probes.insert(name, twin.clone()))),
            }
        }
        site
    }

    /// Whether a resource of these kinds is simulated in a rehearsal. What is told of this machine is true there as well.
    pub fn is_simulated(&self, id: &ResourceId) -> bool {
        let metrics = || self.metrics.get(&id.name).map(|section| &section.driver);
        match id.kind.as_str() {
            "channel" => true,
            _ if !KINDS.contains(&id.kind.as_str()) || self.twins.contains_key(id) => false,
            "metrics" => match metrics() {
                Some(metrics::Driver::Host { .. }) => false,
                Some(metrics::Driver::Process { service }) => {
                    !self.twins.contains_key(&ResourceId::new("service", service))
                }
                _ => true,
            },
            _ => true,
        }
    }

    /// A twin that worked on what is live would make a rehearsal what it must never be.
    pub(super) fn twin_mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (of, at) in &self.twins {
            let twin = ResourceId::new(of.kind.as_str(), at.value.as_str());
            let mut wrong = |message: String, hint: String| {
                mistakes.push(Mistake::new(message).at(&at.location).hint(hint));
            };
            if twin == *of {
                wrong(format!("{} cannot be its own twin", words(of)), format!("add a section `[{}.…]`", of.kind));
                continue;
            }
            if let Some(other) = self.twins.get(&twin) {
                let other = shown(&other.value);
                wrong(format!("{} is a twin, and has a twin `{other}` itself", words(&twin)), "leave one out".into());
            }
            let driver = self.services.get(&twin.name).map(|section| &section.driver);
            if of.kind == "service" && driver.is_some_and(|driver| !matches!(driver, service::Driver::Process(_))) {
                let hint = "a rehearsal ends all that it has started: say `driver = \"process\"`";
                wrong(format!("the twin {} is no process that Backout supervises", words(&twin)), hint.into());
            }
            if self.uses(&twin).is_some_and(|uses| !uses.is_empty()) {
                let hint = format!("leave `uses` out: it uses the copies of what {} uses", words(of));
                wrong(format!("the twin {} would use what is live", words(&twin)), hint);
            }
            for (word, live) in self.live_words(&twin) {
                let message =
                    format!("the twin {} names {}, which is of the live {}", words(&twin), shown(&word), words(&live));
                let copy = self.scratch_of(&live).unwrap_or_default();
                let copy = copy.strip_prefix(&self.dir).unwrap_or(&copy).display().to_string();
                wrong(message, format!("in a rehearsal its copy is {}", shown(&copy)));
            }
            if let (Some(live), Some(other)) = (self.probes.get(&of.name), self.probes.get(&twin.name))
                && of.kind == "probe"
                && live.url == other.url
            {
                let hint = "give it the address of what takes the place of the product";
                wrong(format!("the twin {} asks the same address as {}", words(&twin), words(of)), hint.into());
            }
            if let (Some(live), Some(other)) = (self.metrics.get(&of.name), self.metrics.get(&twin.name))
                && of.kind == "metrics"
            {
                let names = other.driver.names();
                let missing: Vec<&str> = live.driver.names().into_iter().filter(|name| !names.contains(name)).collect();
                if !missing.is_empty() {
                    let message = format!("the twin {} does not have {}", words(&twin), missing.join(", "));
                    wrong(message, format!("give it what {} has", words(of)));
                }
            }
        }
        for grant in self.allow.values().flat_map(|allow| &allow.grants).filter(|grant| self.is_twin(&grant.is)) {
            let message = format!("{} is a twin, there for rehearsals alone", words(&grant.is));
            let mistake = Mistake::new(message).at(&grant.is_location);
            mistakes.push(mistake.hint("grant what it stands for"));
        }
        mistakes
    }

    fn uses(&self, id: &ResourceId) -> Option<&[ResourceId]> {
        match id.kind.as_str() {
            "service" => self.services.get(&id.name).map(|section| section.uses.as_slice()),
            "tool" => self.tools.get(&id.name).map(|section| section.uses.as_slice()),
            _ => None,
        }
    }

    /// What a command line, its folder and its environment name of what is live.
    fn live_words(&self, id: &ResourceId) -> Vec<(String, ResourceId)> {
        let (run, dir, env): (Vec<&String>, &Path, _) = match id.kind.as_str() {
            "service" => match self.services.get(&id.name).and_then(|section| section.driver.runs()) {
                Some(runs) => (runs.lines.into_iter().flatten().collect(), runs.dir, runs.env),
                None => return Vec::new(),
            },
            "tool" => match self.tools.get(&id.name) {
                Some(tool) => {
                    let check = tool.check.iter().flat_map(|check| &check.run);
                    (tool.run.iter().chain(check).collect(), &tool.dir, &tool.env)
                }
                None => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let places = self.places();
        let of = |path: &Path| {
            let real = path::real(path);
            let place = places.iter().find(|(_, place)| path.starts_with(place) || real.starts_with(place));
            place.map(|(id, _)| id.clone())
        };
        let folder = dir.display().to_string();
        let words = run.iter().map(|word| word.as_str()).chain(env.values().map(String::as_str)).chain([&*folder]);
        // A word of a line may name several; one is enough to say that it is wrong.
        let found = |word: &str| named(word).into_iter().find_map(|part| of(&dir.join(part)));
        words.filter_map(|word| Some((word.to_owned(), found(word)?))).collect()
    }
}
