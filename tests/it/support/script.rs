//! A step of a script without a component: its host calls are made by hand, through the gate, into a real journal.
use async_trait::async_trait;
use backout::{
    capability::Call,
    gate::{Error, Event, Events, Gate, Past},
    journal::{Entry, Header, Journal, Place, Reader, Recorded},
    resource::{
        Access, Failure, Kind, Lend, ResourceId, Resources, Rights,
        run::{Answered, Approver, Facts, Listener, Memory, Mutator, Observer, Question, RUN, Run},
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

pub struct Script {
    /// Goes with the script, unless somebody else has lent the folder.
    _dir: Option<tempfile::TempDir>,
    journal: PathBuf,
    pub gate: Gate,
    pub resources: Resources,
    pub memory: Arc<Mutex<Memory>>,
    pub cancel: CancellationToken,
    news: Mutex<Receiver<Event>>,
}

pub struct Nobody;
#[async_trait]
impl Approver for Nobody {
    async fn ask(&self, _: &Question, _: &dyn Listener) -> Result<Answered, Failure> {
        Err(Failure::unavailable("nobody is there"))
    }
}

impl Script {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Self::on(dir.path());
        Self { _dir: Some(dir), ..script }
    }

    /// With its journal in this folder.
    pub fn on(folder: &Path) -> Self {
        let path = folder.join("journal.db");
        let header = Header { command: "upgrade".to_owned(), ..Header::default() };
        let (journal, run) = Journal::begin(&path, header, Arc::new(|_| ())).unwrap();
        let (events, cancel) = (Events::default(), CancellationToken::new());
        let news = Mutex::new(events.subscribe());
        let place = Place::new("upgrade", false, "", 1);
        let gate = Gate::new(Arc::new(journal), run, place, events, cancel.clone());
        let memory = Arc::new(Mutex::new(Memory::of(run)));
        let observer =
            Observer { seed: 7, run, facts: Facts::default(), memory: memory.clone(), approver: Arc::new(Nobody) };
        let access = Access::<Run> { observer: Arc::new(observer), mutator: Arc::new(Mutator(memory.clone())) };
        let mut resources = Resources::default();
        resources.run.0.insert(RUN.to_owned(), lend("run", "", access));
        Self { _dir: None, journal: path, gate, resources, memory, cancel, news }
    }

    pub fn call(&self) -> Call<'_> {
        Call { gate: &self.gate, resources: &self.resources }
    }

    /// The gate of another step, which runs at the same time.
    pub fn beside(&self) -> Gate {
        let place = Place::new("upgrade", false, "", 2);
        Gate::new(
            self.gate.journal().unwrap().clone(),
            self.gate.run,
            place,
            self.gate.events.clone(),
            self.cancel.clone(),
        )
    }

    /// The same step once more, as after an interruption: what the journal holds comes first.
    pub async fn again(&self) -> Gate {
        let recorded = self.recorded().await;
        let first = recorded.iter().find(|recorded| recorded.place == self.gate.place).unwrap().id;
        let lines = Reader::open(&self.journal).unwrap().lines(self.gate.run, first);
        let past = Past::new(self.gate.run, self.gate.place.clone(), lines, Memory::of(self.gate.run)).unwrap();
        let (place, events) = (self.gate.place.clone(), self.gate.events.clone());
        let journal = self.gate.journal().unwrap().clone();
        Gate::new(journal, self.gate.run, place, events, self.cancel.clone()).going_on(Arc::new(past))
    }

    pub async fn recorded(&self) -> Vec<Recorded> {
        self.gate.journal().unwrap().flush().await.unwrap();
        Reader::open(&self.journal).unwrap().entries(self.gate.run).unwrap()
    }

    pub async fn entries(&self) -> Vec<Entry> {
        self.recorded().await.into_iter().map(|r| r.entry).collect()
    }

    /// The operations that the journal has, as data: what was asked, and what came of it.
    pub async fn observed(&self) -> Vec<(String, serde_json::Value, Result<serde_json::Value, Failure>)> {
        // What lasts has its beginning written down as well.
        let mut begun = BTreeMap::new();
        let observed = |recorded: Recorded| match recorded.entry {
            Entry::Observed { request, result, .. } => Some((request.operation, request.request, result)),
            Entry::Intent(request) if request.class == "observe" => {
                begun.insert((recorded.place, recorded.seq), request);
                None
            }
            Entry::Outcome { result, .. } => {
                let request = begun.remove(&(recorded.place, recorded.seq))?;
                Some((request.operation, request.request, result))
            }
            _ => None,
        };
        self.recorded().await.into_iter().filter_map(observed).collect()
    }

    /// Every byte that the journal has written so far.
    pub async fn journal(&self) -> String {
        self.entries().await.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect()
    }

    /// Text, done and total of what was told on the way.
    pub fn news(&self) -> Vec<(String, u64, u64)> {
        let mut news = self.news.lock().unwrap();
        let mut heard = Vec::new();
        while let Ok(event) = news.try_recv() {
            if let Event::Progress(work) = event {
                heard.push((work.text, work.done, work.total));
            }
        }
        heard
    }
}

pub fn lend<K: Kind>(kind: &str, name: &str, access: Access<K>) -> Lend<K> {
    let (id, terms) = (ResourceId::new(kind, name), K::Terms::default());
    Lend { id, rights: Rights::all(), terms, uses: Vec::new(), access }
}

/// Kind and message of what a guest is told.
pub fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> (&'static str, String) {
    match result {
        Err(Error::Answer(failure)) => (failure.kind.as_str(), failure.message),
        other => panic!("no answer: {other:?}"),
    }
}
