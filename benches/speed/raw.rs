//! wasmtime without Backout.
use backout::{
    capability::{AsCall, Call, types},
    session::Step,
};
use std::{path::Path, time::Duration};
use wasmtime::{
    Config, Engine, Store,
    component::{Component, ComponentNamedList, ComponentType, Instance, Lift, Linker, Lower, TypedFunc},
};

/// Compiles as Backout does; what a script may use up is not limited.
pub fn engine() -> Engine {
    let mut config = Config::new();
    config.epoch_interruption(true).cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
    Engine::new(&config).unwrap()
}

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)]
pub enum Status {
    #[component(name = "running")]
    Running,
    #[component(name = "stopped")]
    Stopped,
    #[component(name = "failed")]
    Failed,
    #[component(name = "starting")]
    Starting,
}

/// The calls of `guest.wat`, answered at once; only the clock takes its time.
pub fn answering(engine: &Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker.instance("backout:host/types@0.1.0").unwrap();
    let mut service = linker.instance("backout:host/service@0.1.0").unwrap();
    service
        .func_wrap_async("get-status", |_, (name,): (String,)| {
            Box::new(async move {
                std::hint::black_box(name);
                Ok((Ok::<Status, types::Error>(Status::Running),))
            })
        })
        .unwrap();
    service.func_wrap("stop", |_, (_,): (String,)| Ok((Ok::<(), types::Error>(()),))).unwrap();
    let mut clock = linker.instance("backout:host/clock@0.1.0").unwrap();
    clock
        .func_wrap_async("sleep", |_, (seconds,): (u32,)| {
            Box::new(async move {
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                Ok(())
            })
        })
        .unwrap();
    linker
}

/// For a script that is linked with all that there is and asks for nothing of it.
pub struct Unasked;
impl AsCall for Unasked {
    fn call(&mut self) -> Call<'_> {
        panic!("the first call asks nothing of the host")
    }
}

pub fn linked(engine: &Engine) -> Linker<Unasked> {
    let mut linker = Linker::new(engine);
    backout::capability::link(&mut linker).unwrap();
    linker
}

pub fn compile(engine: &Engine, script: &[u8], to: &Path) {
    std::fs::write(to, engine.precompile_component(script).unwrap()).unwrap();
}

#[expect(unsafe_code, reason = "`compile` has written the file, into a folder of this run")]
pub fn load(engine: &Engine, compiled: &Path) -> Component {
    // SAFETY: see above.
    unsafe { Component::deserialize_file(engine, compiled) }.unwrap()
}

pub async fn instance<T: Send + 'static>(
    engine: &Engine,
    linker: &Linker<T>,
    component: &Component,
    data: T,
) -> (Store<T>, Instance) {
    let mut store = Store::new(engine, data);
    store.set_epoch_deadline(1 << 40);
    let instance = linker.instantiate_async(&mut store, component).await.unwrap();
    (store, instance)
}

/// A function of the script.
pub fn function<T: 'static, P, R>(store: &mut Store<T>, instance: &Instance, name: &str) -> TypedFunc<P, R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let interface = instance.get_export_index(&mut *store, None, "backout:host/life-cycle@0.1.0").unwrap();
    let function = instance.get_export_index(&mut *store, Some(&interface), name).unwrap();
    instance.get_typed_func(store, function).unwrap()
}

pub type Run = TypedFunc<(types::Phase, String), (Result<(), types::Error>,)>;
pub type Plan = TypedFunc<(types::Phase,), (Result<Vec<Step>, types::Error>,)>;
#[allow(dead_code, reason = "the program that waits calls it")]
pub type Assess = TypedFunc<(), (Result<Vec<backout::session::Risk>, types::Error>,)>;
