//! The simulated world: what would have become of each resource, had a script really done what it asked for. The simulated
//! drivers share it, so that later operations see the effects of earlier ones.
use super::{Clock, ResourceId};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a resource holds; two are equal when nothing has changed between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// 0: as it was found. Each change that nobody can tell from another makes a new one.
    revision: u64,
    /// What was written into a tree since, by path.
    pub written: BTreeMap<String, Written>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    File(Vec<u8>),
    Link(String),
}

impl Content {
    pub fn is_original(&self) -> bool {
        *self == Self::default()
    }
    /// For comparing, not for people.
    pub fn word(&self) -> String {
        format!("{:x}", self.revision)
    }
}

/// What an operation makes of the world, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// of the call, as `CallCtx::key`
    pub call: String,
    pub resource: ResourceId,
    pub text: String,
}

#[derive(Default)]
struct State {
    contents: BTreeMap<ResourceId, Content>,
    /// The call that changed it first.
    changed_by: BTreeMap<ResourceId, String>,
    changes: Vec<Change>,
    last: u64,
}

/// Shared by all drivers of one simulation.
#[derive(Clone, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
    pub clock: Clock,
}

impl World {
    pub fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), clock }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain values, which stay readable whoever broke down over them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn content(&self, id: &ResourceId) -> Content {
        self.state().contents.get(id).cloned().unwrap_or_default()
    }

    pub fn put_back(&self, id: &ResourceId, content: Content) {
        self.state().contents.insert(id.clone(), content);
    }

    /// It is not what it was, in a way of which nothing else is known.
    pub fn touch(&self, id: &ResourceId, call: &str) {
        let mut state = self.state();
        state.changed_by.entry(id.clone()).or_insert_with(|| call.to_owned());
        state.last += 1;
        let last = state.last;
        state.contents.entry(id.clone()).or_default().revision = last;
    }

    pub fn write(&self, id: &ResourceId, path: &str, written: Written, call: &str) {
        let mut state = self.state();
        state.changed_by.entry(id.clone()).or_insert_with(|| call.to_owned());
        state.contents.entry(id.clone()).or_default().written.insert(path.to_owned(), written);
    }

    pub fn says(&self, call: &str, resource: &ResourceId, text: impl Into<String>) {
        let change = Change { call: call.to_owned(), resource: resource.clone(), text: text.into() };
        self.state().changes.push(change);
    }

    /// The call that changed it first.
    pub fn changed_by(&self, id: &ResourceId) -> Option<String> {
        self.state().changed_by.get(id).cloned()
    }

    /// In the order in which they were made.
    pub fn changes(&self) -> Vec<Change> {
        self.state().changes.clone()
    }
}
