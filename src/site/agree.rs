//! What in a site file contradicts something else in it.
use super::{Site, path};
use crate::{
    diagnostic::{Mistake, shown},
    resource::{
        Failure, ResourceId, Right, channel,
        database::{self, Server},
        metrics,
        process::User,
        service::{
            Container, Driver, Facts, Image,
            drivers::{docker, systemd},
        },
        tree,
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

impl Site {
    /// The files and folders that are resources.
    pub(super) fn places(&self) -> Vec<(ResourceId, PathBuf)> {
        let databases = self.databases.iter().filter_map(|(name, section)| {
            Some((ResourceId::new("database", name), path::place(section.driver.path()?)))
        });
        let trees =
            self.trees.iter().map(|(name, section)| (ResourceId::new("tree", name), path::place(&section.path)));
        databases.chain(trees).collect()
    }

    pub(super) fn contradictions(&self) -> Vec<Mistake> {
        let mut mistakes = self.overlaps();
        mistakes.extend(self.bindings());
        mistakes.extend(self.roots());
        mistakes.extend(self.foreign_files());
        mistakes.extend(self.unapprovable());
        mistakes.extend(self.answers_by_scripts());
        mistakes.extend(self.twin_mistakes());
        mistakes
    }

    fn at(&self, mistake: Mistake, id: &ResourceId) -> Mistake {
        match self.locations.get(id) {
            Some(location) => mistake.at(location),
            None => mistake,
        }
    }

    /// What is exchanged must hold nothing that is Backout's own, nor another resource.
    fn overlaps(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let places = self.places();
        let mut seen: BTreeMap<&Path, &ResourceId> = BTreeMap::new();
        for (id, path) in &places {
            if let Some(first) = seen.insert(path, id) {
                let mistake = Mistake::new(format!("{} is the same place as {}", words(id), words(first)));
                mistakes.push(self.at(mistake.hint("keep one of them: a thing has one name on a site"), id));
                seen.insert(path, first);
            }
        }
        let mut servers: Vec<(&String, &Server)> = Vec::new();
        for (name, section) in &self.databases {
            let (database::Driver::Postgres(server) | database::Driver::MariaDb(server)) = &section.driver else {
                continue;
            };
            let same = |other: &Server| {
                (&other.host, other.port, &other.database) == (&server.host, server.port, &server.database)
            };
            if let Some((first, _)) = servers.iter().find(|(_, other)| same(other)) {
                let mistake = Mistake::new(format!("database `{name}` is the same as database `{first}`"));
                let mistake = mistake.hint("keep one of them: a thing has one name on a site");
                mistakes.push(self.at(mistake, &ResourceId::new("database", name)));
            }
            servers.push((name, server));
        }
        // A link at its end is followed: what is written goes there.
        let state = path::real(&self.state);
        for (name, tree) in &self.trees {
            let id = ResourceId::new("tree", name);
            let top = path::place(&tree.path);
            let held = |path: &Path| path.strip_prefix(&top).is_ok_and(|inner| !excluded(tree, inner));
            // While an exchange goes on, what is excluded is elsewhere for a moment; the journal must never be.
            let state = (state.starts_with(&top), "Backout's state", &state, "put it outside");
            let own = "put it outside, or name it in `exclude`";
            let file = (held(&self.path), "the site file", &self.path, own);
            // Were it excluded, it would still be carried over with what is exchanged.
            let real: Vec<PathBuf> = self.repositories.values().map(|r| path::real(&r.path)).collect();
            let archives =
                real.iter().map(|path| (path.starts_with(&top), "a repository of archives", path, "put it outside"));
            for (held, what, path, hint) in [state, file].into_iter().chain(archives) {
                if held {
                    let message = format!("{what} {} lies in {}", shown(&path.display().to_string()), words(&id));
                    let hint = format!("a rollback would take it back too: {hint}");
                    mistakes.push(self.at(Mistake::new(message).hint(hint), &id));
                }
            }
            for (other, path) in places.iter().filter(|(other, path)| *other != id && *path != top) {
                if held(path) {
                    let message = format!("{} lies in {}", words(other), words(&id));
                    let hint = format!("name it in `exclude` of {}, so that each is exchanged by itself", words(&id));
                    mistakes.push(self.at(Mistake::new(message).hint(hint), other));
                }
            }
        }
        for (id, _) in places.iter().filter(|(_, path)| path.starts_with(&state)) {
            let mistake = Mistake::new(format!("{} lies in Backout's state", words(id)));
            mistakes.push(self.at(mistake.hint("what a run changes and what it keeps must be apart"), id));
        }
        mistakes
    }

    /// Grants name resources that are there, and rights that these can give.
    fn bindings(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for grant in self.allow.values().flat_map(|allow| &allow.grants) {
            if !self.has(&grant.is) {
                let name = shown(&grant.is.name);
                let mut mistake = Mistake::new(format!("there is no {} `{name}`", grant.kind)).at(&grant.is_location);
                mistake = mistake.known(&grant.is.name, self.names(&grant.kind));
                if mistake.hint.is_none() {
                    mistake = mistake.hint(format!("add a section `[{}.{name}]`", grant.kind));
                }
                mistakes.push(mistake);
                continue;
            }
            let exclusive = match grant.kind.as_str() {
                "database" => self.databases.get(&grant.is.name).is_none_or(|section| section.exclusive),
                "tree" => self.trees.get(&grant.is.name).is_none_or(|section| section.exclusive),
                _ => true,
            };
            if !exclusive && grant.may.contains(Right::Restore) {
                let message = format!("{} is shared with others, so it cannot be restored", words(&grant.is));
                let hint = "leave out `restore`, or say `exclusive = true` if it belongs to this product alone";
                mistakes.push(Mistake::new(message).at(&grant.location).hint(hint));
            }
            let prometheus = self.metrics.get(&grant.is.name).map(|section| &section.driver);
            if grant.kind == "metrics"
                && grant.may.contains(Right::Promql)
                && !matches!(prometheus, None | Some(metrics::Driver::Prometheus(_)))
            {
                let message = format!("{} is no Prometheus, so it cannot be asked in PromQL", words(&grant.is));
                mistakes.push(Mistake::new(message).at(&grant.location).hint("leave out the right `promql`"));
            }
            let limited = self.probes.get(&grant.is.name).is_none_or(|section| section.load.is_some());
            if grant.kind == "probe" && grant.may.contains(Right::Load) && !limited {
                let message = format!("{} has no `load`, so how much load is allowed is not said", words(&grant.is));
                let hint = "add `load = { clients = 20, time = \"1m\" }` to the probe, or leave out the right";
                mistakes.push(Mistake::new(message).at(&grant.location).hint(hint));
            }
        }
        mistakes
    }

    /// Services and tools that run what a package may write into a tree.
    pub fn foreign_code(&self) -> Vec<Foreign<'_>> {
        let (trees, nothing) = (self.written(), BTreeMap::new());
        let services = self.services.iter().filter_map(|(name, section)| {
            let runs = section.driver.runs()?;
            Some((ResourceId::new("service", name), runs.lines.concat(), runs.dir, runs.env, runs.user))
        });
        let tools = self.tools.iter();
        let tools = tools.map(|(name, s)| {
            let check = s.check.iter().flat_map(|check| &check.run);
            let run: Vec<String> = s.run.iter().chain(check).cloned().collect();
            (ResourceId::new("tool", name), run, s.dir.as_path(), &s.env, s.user.as_deref())
        });
        let channels = self.channels.iter().filter_map(|(name, section)| match &section.driver {
            channel::Driver::Command(command) => {
                let channel::Command { run, dir, env, user } = command;
                Some((ResourceId::new("channel", name), run.clone(), dir.as_path(), env, user.as_deref()))
            }
            _ => None,
        });
        // Who says which image it is says which program: as root, unless the image says otherwise.
        let images = self.services.iter().filter_map(|(name, section)| {
            let Driver::Docker(Container { image: Some(Image::Release { root, file, .. }), .. }) = &section.driver
            else {
                return None;
            };
            let (tree, package) = trees.hold(std::iter::once(root.join(file)))?;
            let id = ResourceId::new("service", name);
            Some(Foreign { id, tree, package, user: Some("root".to_owned()) })
        });
        let databases = self.databases.iter().filter_map(|(name, section)| {
            let pooler = section.driver.pooler()?;
            let run = [pooler.pause.clone(), pooler.resume.clone()].concat();
            Some((ResourceId::new("database", name), run, Path::new("/"), &nothing, None))
        });
        services
            .chain(tools)
            .chain(channels)
            .chain(databases)
            .filter_map(|(id, run, dir, env, user)| {
                // The program, a script that an interpreter is given, or a folder in which it looks for one.
                let named = run.iter().chain(env.values()).flat_map(|word| named(word)).map(|path| dir.join(path));
                let (tree, package) = trees.hold(named.chain(std::iter::once(dir.to_owned())))?;
                Some(Foreign { id, tree, package, user: user.map(str::to_owned) })
            })
            .chain(images)
            .collect()
    }

    /// What is read for a service must be nothing that a script can put there: it would have Backout read it what it may not see.
    fn foreign_files(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (name, section) in &self.services {
            let id = ResourceId::new("service", name);
            for (key, path) in section.driver.reads() {
                let real = path::real(path);
                let holds =
                    |tree: &tree::Section| real.starts_with(path::place(&tree.path)) || path.starts_with(&tree.path);
                for (allow, grant) in
                    self.allow.values().flat_map(|allow| allow.grants.iter().map(move |grant| (allow, grant)))
                {
                    let writes = grant.kind == "tree" && grant.may.contains(Right::Write);
                    if writes && self.trees.get(&grant.is.name).is_some_and(holds) {
                        let tree = words(&grant.is);
                        let message =
                            format!("`{key}` of {} lies in {tree}, which `{}` may write", words(&id), allow.package);
                        mistakes.push(self.at(Mistake::new(message).hint("keep it outside of the tree"), &id));
                    }
                }
            }
        }
        mistakes
    }

    /// The same with what others keep, as far as they can be asked.
    pub fn foreign_code_here(&self) -> Vec<Foreign<'_>> {
        let units = self.kept_by_others().into_iter().filter_map(|(id, facts)| self.foreign_unit(&id, &facts.ok()?));
        self.foreign_code().into_iter().chain(units.collect::<Vec<_>>()).collect()
    }

    /// Whether a unit runs what a package may write.
    pub(super) fn foreign_unit(&self, id: &ResourceId, facts: &Facts) -> Option<Foreign<'_>> {
        let trees = self.written();
        let foreign =
            |tree, package, user: &str| Foreign { id: id.clone(), tree, package, user: Some(user.to_owned()) };
        // Whoever writes its file says who it is.
        if let Some((tree, package)) = trees.hold(facts.files.iter().cloned()) {
            return Some(foreign(tree, package, &facts.owner));
        }
        let inside =
            |path: &PathBuf| facts.root.as_ref().and_then(|root| Some(root.join(path.strip_prefix("/").ok()?)));
        let named = facts.words.iter().flat_map(|word| named(word)).map(|path| facts.dir.join(path));
        let named: Vec<PathBuf> = named.chain([facts.dir.clone()]).collect();
        let from_here = |path: &PathBuf| {
            let mounts = facts.mounts.iter().flatten();
            mounts.filter_map(|(there, here)| Some(here.join(path.strip_prefix(there).ok()?))).collect::<Vec<_>>()
        };
        let places: Vec<PathBuf> = match facts.mounts {
            Some(_) => named.iter().flat_map(from_here).collect(),
            None => {
                let rooted: Vec<PathBuf> = named.iter().filter_map(inside).chain(facts.root.clone()).collect();
                [named, rooted].concat()
            }
        };
        let (tree, package) = trees.hold(places.into_iter())?;
        Some(foreign(tree, package, &facts.user))
    }

    /// Services that others keep, who are asked now. What a twin is, nobody runs now.
    pub(super) fn kept_by_others(&self) -> Vec<(ResourceId, Result<Facts, Failure>)> {
        let here = self.services.iter().map(|(name, section)| (ResourceId::new("service", name), &section.driver));
        let asked = here.filter(|(id, _)| !self.is_twin(id)).filter_map(|(id, driver)| match driver {
            Driver::Systemd(unit) => Some((id, systemd::facts::facts(unit))),
            Driver::Docker(container) => Some((id, docker::facts::facts(container))),
            Driver::Process(_) | Driver::Command(_) => None,
        });
        asked.collect()
    }

    /// Trees that packages may write.
    fn written(&self) -> Written<'_> {
        let grants = self.allow.values().flat_map(|allow| allow.grants.iter().map(move |grant| (allow, grant)));
        let writable = grants.filter(|(_, grant)| grant.kind == "tree" && grant.may.contains(Right::Write));
        let places = writable
            .filter_map(|(allow, grant)| {
                let (name, tree) = self.trees.get_key_value(&grant.is.name)?;
                // A rehearsal writes the same into the copy.
                let places = std::iter::once(tree.path.clone()).chain(self.scratch_of(&grant.is));
                Some(places.map(|place| (name.as_str(), place, allow.package.as_str())))
            })
            .flatten();
        Written(places.collect())
    }

    fn roots(&self) -> Vec<Mistake> {
        self.foreign_code().iter().filter_map(|foreign| self.as_root(foreign)).collect()
    }

    pub(super) fn as_root(&self, foreign: &Foreign<'_>) -> Option<Mistake> {
        let root_here = rustix::process::geteuid().is_root();
        let as_root = match foreign.user.as_deref() {
            // An account of any name may be root's.
            Some(user) => user == "root" || user == "0" || User::named(user).is_ok_and(|user| user.uid == 0),
            None => root_here,
        };
        if !as_root || self.allow_root.contains(&foreign.id) {
            return None;
        }
        let message = format!("{} would run as root what `{}` may write", words(&foreign.id), foreign.package);
        let service = self.services.get(&foreign.id.name).filter(|_| foreign.id.kind == "service");
        let hint = match service.map(|section| &section.driver) {
            _ if foreign.id.kind == "database" => "keep what its `pooler` runs outside of the tree",
            Some(Driver::Systemd(_)) => {
                "say as which `User` it runs in its unit, or `allow-root = true` here if it must be root"
            }
            Some(Driver::Docker(_)) => {
                "an image says as whom it runs, or `--user` of its container: `allow-root = true` here if it must be root"
            }
            _ => "say as which `user` it runs, or `allow-root = true` if it must be root",
        };
        Some(self.at(Mistake::new(message).hint(hint), &foreign.id))
    }
}

/// Name, place and package.
struct Written<'s>(Vec<(&'s str, PathBuf, &'s str)>);

impl<'s> Written<'s> {
    /// The first tree that holds one of these, and who may write it.
    fn hold(&self, mut paths: impl Iterator<Item = PathBuf>) -> Option<(&'s str, &'s str)> {
        paths.find_map(|path| {
            let real = path::real(&path);
            let holds = |tree: &PathBuf| path.starts_with(tree) || real.starts_with(path::place(tree));
            self.0.iter().find(|(_, tree, _)| holds(tree)).map(|(tree, _, package)| (*tree, *package))
        })
    }
}

/// What a word of a command line, or a value of its environment, may name: `srv/app`, `--config=srv/app/x`, `bin:srv/app/bin`,
/// `-Isrv/app/lib`, `cd srv/app && ./run`. Rather one too many: what is no path lies in no tree.
pub(super) fn named(word: &str) -> Vec<&str> {
    let lists = word.split(['=', ':', ',']);
    let shell = word.split(|c: char| c.is_whitespace() || "=:,;&|()<>{}`$\"'".contains(c));
    let whole: Vec<&str> = std::iter::once(word).chain(lists).chain(shell).filter(|part| !part.is_empty()).collect();
    let option = whole.iter().filter(|part| part.starts_with('-')).filter_map(|part| part.get(2..));
    let absolute = whole.iter().filter_map(|part| part.find('/').map(|at| &part[at..]));
    let within: Vec<&str> = option.chain(absolute).filter(|part| !part.is_empty()).collect();
    [whole, within].concat()
}

/// A service or tool whose program a package may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign<'s> {
    pub id: ResourceId,
    /// name of the tree
    pub tree: &'s str,
    pub package: &'s str,
    pub user: Option<String>,
}

impl Foreign<'_> {
    /// As whom it runs, for people.
    pub fn runs_as(&self) -> String {
        match &self.user {
            Some(user) => format!("user {}", shown(user)),
            None if rustix::process::geteuid().is_root() => "root".to_owned(),
            None => "Backout's own user".to_owned(),
        }
    }
}

/// `database `shop-prod``
pub(super) fn words(id: &ResourceId) -> String {
    format!("{} `{}`", id.kind, shown(&id.name))
}

/// Whether a path inside a tree is excluded, or lies in what is.
fn excluded(tree: &tree::Section, inner: &Path) -> bool {
    // A pattern that is none is a mistake of its own.
    let excludes = tree::exclude::Excludes::parse(&tree.exclude).unwrap_or_default();
    let parts = inner.ancestors().filter(|part| !part.as_os_str().is_empty());
    parts.into_iter().any(|part| excludes.matches(part.as_os_str().as_encoded_bytes()))
}
