//! Runs that are told again: one that has ended, to the same script, and one that was cut off and goes on.
use crate::{canned, fixture, guests, raw, sample::Pairs, shop};
use backout::{
    gate::{Events, Quota},
    journal::{Ending, Header, Reader, Resumption, RunId, RunSummary, Step},
    resource::run::{Facts, Memory},
    run::{Hold, Phase, Run, Setup, replay},
    session::{Engine, Limits, Script},
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

const OPERATIONS: usize = 100_000;

/// By the length of its name the script knows how often it shall call.
fn step(name: &str) -> Step {
    let (title, roles, after) = (name.to_owned(), Vec::new(), Vec::new());
    Step { name: name.to_owned(), title, estimate_seconds: 0, measured_runs: 0, roles, after, attempts: 1 }
}

async fn setup(
    state: &Path,
    script: Script,
    cancel: &CancellationToken,
    stop: impl Fn() + Send + Sync + 'static,
) -> Setup {
    Setup {
        header: Header { command: "upgrade".to_owned(), seed: 1, ..Header::default() },
        facts: Facts::default(),
        memory: Memory::default(),
        hold: Hold::take(state, fixture::lent(stop)).await.unwrap(),
        script: Some(script),
        limits: Limits { cpu: Duration::from_secs(3600), ..Limits::default() },
        approver: Arc::new(fixture::Nobody),
        events: Events::default(),
        cancel: cancel.clone(),
    }
}

/// A run whose one step has made so many operations, and has ended.
struct Moved {
    folder: tempfile::TempDir,
    run: RunSummary,
}

impl Moved {
    async fn new(script: &Script, name: &str) -> Self {
        let folder = fixture::folder();
        let mut setup = setup(folder.path(), script.clone(), &CancellationToken::new(), || {}).await;
        shop::lend(&mut setup.hold.resources);
        setup.limits.quota =
            Quota { journal_bytes: 1 << 30, journal_bytes_of_phase: 1 << 30, log_bytes: 1 << 30, ..setup.limits.quota };
        let run = Run::begin(folder.path(), setup).unwrap();
        run.carry_out(Phase::Upgrade, false, &[step(name)]).await.unwrap();
        run.end(&Ending { outcome: "upgraded".into(), exit: 0, message: String::new(), ..Ending::default() })
            .await
            .unwrap();
        let run = run.id();
        let run = Reader::open(&folder.path().join("journal.db")).unwrap().run(run).unwrap();
        Self { folder, run }
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }

    async fn replay(&self, script: &Script, operations: usize) {
        let path = self.journal();
        let entries = |from: i64| Ok(Reader::open(&path)?.lines(self.run.run, from));
        let replayed = replay::replay(replay::Setup {
            run: self.run.run,
            header: self.run.header.clone(),
            facts: Facts::default(),
            memory: Memory::of(self.run.run),
            script: script.clone(),
            entries: &entries,
        });
        let replayed = replayed.await.unwrap();
        assert_eq!((replayed.operations, replayed.differences), (operations as u64, vec![]));
    }
}

pub fn replay() -> Pairs {
    const STEP: &str = "move-100000";
    let (runtime, cache) = (fixture::runtime(), fixture::folder());
    let guest = &guests::migrating().component;
    let script = Engine::new(&cache.path().join("cache")).unwrap().load(guest).unwrap();
    let many = runtime.block_on(Moved::new(&script, STEP));
    let answers = Arc::new(canned::answers(&many.journal(), many.run.run));
    let engine = raw::engine();
    let component = Component::new(&engine, guest).unwrap();
    let linker = canned::linker(&engine);
    let baseline = || {
        let began = Instant::now();
        let asked = runtime.block_on(canned::run(&engine, &linker, &component, answers.clone(), STEP));
        assert_eq!(asked, OPERATIONS);
        began.elapsed().as_secs_f64()
    };
    let ours = || {
        let began = Instant::now();
        runtime.block_on(many.replay(&script, OPERATIONS));
        began.elapsed().as_secs_f64()
    };
    let mut pairs = Pairs::measure(9, baseline, ours);
    pairs.note = Some(format!("The journal has {:.0} MB.", many.journal().metadata().unwrap().len() as f64 / 1e6));
    pairs
}

/// A run whose step was cut off after so many changes.
fn cut_off(runtime: &Runtime, engine: &Engine, after: u32) -> (tempfile::TempDir, RunId) {
    let folder = fixture::folder();
    let script = engine.load(&fixture::caller()).unwrap();
    let (cancel, done) = (CancellationToken::new(), AtomicU32::new(0));
    let stop = cancel.clone();
    let stop = move || {
        if done.fetch_add(1, Ordering::Relaxed) + 1 == after {
            stop.cancel();
        }
    };
    let run = runtime.block_on(async {
        let run = Run::begin(folder.path(), setup(folder.path(), script, &cancel, stop).await).unwrap();
        run.carry_out(Phase::Prepare, false, &[step(".....")]).await.unwrap_err();
        run.id()
    });
    (folder, run)
}

pub fn resume() -> Pairs {
    let (runtime, cache) = (fixture::runtime(), fixture::folder());
    let engine = Engine::new(&cache.path().join("cache")).unwrap();
    let (recorded, run) = cut_off(&runtime, &engine, 10_000);
    Pairs::alone(15, || {
        // It ends with a change of its own, so each sample has a copy.
        let folder = fixture::folder();
        for file in std::fs::read_dir(recorded.path()).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
            }
        }
        let cancel = CancellationToken::new();
        let called = Arc::new(OnceLock::new());
        let (stop, first) = (cancel.clone(), called.clone());
        let stop = move || {
            first.get_or_init(Instant::now);
            stop.cancel();
        };
        let began = Instant::now();
        runtime.block_on(async {
            let script = engine.load(&fixture::caller()).unwrap();
            let setup = Setup { memory: Memory::of(run), ..setup(folder.path(), script, &cancel, stop).await };
            let run = Run::resume(folder.path(), run, Resumption::default(), setup).unwrap();
            run.carry_out(Phase::Prepare, false, &[step(".....")]).await.unwrap_err();
        });
        (*called.get().unwrap() - began).as_secs_f64()
    })
}
