use crate::{fixture::Fixture, raw, sample::Pairs};
use backout::capability::types::Phase;
use std::time::Instant;

const SCRIPT: &[u8] = include_bytes!("../../guest-examples/rust-shop/shop.wasm");

const SAMPLES: usize = 300;

/// Load what was compiled before, instantiate, first call.
pub fn start() -> Pairs {
    let mut fixture = Fixture::new(|| {});
    let engine = raw::engine();
    let compiled = fixture.folder.path().join("raw.cwasm");
    raw::compile(&engine, SCRIPT, &compiled);
    let linker = raw::linked(&engine);
    let runtime = crate::fixture::runtime();
    let baseline = || {
        let began = Instant::now();
        let component = raw::load(&engine, &compiled);
        let steps = runtime.block_on(async {
            let (mut store, instance) = raw::instance(&engine, &linker, &component, raw::Unasked).await;
            let plan: raw::Plan = raw::function(&mut store, &instance, "plan");
            plan.call_async(&mut store, (Phase::Prepare,)).await.unwrap().0.unwrap()
        });
        let spent = began.elapsed().as_secs_f64();
        assert_eq!(steps.len(), 3);
        spent
    };
    // Begun beforehand: who comes from waiting for the disk finds the processor's caches cold.
    let mut works: Vec<_> = (0..=SAMPLES).map(|_| fixture.work()).collect();
    let ours = || {
        let work = works.pop().unwrap();
        let began = Instant::now();
        let script = fixture.engine.load(SCRIPT).unwrap();
        let steps = fixture.runtime.block_on(script.plan(work, Phase::Prepare)).unwrap().unwrap();
        let spent = began.elapsed().as_secs_f64();
        assert_eq!(steps.len(), 3);
        spent
    };
    Pairs::measure(SAMPLES, baseline, ours)
}
