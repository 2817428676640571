//! The run itself, a kind like the others: context, settings, data between steps, payloads, time and people.
mod memory;
mod restore_point;

pub use memory::{Memory, Store};
pub use restore_point::{Doubt, RestorePoint};

use super::{Failure, Kind, database::Revisions, tree::Archive};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The one label of this kind: there is one run.
pub const RUN: &str = "";

/// What does not change while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub package: String,
    pub version: String,
    pub from_version: String,
    pub to_version: String,
    pub settings: BTreeMap<String, String>,
    pub payloads: BTreeMap<String, Archive>,
    /// Where the upgrade must have brought the schemas of databases, by label; nothing in a simulated world, which cannot know it.
    pub schemas: BTreeMap<String, Revisions>,
}

/// What somebody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Of this one asking, and hard to guess: no other has it, in no run of any host. The same after an interruption.
    pub id: String,
    pub run: u64,
    pub role: String,
    pub text: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub yes: bool,
    /// Empty: a no that nobody has put a name to.
    pub by: String,
    pub way: Way,
}

/// How somebody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Beforehand,
    Terminal,
    File,
    Webhook,
}

impl Way {
    pub fn words(self) -> &'static str {
        match self {
            Self::Beforehand => "beforehand",
            Self::Terminal => "on the terminal",
            Self::File => "by a file",
            Self::Webhook => "by webhook",
        }
    }
}

/// Who writes down what goes on while somebody is asked.
pub trait Listener: Send + Sync {
    /// Something that was no answer, or that nobody could answer by.
    fn trouble(&self, why: &str);
}

/// People, seen from a run.
#[async_trait]
pub trait Approver: Send + Sync {
    /// `unavailable` when nobody can be asked, `timed-out` when nobody has answered in the time that the site gives.
    async fn ask(&self, question: &Question, listener: &dyn Listener) -> Result<Answered, Failure>;

    /// How people can answer from elsewhere; empty if they cannot.
    fn ways(&self, _question: &Question) -> String {
        String::new()
    }

    /// Whether somebody in this role has approved beforehand.
    fn knows(&self, _role: &str) -> bool {
        false
    }

    /// Whether an operation has happened, which nobody else can tell, and who says so. `number`: of the journal's entry with
    /// which it began.
    async fn decide(&self, _number: i64, _doubt: &str) -> Option<(bool, String)> {
        None
    }
}

/// The run as it is looked at.
pub struct Observer {
    /// Which run of all runs anywhere it is; its number is another's too.
    pub seed: u64,
    pub run: u64,
    pub facts: Facts,
    pub memory: Arc<Mutex<Memory>>,
    pub approver: Arc<dyn Approver>,
}

impl Observer {
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic elsewhere leaves plain values behind, which stay readable.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The run as it is changed.
pub struct Mutator(pub Arc<Mutex<Memory>>);

impl Mutator {
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Run;

impl Kind for Run {
    const NAME: &'static str = "run";
    type Observer = Observer;
    type Mutator = Mutator;
    type Terms = ();
}
