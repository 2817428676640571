use super::{
    Ended, Error,
    cache::Cache,
    compile::Compiler,
    console::Console,
    limits::{Exceeded, Limits, Meter},
    processor::Processor,
    wasi::{self, Clock},
};
use crate::{
    capability::{self, types},
    gate::{Gate, Stop},
    journal::Entry,
    resource::{Failure, Resources},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};
use wasmtime::{
    Config, Store, UpdateDeadline,
    component::{Component, Linker, ResourceTable, ResourceTableError},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod exports {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package backout:session; world exports { export backout:host/life-cycle@0.1.0; }",
        world: "backout:session/exports",
        exports: { default: async },
        with: { "backout:host/types": crate::capability::types },
    });
}
use exports::{Exports, ExportsPre, exports::backout::host::life_cycle};

pub use life_cycle::{Risk, Severity, Step};

/// How often a looping script is looked at.
const TICK: Duration = Duration::from_millis(10);

/// The data of a store.
pub struct Host {
    pub(super) gate: Gate,
    pub(super) resources: Arc<Resources>,
    pub(super) wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) clock: Clock,
    meter: Meter,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Compiles and links scripts; one for a process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Host>,
    /// For scripts that import WASI; others do without, and it is more than all the rest.
    with_wasi: OnceLock<Linker<Host>>,
    cache: Cache,
    compiler: Option<Compiler>,
}

/// Compiles; runs nothing.
pub fn compiler() -> Result<wasmtime::Engine, Error> {
    let mut config = Config::new();
    config.epoch_interruption(true).cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
    // No guest language's compiler makes these: so much less of the compiler to trust.
    config.wasm_memory64(false).wasm_multi_memory(false);
    wasmtime::Engine::new(&config).map_err(|e| Error::Engine(format!("{e:#}")))
}

impl Engine {
    /// `cache` is made when it is missing, and must belong to this user alone.
    pub fn new(cache: &Path) -> Result<Self, Error> {
        let setup = |e: wasmtime::Error| Error::Engine(format!("{e:#}"));
        let engine = compiler()?;
        let mut linker = Linker::new(&engine);
        capability::link(&mut linker).map_err(setup)?;
        // As long as there is a script of this engine, also when the `Engine` that loaded it is gone.
        let ticking = engine.weak();
        std::thread::Builder::new()
            .name("epoch".into())
            .spawn(move || {
                while let Some(engine) = ticking.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(|e| Error::Engine(e.to_string()))?;
        let cache = Cache::open(cache, &engine)?;
        Ok(Self { engine, linker, with_wasi: OnceLock::new(), cache, compiler: None })
    }

    /// Scripts from strangers are compiled by another process of this program, in bounds: so much processor time at the most.
    pub fn compiling_apart(mut self, program: PathBuf, cpu: Option<Duration>) -> Self {
        self.compiler = Some(Compiler::new(program, cpu));
        self
    }

    pub fn load(&self, component: &[u8]) -> Result<Script, Error> {
        let component = self.cache.load(self.compiler.as_ref(), component)?;
        let link = |e: wasmtime::Error| Error::Link(format!("{e:#}"));
        let pre = self.linker_for(&component)?.instantiate_pre(&component).map_err(link)?;
        Ok(Script { engine: self.engine.clone(), pre: ExportsPre::new(pre).map_err(link)? })
    }

    fn linker_for(&self, component: &Component) -> Result<&Linker<Host>, Error> {
        if !component.component_type().imports(&self.engine).any(|(name, _)| name.starts_with("wasi:")) {
            return Ok(&self.linker);
        }
        if let Some(linker) = self.with_wasi.get() {
            return Ok(linker);
        }
        let mut linker = self.linker.clone();
        wasi::link(&mut linker).map_err(|e| Error::Engine(format!("{e:#}")))?;
        Ok(self.with_wasi.get_or_init(|| linker))
    }
}

/// One call into a script: where in the run, with what, how much.
pub struct Work {
    pub gate: Gate,
    pub resources: Arc<Resources>,
    pub limits: Limits,
    /// of everything random that it sees
    pub seed: u64,
    /// what WASI's wall clock says at its beginning; since 1970-01-01 UTC
    pub started: Duration,
}

/// A script, ready to be instantiated.
#[derive(Clone)]
pub struct Script {
    engine: wasmtime::Engine,
    pre: ExportsPre<Host>,
}

impl Script {
    pub async fn assess(&self, work: Work) -> Result<Result<Vec<Risk>, Failure>, Ended> {
        self.call(work, async |exports, store| exports.backout_host_life_cycle().call_assess(store).await).await
    }

    pub async fn plan(&self, work: Work, phase: types::Phase) -> Result<Result<Vec<Step>, Failure>, Ended> {
        self.call(work, async move |exports, store| exports.backout_host_life_cycle().call_plan(store, phase).await)
            .await
    }

    pub async fn run(&self, work: Work, phase: types::Phase, step: &str) -> Result<Result<(), Failure>, Ended> {
        self.call(work, async move |exports, store| {
            exports.backout_host_life_cycle().call_run(store, phase, step).await
        })
        .await
    }

    /// In an instance of its own, so that a retry starts clean; a store whose call trapped is dropped with it.
    async fn call<T>(
        &self,
        work: Work,
        call: impl AsyncFnOnce(Exports, &mut Store<Host>) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<Result<T, Failure>, Ended> {
        let limits = work.limits;
        let console = Console::new(&work.gate.log_meter());
        let clock = Clock::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let host = Host {
            wasi: wasi::context(work.seed, work.started, &clock, &console),
            gate: work.gate,
            resources: work.resources,
            table,
            clock,
            meter: Meter::new(limits),
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| &mut host.meter);
        store.set_hostcall_fuel(limits.call_bytes);
        store.set_epoch_deadline(1);
        let processor = Processor::default();
        let busy = processor.clone();
        store.epoch_deadline_callback(move |store| {
            // Ticks are not counted: they also go by while the script waits, and while others have the processor.
            if busy.used() > limits.cpu {
                return Err(Exceeded(format!("{:?} of processor time", limits.cpu)).into());
            }
            let gate = &store.data().gate;
            gate.in_time()?;
            // A simulated run ends at its next call, wherever this moment finds it: it goes the same way each time.
            if gate.cancel.is_cancelled() && !gate.clock.is_simulated() {
                return Err(Stop::Cancelled.into());
            }
            Ok(UpdateDeadline::Yield(1))
        });
        let work = async {
            let exports = self.pre.instantiate_async(&mut store).await?;
            call(exports, &mut store).await
        };
        let result = processor.counting(work).await;
        let text = console.printed();
        if !text.trim().is_empty() {
            store.data().gate.note(0, Entry::Printed { text });
        }
        match result {
            Ok(answer) => {
                let gate = &store.data().gate;
                match gate.left() {
                    Some(divergence) => Err(Ended::Diverged { divergence, frames: Vec::new() }),
                    None => Ok(answer.map_err(|error| gate.hinted(error.into()))),
                }
            }
            Err(error) => {
                let last_words = console.last_words().or_else(|| store.data().gate.last_warning());
                Err(ended(&error, &limits, last_words))
            }
        }
    }
}

fn ended(error: &wasmtime::Error, limits: &Limits, last_words: Option<String>) -> Ended {
    let stop = error.downcast_ref::<Stop>().cloned().or_else(|| match error.downcast_ref::<crate::gate::Error>() {
        Some(crate::gate::Error::Stop(stop)) => Some(stop.clone()),
        _ => None,
    });
    let frames = || {
        let trace = error.downcast_ref::<wasmtime::WasmBacktrace>()?;
        let names = trace.frames().iter().filter_map(|frame| frame.func_name().map(demangled));
        Some(names.filter(|name| !panicking(name)).take(8).collect())
    };
    match stop {
        Some(Stop::Diverged(divergence)) => {
            return Ended::Diverged { divergence, frames: frames().unwrap_or_default() };
        }
        Some(Stop::Limit { what, limit }) => return Ended::Limit(format!("more than {limit} {what}")),
        Some(stop @ Stop::Deviated { .. }) => return Ended::Deviated(stop.to_string()),
        Some(stop) => return Ended::Stopped(stop),
        None => {}
    }
    let root = error.root_cause().to_string();
    if let Some(limit) = exceeded(error, &root, limits) {
        return Ended::Limit(limit);
    }
    let message = last_words.unwrap_or_else(|| root.chars().take(500).collect());
    Ended::Trapped { message, frames: frames().unwrap_or_default() }
}

/// Which limit an error is about. Where wasmtime has no type for it, its words tell.
fn exceeded(error: &wasmtime::Error, root: &str, limits: &Limits) -> Option<String> {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return Some(exceeded.0.clone());
    }
    if error.downcast_ref::<wasmtime::Trap>() == Some(&wasmtime::Trap::StackOverflow) {
        return Some("the depth of its stack".to_owned());
    }
    if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return Some(format!("more than {} handles", limits.handles));
    }
    let words = [
        ("too much data is being copied", format!("more than {} MiB in one call", limits.call_bytes >> 20)),
        ("requested len ", format!("more than {} MiB of random bytes at once", wasi::MAX_RANDOM >> 20)),
        ("resource limit exceeded: ", format!("more than {} instances, memories or tables", limits.instances)),
    ];
    words.into_iter().find_map(|(begin, limit)| root.starts_with(begin).then_some(limit))
}

/// How Rust comes from a panic to its trap is the same each time, and hides where it was.
fn panicking(name: &str) -> bool {
    ["__rust", "std::", "core::panicking", "core::option", "core::result"].iter().any(|start| name.starts_with(start))
}

fn demangled(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    name.chars().take(120).collect()
}
