//! Runs that are told again: one that has ended, to the same script, and one that was cut off and goes on.
use crate::{fixture, raw, sample::Pairs};
use backout::{
    capability::types::{self, Phase as In},
    gate::Events,
    journal::{Ending, Header, Reader, Resumption, RunId, RunSummary, Step},
    resource::run::{Facts, Memory},
    run::{Hold, Phase, Run, Setup, replay},
    session::{Engine, Limits, Script},
};
use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Component, Linker};

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

/// A run that has asked for a status so many times, and has ended.
struct Asked {
    folder: tempfile::TempDir,
    run: RunSummary,
}

impl Asked {
    async fn new(script: &Script, name: &str) -> Self {
        let folder = fixture::folder();
        let run =
            Run::begin(folder.path(), setup(folder.path(), script.clone(), &CancellationToken::new(), || {}).await);
        let run = run.unwrap();
        run.carry_out(Phase::Upgrade, false, &[step(name)]).await.unwrap();
        run.end(&Ending { outcome: "upgraded".into(), exit: 0, message: String::new(), ..Ending::default() })
            .await
            .unwrap();
        let run = run.id();
        let run = Reader::open(&folder.path().join("journal.db")).unwrap().run(run).unwrap();
        Self { folder, run }
    }

    async fn replay(&self, script: &Script, operations: usize) {
        let path = self.folder.path().join("journal.db");
        let entries = |from: i64| Ok(Reader::open(&path)?.stream(self.run.run, from));
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

    /// What the host said to the script, in order.
    fn answers(&self) -> Vec<raw::Status> {
        let entries = Reader::open(&self.folder.path().join("journal.db")).unwrap().stream(self.run.run, 0);
        let entries = entries.map(|recorded| serde_json::to_value(recorded.unwrap().entry).unwrap());
        let observed = entries.filter(|entry| entry["entry"] == "observed");
        observed
            .map(|entry| {
                assert_eq!(entry["result"]["Ok"], "running");
                raw::Status::Running
            })
            .collect()
    }
}

/// The recorded answers, one after the other.
struct Canned {
    answers: Arc<Vec<raw::Status>>,
    next: usize,
}

fn canned(engine: &wasmtime::Engine) -> Linker<Canned> {
    let mut linker = Linker::new(engine);
    linker.instance("backout:host/types@0.1.0").unwrap();
    let mut service = linker.instance("backout:host/service@0.1.0").unwrap();
    service
        .func_wrap_async("get-status", |mut store, (name,): (String,)| {
            Box::new(async move {
                std::hint::black_box(name);
                let canned: &mut Canned = store.data_mut();
                canned.next += 1;
                Ok((Ok::<raw::Status, types::Error>(canned.answers[canned.next - 1]),))
            })
        })
        .unwrap();
    service.func_wrap("stop", |_, (_,): (String,)| Ok((Ok::<(), types::Error>(()),))).unwrap();
    let mut clock = linker.instance("backout:host/clock@0.1.0").unwrap();
    clock.func_wrap("sleep", |_, (_,): (u32,)| Ok(())).unwrap();
    linker
}

pub fn replay() -> Pairs {
    const STEP: &str = ".....";
    let (runtime, cache) = (fixture::runtime(), fixture::folder());
    let script = Engine::new(&cache.path().join("cache")).unwrap().load(&fixture::caller()).unwrap();
    let many = runtime.block_on(Asked::new(&script, STEP));
    let answers = Arc::new(many.answers());
    let engine = raw::engine();
    let component = Component::new(&engine, fixture::caller()).unwrap();
    let linker = canned(&engine);
    let baseline = || {
        let began = Instant::now();
        runtime.block_on(async {
            let data = Canned { answers: answers.clone(), next: 0 };
            let (mut store, instance) = raw::instance(&engine, &linker, &component, data).await;
            let run: raw::Run = raw::function(&mut store, &instance, "run");
            run.call_async(&mut store, (In::Upgrade, STEP.to_owned())).await.unwrap().0.unwrap();
            assert_eq!(store.data().next, OPERATIONS);
        });
        began.elapsed().as_secs_f64()
    };
    let ours = || {
        let began = Instant::now();
        runtime.block_on(many.replay(&script, OPERATIONS));
        began.elapsed().as_secs_f64()
    };
    Pairs::measure(9, baseline, ours)
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
