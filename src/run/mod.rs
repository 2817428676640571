//! Leads a run along the line: assesses, plans, runs the steps of each phase, turns back when it fails.
mod fences;
mod graph;
mod hold;
pub mod life_cycle;
mod locks;
mod phase;
pub mod restore_point;

pub use hold::Hold;
pub use locks::{Error as LockError, Locks};
pub use phase::{Halt, Phase};

use crate::{
    gate::{Event, Events, Gate},
    journal::{self, Ending, Entry, Header, Journal, Level, Place, Reader, RunId},
    resource::{
        Access, Lend, ResourceId, Resources, Rights,
        run::{Approver, Facts, Memory, Mutator, Observer, RUN, RestorePoint},
    },
    session::{Limits, Script, Work},
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("the state folder {path}: {source}")]
    State { path: String, source: std::io::Error },
}

/// What a run begins with.
pub struct Setup {
    pub header: Header,
    pub facts: Facts,
    pub memory: Memory,
    pub hold: Hold,
    /// `None` for runs without a script: `commit`, `unfence`.
    pub script: Option<Script>,
    pub limits: Limits,
    pub approver: Arc<dyn Approver>,
    pub events: Events,
    pub cancel: CancellationToken,
}

/// One run, from its first entry to its last.
#[derive(Clone)]
pub struct Run(Arc<Inner>);

struct Inner {
    id: RunId,
    header: Header,
    journal: Arc<Journal>,
    resources: Arc<Resources>,
    memory: Arc<Mutex<Memory>>,
    script: Option<Script>,
    limits: Limits,
    events: Events,
    cancel: CancellationToken,
    /// Each plan is a call of its own, with operations of its own.
    plans: AtomicU32,
    /// Bytes that the script's calls have added to the journal, by phase, and by whether it follows a rollback.
    written: Mutex<BTreeMap<(String, bool), Arc<AtomicU64>>>,
    /// Databases that were shut when it began.
    shut: BTreeSet<ResourceId>,
    _locks: Locks,
}

impl Run {
    /// Writes the header. Nothing of the product has been touched yet.
    pub fn begin(state: &Path, mut setup: Setup) -> Result<Self, Error> {
        let Hold { mut resources, mut locks, shut } = setup.hold;
        setup.header.holds = hold::ids(&resources).iter().map(ToString::to_string).collect();
        let events = setup.events.clone();
        let listener =
            Arc::new(move |recorded: &journal::Recorded| events.send(Event::Recorded(Box::new(recorded.clone()))));
        setup.header.limits = setup.limits.recorded();
        let (journal, id) = Journal::begin(&state.join("journal.db"), setup.header.clone(), listener)?;
        locks.name(id).map_err(|source| Error::State { path: state.display().to_string(), source })?;
        if setup.memory.restore_point.run == 0 {
            setup.memory.restore_point = RestorePoint::of(id);
        }
        let memory = Arc::new(Mutex::new(setup.memory));
        let observer = Observer { facts: setup.facts, memory: memory.clone(), approver: setup.approver };
        let access = Access { observer: Arc::new(observer), mutator: Arc::new(Mutator(memory.clone())) };
        let id_of_run = ResourceId::new("run", id.to_string());
        let lend = Lend { id: id_of_run, rights: Rights::default(), terms: (), uses: Vec::new(), access };
        resources.run.0.insert(RUN.to_owned(), lend);
        Ok(Self(Arc::new(Inner {
            id,
            header: setup.header,
            journal: Arc::new(journal),
            resources: Arc::new(resources),
            memory,
            script: setup.script,
            limits: setup.limits,
            events: setup.events,
            cancel: setup.cancel,
            plans: AtomicU32::new(0),
            written: Mutex::default(),
            shut,
            _locks: locks,
        })))
    }

    pub fn id(&self) -> RunId {
        self.0.id
    }
    pub fn header(&self) -> &Header {
        &self.0.header
    }
    pub fn resources(&self) -> &Resources {
        &self.0.resources
    }
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// The gate for what the host does by itself, outside any step.
    pub fn host_gate(&self, phase: &str) -> Gate {
        // What the host does to end a run cleanly is not cancelled with it.
        self.gate(Place::new(phase, false, "", 1), CancellationToken::new())
    }

    fn gate(&self, place: Place, cancel: CancellationToken) -> Gate {
        Gate::new(self.0.journal.clone(), self.0.id, place, self.0.events.clone(), cancel)
    }

    /// `started` in milliseconds since 1970-01-01 UTC.
    fn work(&self, place: Place, started: i64) -> Work {
        let seed = seed(self.0.header.seed, &place);
        let mut gate = self.gate(place, self.0.cancel.clone());
        gate.quota = self.0.limits.quota;
        let mut written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        gate.written_in_phase = written.entry((gate.place.phase.clone(), gate.place.rolled_back)).or_default().clone();
        drop(written);
        gate.until = Some(std::time::Instant::now() + gate.quota.wall);
        let started = Duration::from_millis(u64::try_from(started).unwrap_or(0));
        Work { gate, resources: self.0.resources.clone(), limits: self.0.limits, seed, started }
    }

    fn reader(&self) -> Result<Reader, journal::Error> {
        Reader::open(self.0.journal.path())
    }

    /// What the host itself says; in the journal and on the display.
    pub async fn say(&self, level: Level, text: impl Into<String>) -> Result<(), journal::Error> {
        let place = Place::new("", false, "", 0);
        self.0.journal.append(self.0.id, &place, 0, Entry::Said { level, text: text.into() }).await.map(drop)
    }

    /// The last entry; all of the run is on disk when it returns.
    pub async fn end(&self, ending: &Ending) -> Result<(), journal::Error> {
        let place = Place::new("", false, "", 0);
        self.0.journal.append(self.0.id, &place, 0, Entry::RunEnded(ending.clone())).await.map(drop)
    }
}

/// Steps that run at once, or again, would otherwise draw the same numbers, and give two things one name.
fn seed(of_run: u64, place: &Place) -> u64 {
    let Place { phase, rolled_back, step, attempt } = place;
    let digest = Sha256::digest(format!("{of_run}\0{phase}\0{rolled_back}\0{step}\0{attempt}"));
    digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
