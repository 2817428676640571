//! The simulated world: what would have become of each resource, had a script really done what it asked for. The simulated
//! drivers share it and keep nothing themselves, so that later operations see the effects of earlier ones, and so that a world
//! can be kept as it was and gone on with.
use super::{Clock, ResourceId, service::Status};
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
    /// How many rows were written into the tables of a database since.
    pub rows: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    File(Vec<u8>),
    Link(String),
    /// The archive, by its digest.
    Folder(String),
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

#[derive(Clone, Default)]
struct State {
    contents: BTreeMap<ResourceId, Content>,
    /// By the resource and the copy's own name.
    copies: BTreeMap<(ResourceId, String), Content>,
    /// Of those that were shut or opened; the others are as they are really.
    fenced: BTreeMap<ResourceId, bool>,
    /// Of those that were started or stopped.
    services: BTreeMap<ResourceId, Status>,
    /// Numbers that somebody gave, in canonical units.
    numbers: BTreeMap<ResourceId, BTreeMap<String, f64>>,
    /// Rows that a database's tables had at first, where somebody said so.
    rows: BTreeMap<ResourceId, BTreeMap<String, u64>>,
    /// The call that changed it first.
    changed_by: BTreeMap<ResourceId, String>,
    changes: Vec<Change>,
    last: u64,
    /// The product may behave otherwise than before. A copy makes no difference to it.
    disturbed: bool,
}

/// Shared by all drivers of one simulation.
#[derive(Clone, Default)]
pub struct World {
    state: Arc<Mutex<Arc<State>>>,
    pub clock: Clock,
}

/// A world as it was at one moment.
#[derive(Clone)]
pub struct Kept {
    state: Arc<State>,
    /// milliseconds
    passed: u64,
}

impl World {
    pub fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), clock }
    }

    fn shared(&self) -> MutexGuard<'_, Arc<State>> {
        // Plain values, which stay readable whoever broke down over them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was kept of it stays as it is.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(Arc::make_mut(&mut self.shared()))
    }

    pub fn keep(&self) -> Kept {
        Kept { state: self.shared().clone(), passed: self.clock.passed() }
    }

    /// It goes on from there.
    pub fn go_back(&self, kept: &Kept) {
        *self.shared() = kept.state.clone();
        self.clock.set_passed(kept.passed);
    }

    pub fn content(&self, id: &ResourceId) -> Content {
        self.shared().contents.get(id).cloned().unwrap_or_default()
    }

    /// A copy of what it holds now, under this name.
    pub fn copy(&self, id: &ResourceId, name: &str) -> Content {
        self.change(|state| {
            let content = state.contents.get(id).cloned().unwrap_or_default();
            state.copies.insert((id.clone(), name.to_owned()), content.clone());
            content
        })
    }

    /// `None`: there is no such copy.
    pub fn copied(&self, id: &ResourceId, name: &str) -> Option<Content> {
        self.shared().copies.get(&(id.clone(), name.to_owned())).cloned()
    }

    pub fn put_back(&self, id: &ResourceId, content: Content) {
        self.change(|state| {
            state.disturbed = true;
            state.contents.insert(id.clone(), content);
        });
    }

    /// It is not what it was, in a way of which nothing else is known.
    pub fn touch(&self, id: &ResourceId, call: &str) {
        self.change(|state| {
            state.disturbed = true;
            state.changed_by.entry(id.clone()).or_insert_with(|| call.to_owned());
            state.last += 1;
            state.contents.entry(id.clone()).or_default().revision = state.last;
        });
    }

    pub fn write(&self, id: &ResourceId, path: &str, written: Written, call: &str) {
        self.change(|state| {
            state.disturbed = true;
            state.changed_by.entry(id.clone()).or_insert_with(|| call.to_owned());
            state.contents.entry(id.clone()).or_default().written.insert(path.to_owned(), written);
        });
    }

    /// The product writes rows, which no call of a script has asked for.
    pub fn write_rows(&self, id: &ResourceId, rows: &BTreeMap<String, u64>) {
        self.change(|state| {
            state.disturbed = true;
            let content = state.contents.entry(id.clone()).or_default();
            for (table, count) in rows {
                let written = content.rows.entry(table.clone()).or_default();
                *written = written.saturating_add(*count);
            }
        });
    }

    /// `None`: nobody has shut or opened it.
    pub fn fenced(&self, id: &ResourceId) -> Option<bool> {
        self.shared().fenced.get(id).copied()
    }

    pub fn fence(&self, id: &ResourceId, up: bool) {
        self.change(|state| {
            state.disturbed = true;
            state.fenced.insert(id.clone(), up);
        });
    }

    /// `None`: nobody has started or stopped it.
    pub fn service(&self, id: &ResourceId) -> Option<Status> {
        self.shared().services.get(id).copied()
    }

    pub fn becomes(&self, id: &ResourceId, status: Status) {
        self.change(|state| {
            state.disturbed = true;
            state.services.insert(id.clone(), status);
        });
    }

    /// Something was done of which nobody knows what it changes.
    pub fn disturb(&self) {
        self.change(|state| state.disturbed = true);
    }

    /// Whether the product may behave otherwise than before.
    pub fn is_disturbed(&self) -> bool {
        self.shared().disturbed
    }

    /// What a metric is from now on, in canonical units.
    pub fn measure(&self, id: &ResourceId, numbers: &BTreeMap<String, f64>) {
        let numbers = numbers.clone();
        self.change(|state| state.numbers.entry(id.clone()).or_default().extend(numbers));
    }

    /// `None`: nobody has said what it is.
    pub fn number(&self, id: &ResourceId, name: &str) -> Option<f64> {
        self.shared().numbers.get(id)?.get(name).copied()
    }

    /// What the tables of a database hold at first.
    pub fn holds(&self, id: &ResourceId, rows: &BTreeMap<String, u64>) {
        self.change(|state| state.rows.insert(id.clone(), rows.clone()));
    }

    /// The rows of each table that has ever been spoken of, with what was written since.
    pub fn rows(&self, id: &ResourceId, content: &Content) -> BTreeMap<String, u64> {
        let mut rows = self.shared().rows.get(id).cloned().unwrap_or_default();
        for (table, count) in &content.rows {
            let all = rows.entry(table.clone()).or_default();
            *all = all.saturating_add(*count);
        }
        rows
    }

    pub fn says(&self, call: &str, resource: &ResourceId, text: impl Into<String>) {
        let change = Change { call: call.to_owned(), resource: resource.clone(), text: text.into() };
        self.change(|state| state.changes.push(change));
    }

    /// The call that changed it first.
    pub fn changed_by(&self, id: &ResourceId) -> Option<String> {
        self.shared().changed_by.get(id).cloned()
    }

    /// In the order in which they were made.
    pub fn changes(&self) -> Vec<Change> {
        self.shared().changes.clone()
    }
}
