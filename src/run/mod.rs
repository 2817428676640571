//! Leads a run along the line: assesses, plans, runs the steps of each phase, turns back when it fails.
pub mod aside;
mod before;
mod fences;
mod graph;
mod hold;
pub mod life_cycle;
mod locks;
pub mod loss;
mod part;
mod phase;
pub mod replay;
pub mod restore_point;
pub mod retention;
mod schema;
mod telling;

pub use before::{Before, Came};
pub use hold::Hold;
pub use locks::{Error as LockError, Locks};
pub use part::{Part, Recall};
pub use phase::{Halt, Phase};
pub use telling::{Audience, News};

use crate::{
    gate::{Allowance, Event, Events, Fate, Gate, Written},
    journal::{self, Ending, Entry, Header, Journal, Level, Place, Reader, Resumption, RunId},
    resource::{
        Access, Clock, Lend, ResourceId, Resources, Rights,
        run::{Approver, Facts, Memory, Mutator, Observer, RUN, RestorePoint},
    },
    session::{Limits, Script, Work},
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32},
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

/// What a run in a simulated world has instead of the real one.
pub struct Simulation {
    pub run: RunId,
    pub clock: Clock,
    pub fate: Option<Arc<dyn Fate>>,
    pub recall: Option<Arc<dyn Recall>>,
    /// The journal that knows how long steps took on this site.
    pub measured: Option<PathBuf>,
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
    written: Mutex<BTreeMap<(String, bool), Written>>,
    /// Of a run that goes on.
    before: Option<Before>,
    /// What the host does by itself, by phase: how often.
    hosts: Mutex<BTreeMap<String, u32>>,
    /// Databases that were shut when it began.
    shut: BTreeSet<ResourceId>,
    clock: Clock,
    /// Of a world that is simulated, or a part of which is.
    fate: Option<Arc<dyn Fate>>,
    recall: Option<Arc<dyn Recall>>,
    /// The journal that knows how long steps took.
    measured: Option<PathBuf>,
    /// A step asked for what the approved plan does not contain.
    deviated: AtomicBool,
    telling: telling::Telling,
    _locks: Locks,
}

impl Run {
    /// Writes the header. Nothing of the product has been touched yet.
    pub fn begin(state: &Path, setup: Setup) -> Result<Self, Error> {
        Self::begin_with(state, setup, None)
    }

    /// On copies, with twins, and with what is simulated; `fate` says which that is.
    pub fn rehearse(state: &Path, setup: Setup, fate: Arc<dyn Fate>) -> Result<Self, Error> {
        Self::begin_with(state, setup, Some(fate))
    }

    fn begin_with(state: &Path, mut setup: Setup, fate: Option<Arc<dyn Fate>>) -> Result<Self, Error> {
        setup.header.holds = hold::ids(&setup.hold.resources).iter().map(ToString::to_string).collect();
        setup.header.bound =
            setup.hold.resources.labels().into_iter().map(|(label, id)| (label, id.to_string())).collect();
        setup.header.limits = Box::new(setup.limits.recorded());
        let (journal, id) = Journal::begin(&state.join("journal.db"), setup.header.clone(), listener(&setup.events))?;
        if setup.memory.restore_point.run == 0 {
            setup.memory.restore_point = RestorePoint::of(id);
        }
        Self::start(state, setup, (journal, id), None, fate)
    }

    /// Goes on with a run; header and limits are those that it began with, `memory` that of its restore point before it began.
    pub fn resume(state: &Path, id: RunId, resumption: Resumption, mut setup: Setup) -> Result<Self, Error> {
        let path = state.join("journal.db");
        let journal = Journal::resume(&path, id, resumption, listener(&setup.events))?;
        let before = Before::read(&path, id, &setup.memory)?;
        setup.memory = before.memory.clone();
        Self::start(state, setup, (journal, id), Some(before), None)
    }

    /// In a simulated world: the same steps in the same order, one at a time, and nothing of it on any disk.
    pub fn simulate(mut setup: Setup, simulation: Simulation) -> Self {
        let run = simulation.run;
        setup.limits.steps_at_once = 1;
        if setup.memory.restore_point.run == 0 {
            setup.memory.restore_point = RestorePoint::of(run);
        }
        let journal = Journal::simulated(run, setup.header.clone());
        Self::put_together(setup, journal, None, simulation)
    }

    /// What a simulated run has come to so far.
    pub fn kept(&self) -> Vec<Arc<journal::Recorded>> {
        self.0.journal.kept()
    }

    fn start(
        state: &Path,
        mut setup: Setup,
        (journal, id): (Journal, RunId),
        before: Option<Before>,
        fate: Option<Arc<dyn Fate>>,
    ) -> Result<Self, Error> {
        let named = setup.hold.locks.name(id);
        named.map_err(|source| Error::State { path: state.display().to_string(), source })?;
        let measured = Some(journal.path().to_owned());
        let world = Simulation { run: id, clock: Clock::Real, fate, recall: None, measured };
        Ok(Self::put_together(setup, journal, before, world))
    }

    fn put_together(setup: Setup, journal: Journal, before: Option<Before>, world: Simulation) -> Self {
        let Hold { mut resources, locks, shut } = setup.hold;
        let Simulation { run: id, clock, fate, recall, measured } = world;
        let journal = Arc::new(journal);
        let telling = telling::Telling::new(id, &setup.header, journal.clone(), before.as_ref());
        let approver = Arc::new(telling::Asking { people: setup.approver, telling: telling.clone() });
        let memory = Arc::new(Mutex::new(setup.memory));
        let seed = setup.header.seed;
        let observer = Observer { seed, run: id, facts: setup.facts, memory: memory.clone(), approver };
        let access = Access { observer: Arc::new(observer), mutator: Arc::new(Mutator(memory.clone())) };
        let id_of_run = ResourceId::new("run", id.to_string());
        let lend = Lend { id: id_of_run, rights: Rights::default(), terms: (), uses: Vec::new(), access };
        resources.run.0.insert(RUN.to_owned(), lend);
        Self(Arc::new(Inner {
            id,
            header: setup.header,
            journal,
            resources: Arc::new(resources),
            memory,
            script: setup.script,
            limits: setup.limits,
            events: setup.events,
            cancel: setup.cancel,
            plans: AtomicU32::new(0),
            written: Mutex::default(),
            before,
            hosts: Mutex::default(),
            shut,
            clock,
            fate,
            recall,
            measured,
            deviated: AtomicBool::new(false),
            telling,
            _locks: locks,
        }))
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
    /// What the journal holds of a run that goes on.
    pub fn before(&self) -> Option<&Before> {
        self.0.before.as_ref()
    }
    pub fn cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// The gate for what the host does by itself, outside any step.
    pub fn host_gate(&self, phase: &str) -> Gate {
        let mut hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let times = hosts.entry(phase.to_owned()).or_insert(self.0.before.as_ref().map_or(0, |b| b.times(phase)));
        *times += 1;
        // What the host does to end a run cleanly is not cancelled with it.
        self.gate(Place::new(phase, false, "", *times), CancellationToken::new())
    }

    fn gate(&self, place: Place, cancel: CancellationToken) -> Gate {
        let mut gate = Gate::new(self.0.journal.clone(), self.0.id, place, self.0.events.clone(), cancel);
        gate.clock = self.0.clock.clone();
        gate.fate = self.0.fate.clone();
        gate
    }

    /// `started` in milliseconds since 1970-01-01 UTC.
    fn work(&self, place: Place, started: i64) -> Result<Work, journal::Error> {
        let past = self.0.before.as_ref().map(|before| before.past(&place)).transpose()?.flatten();
        let seed = seed(self.0.header.seed, &place);
        let mut gate = self.gate(place, self.0.cancel.clone());
        if let Some(past) = past {
            gate = gate.going_on(Arc::new(past));
        }
        gate.allowance = self.0.header.approved.as_ref().map(|approved| Allowance::of(approved, &gate.place));
        gate.quota = self.0.limits.quota;
        let mut written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        gate.written = written.entry((gate.place.phase.clone(), gate.place.rolled_back)).or_default().beside();
        drop(written);
        gate.until = Some(self.0.clock.now() + gate.quota.wall);
        // A script that looks at WASI's clock sees the simulated time, too.
        let started = match self.0.clock.is_simulated() {
            true => self.0.clock.unix_millis(),
            false => u64::try_from(started).unwrap_or(0),
        };
        let started = Duration::from_millis(started);
        Ok(Work { gate, resources: self.0.resources.clone(), limits: self.0.limits, seed, started })
    }

    /// How long a step of this package took on this site, in milliseconds, by run; or why nobody knows.
    fn durations(&self, phase: Phase, step: &str) -> Result<Vec<u64>, String> {
        let Some(path) = &self.0.measured else { return Ok(Vec::new()) };
        let durations =
            Reader::open(path).and_then(|reader| reader.durations(&self.0.header.package, phase.as_str(), step));
        durations.map_err(|error| error.unreadable(path))
    }

    /// What the host itself says; in the journal and on the display.
    pub async fn say(&self, level: Level, text: impl Into<String>) -> Result<(), journal::Error> {
        let place = Place::new("", false, "", 0);
        self.0.journal.append(self.0.id, &place, 0, Entry::Said { level, text: text.into() }).await.map(drop)
    }

    /// From here on the run takes back what it has done.
    async fn turn_back(&self, because: &str) -> Result<(), journal::Error> {
        let place = Place::new("", false, "", 0);
        let entry = Entry::TurnedBack { because: because.to_owned() };
        self.0.journal.append(self.0.id, &place, 0, entry).await?;
        self.tell_turned_back(because);
        Ok(())
    }

    /// The last entry; all of the run is on disk when it returns.
    pub async fn end(&self, ending: &Ending) -> Result<(), journal::Error> {
        let place = Place::new("", false, "", 0);
        self.0.journal.append(self.0.id, &place, 0, Entry::RunEnded(ending.clone())).await.map(drop)
    }
}

fn listener(events: &Events) -> journal::Listener {
    let events = events.clone();
    Arc::new(move |recorded: &journal::Recorded| events.send(Event::Recorded(Box::new(recorded.clone()))))
}

/// Steps that run at once, or again, would otherwise draw the same numbers, and give two things one name.
fn seed(of_run: u64, place: &Place) -> u64 {
    let Place { phase, rolled_back, step, attempt } = place;
    let digest = Sha256::digest(format!("{of_run}\0{phase}\0{rolled_back}\0{step}\0{attempt}"));
    digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}
