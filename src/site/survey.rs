//! Whether the host is as the site says. Apart from reading the file: in the middle of a rollback, or under a fence, it is
//! not, and the site must be readable all the same.
use super::{Site, agree::words, path};
use crate::{
    diagnostic::{Mistake, Mistakes, io_reason, shown},
    resource::{ResourceId, channel, copies, holders, tree},
};
use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

impl Site {
    /// Looks, and changes nothing.
    pub fn survey(&self) -> Mistakes {
        let mut mistakes = Mistakes::default();
        for (name, section) in &self.databases {
            if let Some(path) = section.driver.path() {
                self.note(&mut mistakes, ResourceId::new("database", name), sqlite(path));
            }
        }
        for (name, section) in &self.trees {
            self.note(&mut mistakes, ResourceId::new("tree", name), folder(section));
        }
        for repository in self.repositories.values() {
            if let Err(failure) = repository.is_there() {
                let mistake = Mistake::new(failure.message);
                mistakes.0.push(match failure.hint {
                    Some(hint) => mistake.hint(hint),
                    None => mistake,
                });
            }
        }
        for (name, section) in &self.services {
            let id = ResourceId::new("service", name);
            // What a twin runs may lie in a copy, which is not there yet.
            if !self.is_twin(&id)
                && let Some(runs) = section.driver.runs()
            {
                for line in runs.lines {
                    self.note(&mut mistakes, id.clone(), program(line, runs.dir));
                }
            }
        }
        for (id, facts) in self.kept_by_others() {
            let found = match facts {
                Ok(facts) => {
                    let foreign = self.foreign_unit(&id, &facts);
                    mistakes.0.extend(foreign.and_then(|foreign| self.as_root(&foreign)));
                    facts.trouble.map_or(Ok(()), |why| Err((why, String::new())))
                }
                Err(failure) => Err((failure.message, failure.hint.unwrap_or_default())),
            };
            self.note(
                &mut mistakes,
                id,
                found.as_ref().map_or_else(|(why, hint)| Err((why.clone(), hint.as_str())), |()| Ok(())),
            );
        }
        // A tool may come with the version that needs it.
        let coming: Vec<ResourceId> = self.foreign_code().into_iter().map(|code| code.id).collect();
        for (name, section) in &self.tools {
            let id = ResourceId::new("tool", name);
            if !coming.contains(&id) && !self.is_twin(&id) {
                self.note(&mut mistakes, id.clone(), program(&section.run, &section.dir));
                if let Some(check) = &section.check {
                    self.note(&mut mistakes, id, program(&check.run, &section.dir));
                }
            }
        }
        for (name, section) in &self.channels {
            if let channel::Driver::Command(command) = &section.driver {
                let found = program(&command.run, &command.dir);
                self.note(&mut mistakes, ResourceId::new("channel", name), found);
            }
        }
        mistakes.0.extend(self.answers_here());
        self.same_files(&mut mistakes);
        self.own_place(&mut mistakes);
        mistakes.0.extend(self.trusted().err().unwrap_or_default());
        mistakes.sort();
        mistakes
    }

    fn note(&self, mistakes: &mut Mistakes, id: ResourceId, found: Result<(), (String, &str)>) {
        if let Err((why, hint)) = found {
            let mut mistake = Mistake::new(format!("{}: {why}", words(&id)));
            if !hint.is_empty() {
                mistake = mistake.hint(hint);
            }
            if let Some(location) = self.location(&id) {
                mistake = mistake.at(location);
            }
            mistakes.0.push(mistake);
        }
    }

    /// What is written down must not lie on what a run takes back, by whatever name: the paths of the site file are compared when it
    /// is read, here what they lead to.
    fn own_place(&self, mistakes: &mut Mistakes) {
        let state = path::real(&self.state);
        let journal = identity(&state.join("journal.db"));
        let name = shown(&self.state.display().to_string());
        let hint = "a rollback would take it back too: put it outside";
        for (id, place) in self.places() {
            let is_tree = self.trees.contains_key(&id.name) && id.kind == "tree";
            let copies = place.parent().map(|folder| folder.join(copies::HOME));
            let why = if is_tree && lies_in(&state, &path::real(&place)) {
                format!("Backout's state {name} lies in it, by another name")
            } else if copies.is_some_and(|copies| lies_in(&state, &copies)) {
                format!("Backout's state {name} lies among its copies")
            } else if journal.is_some() && identity(&place) == journal {
                "it is Backout's own journal".to_owned()
            } else {
                continue;
            };
            self.note(mistakes, id, Err((why, hint)));
        }
    }

    /// Two names for one file would be exchanged twice.
    fn same_files(&self, mistakes: &mut Mistakes) {
        let mut seen: BTreeMap<(u64, u64), ResourceId> = BTreeMap::new();
        for (id, path) in self.places() {
            let Some(identity) = identity(&path) else { continue };
            if let Some(first) = seen.get(&identity) {
                let why = format!("it is the same file as {}", words(first));
                self.note(mistakes, id, Err((why, "keep one of them: a thing has one name on a site")));
            } else {
                seen.insert(identity, id);
            }
        }
    }
}

/// Which file or folder that is, whatever its name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|there| (there.dev(), there.ino()))
}

/// Whether a path without links lies in a folder, or is it: also where one of them, or a part of it, is mounted elsewhere.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let top = identity(folder);
    if top.is_some() && path.ancestors().any(|above| identity(above) == top) {
        return true;
    }
    // Without /proc nothing more can be said.
    let origin = |path: &Path| holders::origin(path).ok().flatten();
    match (origin(path), origin(folder)) {
        (Some((device, path)), Some((other, folder))) => device == other && path.starts_with(folder),
        _ => path.starts_with(folder),
    }
}

/// What is at a path, not following a link at its end.
fn there(path: &Path) -> Result<Metadata, (String, &'static str)> {
    let name = shown(&path.display().to_string());
    let metadata = path.symlink_metadata().map_err(|error| (format!("{name}: {}", io_reason(&error)), ""))?;
    if metadata.is_symlink() {
        return Err((format!("{name} is a link"), "name what it points to: an exchange would replace the link"));
    }
    Ok(metadata)
}

fn sqlite(path: &Path) -> Result<(), (String, &'static str)> {
    let name = shown(&path.display().to_string());
    let metadata = there(path)?;
    if metadata.is_dir() {
        let hint = "if a run left a fence there, `backout unfence` lifts it";
        return Err((format!("{name} is a folder"), hint));
    }
    if !metadata.is_file() {
        return Err((format!("{name} is not a regular file"), ""));
    }
    if metadata.nlink() > 1 {
        let hint = "an exchange would leave the other names with the other data: remove them";
        return Err((format!("{name} has {} names (hard links)", metadata.nlink()), hint));
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.map_err(|error| (format!("{name}: {}", io_reason(&error)), ""))?;
    // An empty file is a database without tables.
    if !head.is_empty() && head != SQLITE {
        return Err((format!("{name} is not an SQLite database"), ""));
    }
    Ok(())
}

/// What every SQLite database begins with.
pub(super) const SQLITE: &[u8; 16] = b"SQLite format 3\0";

fn folder(section: &tree::Section) -> Result<(), (String, &'static str)> {
    let path = path::place(&section.path);
    let name = shown(&path.display().to_string());
    if !there(&path)?.is_dir() {
        return Err((format!("{name} is not a folder"), ""));
    }
    // Without /proc nothing can be said; the driver looks again before it exchanges.
    let mounts = holders::mounted(&path).unwrap_or_default();
    if mounts.contains(&path) {
        let hint = "a mount point cannot be exchanged: make the tree a folder inside of it";
        return Err((format!("{name} is a mount point"), hint));
    }
    if let Some(mount) = mounts.first() {
        let why = format!("{} is mounted inside of it", shown(&mount.display().to_string()));
        return Err((why, "a tree with a mount point in it cannot be exchanged: mount it elsewhere, and link to it"));
    }
    Ok(())
}

/// A program that is named by its path can be started.
fn program(run: &[String], dir: &Path) -> Result<(), (String, &'static str)> {
    if !dir.is_dir() {
        return Err((format!("`dir` {} is no folder", shown(&dir.display().to_string())), ""));
    }
    let Some(program) = run.first().filter(|program| program.contains('/')) else { return Ok(()) };
    let name = shown(program);
    let metadata = Path::new(program).metadata().map_err(|error| (format!("{name}: {}", io_reason(&error)), ""))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err((format!("{name} is no program"), "make it executable, or name another"));
    }
    Ok(())
}
