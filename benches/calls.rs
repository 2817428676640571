//! What the gate and the cache cost, each against wasmtime or SQLite doing the same without Backout, in one run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]
use async_trait::async_trait;
use backout::{
    capability::types,
    gate::{Events, Gate},
    journal::{Entry, Header, Journal, Place},
    resource::{
        Access, CallCtx, Failure, Lend, ResourceId, Resources, Rights,
        run::{Approver, Facts, Memory, Mutator, Observer, RUN},
        service::{Mark, Mutate, Observe, Status},
    },
    session::{Engine, Limits, Work},
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Store,
    component::{Component, ComponentType, Lift, Linker, Lower},
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// A driver that takes no time.
struct Nothing;
#[async_trait]
impl Observe for Nothing {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(Status::Running)
    }
    async fn search(&self, _: &Mark, _: &[String]) -> Result<Vec<String>, Failure> {
        Ok(vec![])
    }
    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(vec![])
    }
}
#[async_trait]
impl Mutate for Nothing {
    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        Ok(Mark { position: 0 })
    }
    async fn start(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn stop(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn reload(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
}
struct Nobody;
#[async_trait]
impl Approver for Nobody {
    async fn ask(&self, _: &str, _: &str) -> Result<String, Failure> {
        Err(Failure::unavailable("nobody"))
    }
}

fn component() -> Vec<u8> {
    let mut core = wat::parse_bytes(include_bytes!("guest.wat")).unwrap().into_owned();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(Path::new("wit")).unwrap();
    let world = resolve.select_world(&[package], Some("script")).unwrap();
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&core).unwrap().validate(true).encode().unwrap()
}

fn resources() -> Arc<Resources> {
    let mut resources = Resources::default();
    let access = Access { observer: Arc::new(Nothing) as Arc<_>, mutator: Arc::new(Nothing) as Arc<_> };
    let id = ResourceId::new("service", "shop");
    resources.service.0.insert("shop".into(), Lend { id, rights: Rights::all(), terms: (), uses: vec![], access });
    let memory = Arc::new(Mutex::new(Memory::default()));
    let observer = Observer { facts: Facts::default(), memory: memory.clone(), approver: Arc::new(Nobody) };
    let access = Access { observer: Arc::new(observer), mutator: Arc::new(Mutator(memory)) };
    let id = ResourceId::new("run", "1");
    resources.run.0.insert(RUN.into(), Lend { id, rights: Rights::default(), terms: (), uses: vec![], access });
    Arc::new(resources)
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    engine: Engine,
    resources: Arc<Resources>,
    journal: Arc<Journal>,
    run: u64,
    attempt: u32,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let engine = Engine::new(&folder.path().join("cache")).unwrap();
        let (journal, run) =
            Journal::begin(&folder.path().join("journal.db"), Header::default(), Arc::new(|_| {})).unwrap();
        let (bytes, resources) = (component(), resources());
        Self { runtime, folder, bytes, engine, resources, journal: Arc::new(journal), run, attempt: 0 }
    }

    fn work(&mut self) -> Work {
        self.attempt += 1;
        let place = Place::new("upgrade", false, "step", self.attempt);
        self.runtime.block_on(self.journal.append(self.run, &place, 0, Entry::StepStarted)).unwrap();
        let mut gate = Gate::new(self.journal.clone(), self.run, place, Events::default(), CancellationToken::new());
        gate.quota.calls = u32::MAX;
        let limits = Limits { cpu: Duration::from_secs(3600), ..Limits::default() };
        Work { gate, resources: self.resources.clone(), limits, seed: 1, started: Duration::ZERO }
    }
}

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)]
enum Raw {
    #[component(name = "running")]
    Running,
    #[component(name = "stopped")]
    Stopped,
    #[component(name = "failed")]
    Failed,
    #[component(name = "starting")]
    Starting,
}

/// The same calls, answered by wasmtime alone.
fn raw_linker(engine: &wasmtime::Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker.instance("backout:host/types@0.1.0").unwrap();
    let mut service = linker.instance("backout:host/service@0.1.0").unwrap();
    service
        .func_wrap_async("get-status", |_, (name,): (String,)| {
            Box::new(async move {
                std::hint::black_box(name);
                Ok((Ok::<Raw, types::Error>(Raw::Running),))
            })
        })
        .unwrap();
    service.func_wrap("reload", |_, (_,): (String,)| Ok((Ok::<(), types::Error>(()),))).unwrap();
    linker
}

fn raw_engine() -> wasmtime::Engine {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true).cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
    wasmtime::Engine::new(&config).unwrap()
}

type Run = (types::Phase, String);
type Answer = (Result<(), types::Error>,);

async fn raw_instance(
    engine: &wasmtime::Engine,
    linker: &Linker<()>,
    component: &Component,
) -> (Store<()>, wasmtime::component::TypedFunc<Run, Answer>) {
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1 << 40);
    let instance = linker.instantiate_async(&mut store, component).await.unwrap();
    let interface = instance.get_export_index(&mut store, None, "backout:host/life-cycle@0.1.0").unwrap();
    let run = instance.get_export_index(&mut store, Some(&interface), "run").unwrap();
    let run = instance.get_typed_func(&mut store, run).unwrap();
    (store, run)
}

/// Load from the cache, instantiate, first call.
fn start(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    let mut group = criterion.benchmark_group("cached start of a script");
    let engine = raw_engine();
    let compiled = bench.folder.path().join("raw.cwasm");
    std::fs::write(&compiled, engine.precompile_component(&bench.bytes).unwrap()).unwrap();
    group.bench_function("raw wasmtime", |b| {
        let linker = raw_linker(&engine);
        b.iter(|| {
            #[expect(unsafe_code, reason = "the file was written three lines ago")]
            // SAFETY: see above.
            let component = unsafe { Component::deserialize_file(&engine, &compiled) }.unwrap();
            bench.runtime.block_on(async {
                let (mut store, run) = raw_instance(&engine, &linker, &component).await;
                run.call_async(&mut store, (types::Phase::Upgrade, String::new())).await.unwrap().0.unwrap();
            });
        });
    });
    group.bench_function("backout", |b| {
        b.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let work = bench.work();
                let began = Instant::now();
                let script = bench.engine.load(&bench.bytes).unwrap();
                bench.runtime.block_on(script.run(work, types::Phase::Upgrade, "")).unwrap().unwrap();
                spent += began.elapsed();
            }
            spent
        });
    });
}

/// One call that looks, of 10,000 in a row.
fn observe(criterion: &mut Criterion) {
    const CALLS: u32 = 10_000;
    let mut bench = Bench::new();
    let mut group = criterion.benchmark_group("an observing host call");
    group.sample_size(20);
    let engine = raw_engine();
    let component = Component::new(&engine, &bench.bytes).unwrap();
    let linker = raw_linker(&engine);
    group.bench_function("raw wasmtime", |b| {
        let (mut store, run) = bench.runtime.block_on(raw_instance(&engine, &linker, &component));
        b.iter_custom(|times| {
            let began = Instant::now();
            for _ in 0..times {
                let call = run.call_async(&mut store, (types::Phase::Upgrade, "....".to_owned()));
                bench.runtime.block_on(call).unwrap().0.unwrap();
            }
            began.elapsed() / CALLS
        });
    });
    let script = bench.engine.load(&bench.bytes).unwrap();
    group.bench_function("through the gate", |b| {
        b.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let work = bench.work();
                let began = Instant::now();
                bench.runtime.block_on(script.run(work, types::Phase::Upgrade, "....")).unwrap().unwrap();
                spent += began.elapsed();
            }
            spent / CALLS
        });
    });
}

/// One call that changes, against the two durable commits that it cannot do without.
fn change(criterion: &mut Criterion) {
    const CALLS: u32 = 10;
    let mut bench = Bench::new();
    let mut group = criterion.benchmark_group("a changing host call");
    group.sample_size(20);
    let raw = rusqlite::Connection::open(bench.folder.path().join("raw.db")).unwrap();
    raw.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT)",
    )
    .unwrap();
    let body = "x".repeat(200);
    group.bench_function("two raw SQLite commits", |b| {
        b.iter(|| {
            for _ in 0..2 {
                raw.execute("INSERT INTO entry(body) VALUES (?)", [&body]).unwrap();
            }
        });
    });
    let script = bench.engine.load(&bench.bytes).unwrap();
    group.bench_function("through the gate", |b| {
        b.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let work = bench.work();
                let began = Instant::now();
                bench.runtime.block_on(script.run(work, types::Phase::Prepare, ".")).unwrap().unwrap();
                spent += began.elapsed();
            }
            spent / CALLS
        });
    });
}

criterion_group!(benches, start, observe, change);
criterion_main!(benches);
