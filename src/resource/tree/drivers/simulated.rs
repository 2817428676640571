//! A tree of the simulated world.
use super::super::{Archive, Entry, Mutate, Observe, Observer};
use crate::resource::{
    Access, CallCtx, Failure, ResourceId, Tree,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    world::{Content, World, Written},
};
use async_trait::async_trait;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

struct Simulated {
    id: ResourceId,
    world: World,
    /// Looked at for what was not written since.
    real: Option<Arc<Observer>>,
    copies: Mutex<BTreeMap<String, Content>>,
}

pub fn simulate(id: &ResourceId, real: Option<Arc<Observer>>, world: &World) -> Access<Tree> {
    let driver = Arc::new(Simulated { id: id.clone(), world: world.clone(), real, copies: Mutex::default() });
    Access { observer: driver.clone(), mutator: driver }
}

impl Simulated {
    fn keep(&self, id: &str) {
        let content = self.world.content(&self.id);
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), content);
    }
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
        match (self.world.content(&self.id).written.get(&plain(path)?), &self.real) {
            (Some(Written::File(content)), _) => Ok(content.clone()),
            (_, Some(real)) => real.read(path).await,
            (_, None) => Ok(Vec::new()),
        }
    }
    async fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        match &self.real {
            Some(real) => real.list(path).await,
            None => Ok(Vec::new()),
        }
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
impl ObserveCopies for Simulated {
    async fn fingerprint(&self, _: &CallCtx) -> Result<Fingerprint, Failure> {
        Ok(Fingerprint::default())
    }
    async fn loss(&self, _: &Snapshot, _: &CallCtx) -> Result<Vec<Lost>, Failure> {
        Ok(Vec::new())
    }
    async fn inspect(&self, _: &Snapshot, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn quiet(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn exchanged(&self, _: &Snapshot, _: &[Value]) -> Result<Exchange, Failure> {
        Ok(Exchange::NotDone)
    }
}

#[async_trait]
impl MutateCopies for Simulated {
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        self.keep(id);
        self.world.says(&call.key, &self.id, "a stand-by is made and compared, file by file");
        Ok(Snapshot {
            id: id.to_owned(),
            place: "simulated".to_owned(),
            method: "stand-by".to_owned(),
            bytes: 0,
            proven: true,
            fingerprint: Fingerprint::default(),
            copied: 0,
            detector: String::new(),
        })
    }
    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        self.keep(&snapshot.id);
        self.world.says(&call.key, &self.id, "its stand-by is brought up to date and compared");
        Ok(snapshot.clone())
    }
    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        let copy = self.copies.lock().unwrap_or_else(PoisonError::into_inner).get(&snapshot.id).cloned();
        self.world.put_back(&self.id, copy.unwrap_or_default());
        self.world.says(&call.key, &self.id, "its stand-by becomes live, what was live is kept aside");
        Ok(Restored { exchanged: true, aside: None, lost: Vec::new() })
    }
    async fn discard(&self, _: &Snapshot, _: &CallCtx) -> Result<u64, Failure> {
        Ok(0)
    }
}

#[async_trait]
impl Mutate for Simulated {
    async fn write(&self, path: &str, content: &[u8], call: &CallCtx) -> Result<(), Failure> {
        let path = plain(path)?;
        self.world.says(&call.key, &self.id, format!("{path} is written, {} bytes", content.len()));
        self.world.write(&self.id, &path, Written::File(content.to_vec()), &call.key);
        Ok(())
    }
    async fn install(&self, path: &str, archive: &Archive, call: &CallCtx) -> Result<(), Failure> {
        let path = plain(path)?;
        self.world.says(&call.key, &self.id, format!("{path} is installed"));
        self.world.write(&self.id, &path, Written::File(archive.sha256.clone().into_bytes()), &call.key);
        Ok(())
    }
    async fn link(&self, path: &str, target: &str, call: &CallCtx) -> Result<(), Failure> {
        let path = plain(path)?;
        self.world.says(&call.key, &self.id, format!("{path} → {target}"));
        self.world.write(&self.id, &path, Written::Link(target.to_owned()), &call.key);
        Ok(())
    }
}
