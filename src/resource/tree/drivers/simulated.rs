//! A tree of the simulated world.
use super::super::{Archive, Entry, EntryKind, Mutate, Observe, Observer};
use crate::resource::{
    Access, CallCtx, Failure, FailureKind, ResourceId, Tree,
    copies::{Copied, Fingerprint, ObserveCopies},
    stand_in::{Place, StandIn},
    world::{Content, World, Written},
};
use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Arc};

struct Simulated {
    place: Place,
    /// Looked at for what was not written since.
    real: Option<Arc<Observer>>,
}

pub fn simulate(id: &ResourceId, real: Option<Arc<Observer>>, world: &World) -> Access<Tree> {
    let driver = Arc::new(Simulated { place: Place::new(id, world), real });
    Access { observer: driver.clone(), mutator: driver }
}

impl Simulated {
    fn put(&self, path: &str, written: Written, call: &CallCtx) {
        self.place.world.write(&self.place.id, path, written, &call.key);
    }
}

impl StandIn for Simulated {
    const COMPARED: &'static str = "file by file";
    fn place(&self) -> &Place {
        &self.place
    }
    fn copied(&self) -> Option<&dyn ObserveCopies> {
        self.real.as_deref().map(Tree::observe)
    }
    fn fingerprint_of(&self, _: &Content) -> Fingerprint {
        Fingerprint::default()
    }
}

/// What stands directly in a folder of what was written. A folder is there once anything is in it.
fn written_in<'w>(folder: &str, written: &'w BTreeMap<String, Written>) -> BTreeMap<&'w str, Entry> {
    let mut entries = BTreeMap::new();
    for (path, written) in written {
        let inside = match folder {
            "" => Some(path.as_str()),
            folder => path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(inside) = inside else { continue };
        let (name, kind, bytes, target) = match (inside.split_once('/'), written) {
            (Some((name, _)), _) => (name, EntryKind::Folder, 0, String::new()),
            (None, Written::Folder(_)) => (inside, EntryKind::Folder, 0, String::new()),
            (None, Written::File(content)) => (inside, EntryKind::File, content.len() as u64, String::new()),
            (None, Written::Link(target)) => (inside, EntryKind::Link, 0, target.clone()),
        };
        entries.insert(name, Entry { name: name.to_owned(), kind, bytes, target });
    }
    entries
}

/// The same path, however it is written.
fn plain(path: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if path.starts_with('/') || parts.contains(&"..") || parts.is_empty() {
        let shown: String = path.chars().take(128).collect();
        return Err(Failure::denied(format!("`{shown}` is no path inside the tree")));
    }
    Ok(parts.join("/"))
}

#[async_trait]
impl Observe for Simulated {
    async fn read(&self, path: &str) -> Result<Vec<u8>, Failure> {
        match (self.place.content().written.get(&plain(path)?), &self.real) {
            (Some(Written::File(content)), _) => Ok(content.clone()),
            (_, Some(real)) => real.read(path).await,
            (_, None) => Ok(Vec::new()),
        }
    }
    async fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        let content = self.place.content();
        // What a driver denies it denies here too; the tree itself is `.` or nothing.
        let folder = if matches!(path, "" | ".") { String::new() } else { plain(path)? };
        let mut new = written_in(&folder, &content.written);
        let mut entries = match &self.real {
            Some(real) => match real.list(path).await {
                Err(failure) if failure.kind == FailureKind::NotFound && !new.is_empty() => Vec::new(),
                listed => listed?,
            },
            None => Vec::new(),
        };
        for entry in &mut entries {
            if let Some(new) = new.remove(entry.name.as_str()) {
                *entry = new;
            }
        }
        entries.extend(new.into_values());
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
    async fn written(&self, _: &str, _: &[u8]) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn installed(&self, _: &str, _: &Archive) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn linked(&self, _: &str, _: &str) -> Result<bool, Failure> {
        Ok(false)
    }
}

#[async_trait]
impl Mutate for Simulated {
    async fn write(&self, path: &str, content: &[u8], call: &CallCtx) -> Result<(), Failure> {
        let path = plain(path)?;
        self.place.says(call, format!("{path} is written, {} bytes", content.len()));
        self.put(&path, Written::File(content.to_vec()), call);
        Ok(())
    }
    async fn install(&self, path: &str, archive: &Archive, call: &CallCtx) -> Result<(), Failure> {
        let path = plain(path)?;
        self.place.says(call, format!("{path} is installed"));
        self.put(&path, Written::Folder(archive.sha256.clone()), call);
        Ok(())
    }
    async fn link(&self, path: &str, target: &str, call: &CallCtx) -> Result<(), Failure> {
        let path = plain(path)?;
        self.place.says(call, format!("{path} → {target}"));
        self.put(&path, Written::Link(target.to_owned()), call);
        Ok(())
    }
}
