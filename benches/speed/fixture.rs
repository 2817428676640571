//! A run without a command around it: engine, journal, gate, and a service whose driver is the row's own.
use async_trait::async_trait;
use backout::{
    gate::{Events, Gate},
    journal::{Entry, Header, Journal, Place},
    resource::{
        Access, CallCtx, Failure, Lend, ResourceId, Resources, Rights,
        run::{Answered, Approver, Facts, Listener, Memory, Mutator, Observer, Question, RUN},
        service::{Mark, Mutate, Observe, Status},
    },
    session::{Engine, Limits, Script, Work},
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// A script of a few lines that calls as often as it is told.
pub fn caller() -> Vec<u8> {
    let mut core = wat::parse_bytes(include_bytes!("guest.wat")).unwrap().into_owned();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/wit"))).unwrap();
    let world = resolve.select_world(&[package], Some("script")).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&core).unwrap().validate(true).encode().unwrap()
}

/// On the file system that Cargo builds on, for `/tmp` may be memory.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// A driver that takes no time.
struct Nothing;
#[async_trait]
impl Observe for Nothing {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(Status::Running)
    }
    async fn start_id(&self) -> Result<Option<String>, Failure> {
        Ok(Some("always".to_owned()))
    }
    async fn search(&self, _: &Mark, _: &[String]) -> Result<Vec<String>, Failure> {
        Ok(vec![])
    }
    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(vec![])
    }
}

/// Takes as long as `stop` does.
struct Stopping(Arc<dyn Fn() + Send + Sync>);
#[async_trait]
impl Mutate for Stopping {
    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        Ok(Mark::at(0))
    }
    async fn start(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn stop(&self, _: &CallCtx) -> Result<(), Failure> {
        (self.0)();
        Ok(())
    }
    async fn restart(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn reload(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
}

pub struct Nobody;
#[async_trait]
impl Approver for Nobody {
    async fn ask(&self, _: &Question, _: &dyn Listener) -> Result<Answered, Failure> {
        Err(Failure::unavailable("nobody"))
    }
}

/// The service alone.
pub fn lent(stop: impl Fn() + Send + Sync + 'static) -> Resources {
    let stop = Arc::new(stop);
    let mut resources = Resources::default();
    let access = Access { observer: Arc::new(Nothing) as Arc<_>, mutator: Arc::new(Stopping(stop)) as Arc<_> };
    let id = ResourceId::new("service", "shop");
    resources.service.0.insert("shop".into(), Lend { id, rights: Rights::all(), terms: (), uses: vec![], access });
    resources
}

/// With the run that they are lent to.
fn resources(stop: impl Fn() + Send + Sync + 'static) -> Arc<Resources> {
    let mut resources = lent(stop);
    let memory = Arc::new(Mutex::new(Memory::default()));
    let observer =
        Observer { seed: 0, run: 0, facts: Facts::default(), memory: memory.clone(), approver: Arc::new(Nobody) };
    let access = Access { observer: Arc::new(observer), mutator: Arc::new(Mutator(memory)) };
    let id = ResourceId::new("run", "1");
    resources.run.0.insert(RUN.into(), Lend { id, rights: Rights::default(), terms: (), uses: vec![], access });
    Arc::new(resources)
}

pub struct Fixture {
    pub runtime: tokio::runtime::Runtime,
    pub folder: tempfile::TempDir,
    pub engine: Engine,
    resources: Arc<Resources>,
    journal: Arc<Journal>,
    events: Events,
    run: u64,
    attempts: u32,
}

impl Fixture {
    pub fn new(stop: impl Fn() + Send + Sync + 'static) -> Self {
        let folder = folder();
        let engine = Engine::new(&folder.path().join("cache")).unwrap();
        let (journal, run) =
            Journal::begin(&folder.path().join("journal.db"), Header::default(), Arc::new(|_| {})).unwrap();
        let resources = resources(stop);
        let (journal, events) = (Arc::new(journal), Events::default());
        Self { runtime: runtime(), folder, engine, resources, journal, events, run, attempts: 0 }
    }

    pub fn load(&self) -> Script {
        self.engine.load(&caller()).unwrap()
    }

    /// A step of its own, begun in the journal.
    pub fn work(&mut self) -> Work {
        self.attempts += 1;
        let place = Place::new("upgrade", false, "step", self.attempts);
        self.runtime.block_on(self.journal.append(self.run, &place, 0, Entry::StepStarted)).unwrap();
        let mut gate = Gate::new(self.journal.clone(), self.run, place, self.events.clone(), CancellationToken::new());
        gate.quota.calls = u32::MAX;
        gate.quota.journal_bytes = u64::MAX;
        let limits = Limits { cpu: Duration::from_secs(3600), ..Limits::default() };
        let started = Duration::from_secs(1_800_000_000);
        Work { gate, resources: self.resources.clone(), limits, seed: 1, started }
    }

    /// What was only noted is on disk: the next sample does not wait for it.
    pub fn flush(&self) {
        self.runtime.block_on(self.journal.flush()).unwrap();
    }
}
